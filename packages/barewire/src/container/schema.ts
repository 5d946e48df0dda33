// What a container's header says, as BARE schemas, and as the values that readers get. `encodeHeader` and
// `decodeHeader` turn one into the other; what the fields promise about each other is checked in check.ts, where they
// lie in the file is told in container.ts.

import * as bare from "../bare.ts";
import { BARE_LIMITS, BareError } from "../bare-io.ts";
import { CONTAINER_LIMITS } from "./check.ts";
import { InvalidContainerError } from "./errors.ts";

/** A value of the metadata; whole numbers that must stay exact beyond 2^53 are bigints. */
export type MetadataValue = string | number | boolean | bigint;
export type Metadata = Readonly<Record<string, MetadataValue>>;

const metadataValueSchema = bare.union({
  text: [0, bare.str],
  float: [1, bare.f64],
  integer: [2, bare.int],
  flag: [3, bare.bool],
});

const componentSchema = bare.struct({ id: bare.str, kind: bare.str });

const tensorSchema = bare.struct({
  name: bare.str,
  component: bare.str,
  dtype: bare.str,
  shape: bare.list(bare.uintSafe),
  layout: bare.str,
  offset: bare.u64Safe, // from the start of the file, in bytes
  sizeBytes: bare.u64Safe,
  checksum: bare.u32, // CRC-32C of the bytes
});

/** Where the header of one version lies: what a root holds, and what a header says of the version before. */
export const rootSchema = bare.struct({
  version: bare.u64Safe, // from 1 on
  headerOffset: bare.u64Safe,
  headerBytes: bare.u64Safe,
  headerChecksum: bare.u32, // CRC-32C
  endBytes: bare.u64Safe, // all of the version lies before this
});

const commonFields = {
  metadata: bare.map(bare.str, metadataValueSchema),
  config: bare.str, // JSON
  components: bare.list(componentSchema),
  tensors: bare.list(tensorSchema),
};

const headerSchema1 = bare.struct(commonFields);
const headerSchema2 = bare.struct({ ...commonFields, previous: bare.optional(rootSchema) });

/** A part of the model that has parameters of its own and can be replaced as a whole. */
export type ContainerComponent = bare.TypeOf<typeof componentSchema>;

/** Where a tensor lies in the file, and what its bytes mean. `layout` "dense" is row-major without gaps. */
export type TensorEntry = bare.TypeOf<typeof tensorSchema>;

/** Where the header of a version lies, and where the version ends. */
export type VersionRoot = bare.TypeOf<typeof rootSchema>;

/** What a header holds. */
export interface HeaderContents {
  readonly metadata: Metadata;
  /** The model's configuration as parsed JSON; its reader must check the shape. */
  readonly config: unknown;
  readonly components: readonly ContainerComponent[];
  readonly tensors: readonly TensorEntry[];
  /** The version before, which is still in the file; undefined for the first, and after compaction. */
  readonly previous: VersionRoot | undefined;
}

/** The bytes of a header, format 2. Throws `InvalidContainerError` on what the file has no form for. */
export function encodeHeader({ metadata, config, components, tensors, previous }: HeaderContents): Uint8Array {
  const values = new Map(Object.entries(metadata).map(([name, value]) => [name, toUnion(name, value)]));
  const limits = { ...BARE_LIMITS, sizeBytesMax: CONTAINER_LIMITS.headerBytesMax };
  try {
    const raw = { metadata: values, config: toJson(config), components, tensors, previous };
    return bare.encode(headerSchema2, raw, limits);
  } catch (cause) {
    if (!(cause instanceof BareError)) throw cause;
    throw new InvalidContainerError("its header cannot be encoded", { ...cause.details, cause });
  }
}

/** What a header of that format says. Throws `InvalidContainerError`. */
export function decodeHeader(bytes: Uint8Array, formatVersion: 1 | 2): HeaderContents {
  const raw = formatVersion === 1 ? decodeAs(headerSchema1, bytes) : decodeAs(headerSchema2, bytes);
  const { components, tensors } = raw;
  const metadata = Object.fromEntries([...raw.metadata].map(([name, { value }]) => [name, value]));
  const previous = "previous" in raw ? (raw.previous as VersionRoot | undefined) : undefined;
  return { metadata, config: parseConfig(raw.config), components, tensors, previous };
}

function decodeAs<T>(schema: bare.Schema<T>, bytes: Uint8Array): T {
  try {
    return bare.decode(schema, bytes);
  } catch (cause) {
    if (!(cause instanceof BareError)) throw cause;
    throw new InvalidContainerError("its header is not what the format says", { ...cause.details, cause });
  }
}

function toUnion(name: string, value: MetadataValue): bare.TypeOf<typeof metadataValueSchema> {
  switch (typeof value) {
    case "string":
      return { kind: "text", value };
    case "number":
      return { kind: "float", value };
    case "bigint":
      return { kind: "integer", value };
    case "boolean":
      return { kind: "flag", value };
    default:
      throw new InvalidContainerError("a metadata value has no form in the file", {
        where: `metadata "${name}"`,
        expected: "a string, number, bigint or boolean",
        got: typeof value,
      });
  }
}

function toJson(config: unknown): string {
  try {
    const text = JSON.stringify(config);
    if (typeof text === "string") return text;
  } catch (cause) {
    throw new InvalidContainerError("the configuration has no JSON form", { cause, got: String(cause) });
  }
  throw new InvalidContainerError("the configuration has no JSON form", { got: typeof config });
}

function parseConfig(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InvalidContainerError("its configuration is not JSON", { cause, got: String(cause) });
  }
}
