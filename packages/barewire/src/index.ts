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
export { diffSchemas } from "./schema/diff.ts";
export type { SchemaChange } from "./schema/diff.ts";
export { equalSchemas, equalTypes } from "./schema/equal.ts";
export { SchemaError } from "./schema/errors.ts";
export { printSchema, printType } from "./schema/print.ts";
export { readSchema, typeNamed } from "./schema/read.ts";
export type { ReadSchemaOptions } from "./schema/read.ts";
export { generateTypes } from "./schema/types.ts";
export { BARE_LIMITS, BareError, BareReader, BareWriter } from "./bare-io.ts";
export type { BareLimits } from "./bare-io.ts";
export { Region, RegionError } from "./region.ts";
export type { Access, BufferSource, HostSpace, ReadonlyBytes, ReadonlyView, Space, ViewOf } from "./region.ts";
export { minus, plus, roundUpTo, times } from "./memory/arithmetic.ts";
export { assertNoCopies, copies, CopyError, copyRegion, copyTotals, recordCopy } from "./memory/copies.ts";
export type { CopyRecord, CopyTotals } from "./memory/copies.ts";
export { GpuRegion, OwnershipError } from "./memory/gpu.ts";
export type { MappableBuffer, Owner } from "./memory/gpu.ts";
export { ArenaScope } from "./memory/scope.ts";
export { mapsOf } from "./layout/cells.ts";
export type { Cell, CellKind, MemoryMap } from "./layout/cells.ts";
export { describeLayout, describeMap, drawLayout, drawMaps } from "./layout/describe.ts";
export { layoutOf } from "./layout/layout.ts";
export { LayoutError } from "./layout/node.ts";
export type { Layout, LayoutNode, LayoutOptions, Packing, PathOptions } from "./layout/node.ts";
export { getOptimized, optimizedOptions } from "./layout/optimize.ts";
export type { LayoutTarget } from "./layout/optimize.ts";
export { checkView, VIEW_LIMITS } from "./view/check.ts";
export type { ViewLimits } from "./view/check.ts";
export { ViewError } from "./view/memory.ts";
export type { ViewSource } from "./view/memory.ts";
export type { ListView, MapView, MatchCases, NumbersView, StructView, UnionView, View } from "./view/types.ts";
export { copyOf, match, readValue, select, viewOf } from "./view/view.ts";
export type { ViewClass } from "./view/view.ts";
export { build, buildInto } from "./view/write.ts";
export {
  ARENA_GRANULE_BYTES,
  Allocation,
  ArenaError,
  LeakError,
  MEMORY32_BYTES_MAX,
  MEMORY64_BYTES_MAX,
  OutOfMemoryError,
  SharedArena,
  WASM_PAGE_BYTES,
} from "./arena.ts";
export type { ArenaOptions } from "./arena.ts";
export { crc32c } from "./crc32c.ts";
export {
  CONTAINER_FORMAT_VERSION,
  CONTAINER_PAGE_BYTES,
  CONTAINER_START_BYTES,
  changedComponents,
  headerEndBytes,
  readContainer,
  readHeader,
  readVersions,
  tensorBytes,
  verifyTensor,
} from "./container/container.ts";
export type { ByteRange, ContainerHeader } from "./container/container.ts";
export { CONTAINER_LIMITS, TENSOR_ALIGN_BYTES } from "./container/check.ts";
export {
  ChecksumError,
  ContainerBusyError,
  ContainerConflictError,
  ContainerError,
  InvalidContainerError,
  MissingVersionError,
  NewerContainerError,
  NotAContainerError,
  OldContainerError,
  TruncatedContainerError,
} from "./container/errors.ts";
export { openHttpSource } from "./container/http.ts";
export type { HttpSourceOptions } from "./container/http.ts";
export { containerMap } from "./container/memory-map.ts";
export { ContainerReader } from "./container/reader.ts";
export type { TensorReadOptions } from "./container/reader.ts";
export type { ContainerComponent, Metadata, MetadataValue, TensorEntry, VersionRoot } from "./container/schema.ts";
export {
  ChangedSourceError,
  HttpStatusError,
  NetworkError,
  RangesIgnoredError,
  ShortBodyError,
  SourceError,
  SourceTooLargeError,
  WrongRangeError,
} from "./container/source-errors.ts";
export { blobSource, memorySource, readRange } from "./container/source.ts";
export type { ByteSource, ReadOptions, ReadTarget } from "./container/source.ts";
export { containerToBytes, writeContainer } from "./container/write.ts";
export type { ContainerInput, TensorInput } from "./container/write.ts";
export {
  ChannelClosedError,
  ChannelError,
  ChannelFormatError,
  ChannelFullError,
  ChannelTimeoutError,
  ChannelUseError,
  MessageTooLargeError,
  PeerDeadError,
  TruncatedFrameError,
} from "./channel/errors.ts";
export type { Loan, Message, MessageReceiver, MessageSender } from "./channel/channel.ts";
export type { LatestChannel, LatestOptions, LatestValue, Publisher, Subscriber } from "./channel/latest.ts";
export type { RingLayout, RingOptions } from "./channel/layout.ts";
export type { ReceiverOptions, RingMessage, RingReceiver } from "./channel/receiver.ts";
export { RingChannel, channelSizeBytes } from "./channel/ring.ts";
export type { RingSender, SenderOptions, Slot, WhenFull } from "./channel/sender.ts";
export { serviceSizeBytes } from "./channel/service.ts";
export type {
  ServiceChannel,
  ServiceClient,
  ServiceOptions,
  ServiceRequest,
  ServiceServer,
} from "./channel/service.ts";
export {
  attachThreadChannel,
  attachThreadLatest,
  attachThreadService,
  createThreadChannel,
  createThreadLatest,
  createThreadService,
} from "./channel/thread.ts";
export type { ThreadHandle, ThreadPlace } from "./channel/thread.ts";
export { TypedReceiver, TypedSender } from "./channel/typed.ts";
export type { AsyncWaitOptions, WaitOptions } from "./channel/wait.ts";
