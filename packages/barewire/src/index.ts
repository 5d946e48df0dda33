// The public face of BAREWire where there is no Node: codec, regions, arena, container. Runs in browsers.

/** BARE schemas: `bare.struct({ ... })`, `bare.list(bare.f32)`, `bare.encode`, `bare.decode`, `bare.compile`. */
export * as bare from "./bare.ts";
export type { Named, Scalar, Schema, Struct, TypeOf, UnionValue } from "./bare.ts";
export type { Codec } from "./codec/codec.ts";
export { resolveType } from "./schema/ast.ts";
export type {
  AliasType,
  BareSchema,
  BareType,
  Definition,
  EnumMember,
  StructField,
  Typed,
  UnionMember,
} from "./schema/ast.ts";
export { equalSchemas, equalTypes } from "./schema/equal.ts";
export { SchemaError } from "./schema/errors.ts";
export { printSchema, printType } from "./schema/print.ts";
export { readSchema, typeNamed } from "./schema/read.ts";
export type { ReadSchemaOptions } from "./schema/read.ts";
export { BARE_LIMITS, BareError, BareReader, BareWriter } from "./bare-io.ts";
export type { BareLimits } from "./bare-io.ts";
export { Region, RegionError } from "./region.ts";
export type { Access, BufferSource, ReadonlyBytes, ReadonlyView, Space, ViewOf } from "./region.ts";
export {
  ARENA_GRANULE_BYTES,
  Allocation,
  ArenaError,
  LeakError,
  OutOfMemoryError,
  SharedArena,
  WASM_PAGE_BYTES,
} from "./arena.ts";
export type { ArenaOptions } from "./arena.ts";
export { crc32c } from "./crc32c.ts";
export {
  CONTAINER_FORMAT_VERSION,
  CONTAINER_PAGE_BYTES,
  CONTAINER_PREFIX_BYTES,
  containerToBytes,
  headerEndBytes,
  readContainer,
  readHeader,
  tensorBytes,
  verifyTensor,
  writeContainer,
} from "./container.ts";
export { CONTAINER_LIMITS, TENSOR_ALIGN_BYTES } from "./container-check.ts";
export type {
  ContainerComponent,
  ContainerHeader,
  ContainerInput,
  Metadata,
  MetadataValue,
  TensorEntry,
  TensorInput,
} from "./container.ts";
export {
  ChecksumError,
  ContainerError,
  InvalidContainerError,
  NewerContainerError,
  NotAContainerError,
  TruncatedContainerError,
} from "./container-errors.ts";
