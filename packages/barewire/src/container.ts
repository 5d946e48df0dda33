// The model container: one file that holds a model's configuration and its tensors, laid out so that it can be mapped
// into memory and used in place. Little-endian throughout:
//
//   offset 0    8 bytes   magic "FIDELITY"
//          8    u32       format version, 1
//         12    u32       CRC-32C of the header
//         16    u64       size of the header in bytes
//         24    ...       header, BARE by the schema below; zeros up to a page of 4096 bytes
//   page        ...       tensors, each at a multiple of 64 bytes, zeros between them; the last one ends the file
//
// A reader believes nothing: sizes, ranges, overlaps and names are checked before anything is allocated by them. The
// idea of a header before page-aligned, mappable tensors is GGUF's and safetensors'; the checksums and the components
// are ours. Left out: appending, compression, and reading over HTTP ranges (`readHeader` takes a prefix of a file).

import * as bare from "./bare.ts";
import { BARE_LIMITS, BareError } from "./bare-io.ts";
import { CONTAINER_LIMITS, TENSOR_ALIGN_BYTES, checkEntries, checkRanges } from "./container-check.ts";
import {
  ChecksumError,
  InvalidContainerError,
  NewerContainerError,
  NotAContainerError,
  TruncatedContainerError,
} from "./container-errors.ts";
import { crc32c } from "./crc32c.ts";
import { copyBytes } from "./region.ts";
import type { ReadonlyBytes } from "./region.ts";

export const CONTAINER_FORMAT_VERSION = 1;

/** The fixed part before the header. */
export const CONTAINER_PREFIX_BYTES = 24;

/** The first tensor starts at a multiple of this. */
export const CONTAINER_PAGE_BYTES = 4096;

const MAGIC = new TextEncoder().encode("FIDELITY");

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

const headerSchema = bare.struct({
  metadata: bare.map(bare.str, metadataValueSchema),
  config: bare.str, // JSON
  components: bare.list(componentSchema),
  tensors: bare.list(tensorSchema),
});

/** A part of the model that has parameters of its own and can be replaced as a whole. */
export type ContainerComponent = bare.TypeOf<typeof componentSchema>;

/** Where a tensor lies in the file, and what its bytes mean. `layout` "dense" is row-major without gaps. */
export type TensorEntry = bare.TypeOf<typeof tensorSchema>;

/** All that a container says about itself. */
export interface ContainerHeader {
  readonly formatVersion: number;
  readonly metadata: Metadata;
  /** The model's configuration as parsed JSON; its reader must check the shape. */
  readonly config: unknown;
  readonly components: readonly ContainerComponent[];
  readonly tensors: readonly TensorEntry[];
  /** The size that the file must have. */
  readonly fileSizeBytes: number;
}

/** A tensor to write. A function as `bytes` is called twice, and must give the same bytes each time. */
export interface TensorInput {
  readonly name: string;
  readonly component: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Default "dense". */
  readonly layout?: string;
  readonly bytes: Uint8Array | (() => Uint8Array);
}

/** A model to write. `config` is anything that JSON can say. */
export interface ContainerInput {
  readonly metadata?: Metadata;
  readonly config: unknown;
  readonly components: readonly ContainerComponent[];
  readonly tensors: readonly TensorInput[];
}

/**
 * The container of a model, piece by piece, for any sink; no piece is a copy of a tensor. The first piece is made after
 * every tensor was read once for its checksum. Throws `InvalidContainerError` on a model that no reader would accept.
 */
export function* writeContainer(input: ContainerInput): Generator<Uint8Array, void, void> {
  const { prefixAndHeader, entries } = layOut(input);
  yield prefixAndHeader;
  let position = prefixAndHeader.length;
  for (const [i, entry] of entries.entries()) {
    if (entry.offset > position) yield new Uint8Array(entry.offset - position);
    const bytes = bytesOf(input.tensors[i]);
    if (bytes.length !== entry.sizeBytes) {
      throw new InvalidContainerError("a tensor changed while it was written", {
        where: `tensor "${entry.name}"`,
        expected: `${entry.sizeBytes} bytes, as before`,
        got: `${bytes.length}`,
        hint: "give the same bytes on each call",
      });
    }
    yield bytes;
    position = entry.offset + entry.sizeBytes;
  }
}

/** The container of a model as one array, for where there is no sink to stream to. */
export function containerToBytes(input: ContainerInput): Uint8Array<ArrayBuffer> {
  const pieces = [...writeContainer(input)];
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}

/** How many bytes of a file `readHeader` needs, told from its first 24; throws what `readHeader` would. */
export function headerEndBytes(prefix: ReadonlyBytes, fileSizeBytes: number): number {
  return CONTAINER_PREFIX_BYTES + readPrefix(prefix, fileSizeBytes).headerBytes;
}

/**
 * Reads and checks the header. `bytes` is a whole file, or a prefix of one that is `fileSizeBytes` long. After this
 * every entry lies inside the file, aligned and apart from all others. Tensors are not read: see `verifyTensor`.
 * Throws a subclass of `ContainerError`.
 */
export function readHeader(bytes: ReadonlyBytes, fileSizeBytes = bytes.length): ContainerHeader {
  const { headerBytes, checksum } = readPrefix(bytes, fileSizeBytes);
  const end = CONTAINER_PREFIX_BYTES + headerBytes;
  if (bytes.length < end) throw new TruncatedContainerError("in its header", end, bytes.length);
  // A private copy, so that another thread that writes to shared memory cannot change what was checked.
  const header = copyBytes(bytes, CONTAINER_PREFIX_BYTES, end);
  const found = crc32c(header);
  if (found !== checksum) throw new ChecksumError(undefined, checksum, found);
  const raw = decodeHeader(header);
  const config = parseConfig(raw.config);
  checkEntries(raw.components, raw.tensors);
  const sizeBytes = checkRanges(raw.tensors, roundUp(end, CONTAINER_PAGE_BYTES));
  if (fileSizeBytes < sizeBytes) throw new TruncatedContainerError("in its tensors", sizeBytes, fileSizeBytes);
  if (fileSizeBytes > sizeBytes) {
    throw new InvalidContainerError("there are bytes after the last tensor", {
      expected: `a file of ${sizeBytes} bytes`,
      got: `${fileSizeBytes} bytes`,
    });
  }
  const { components, tensors } = raw;
  const metadata = Object.fromEntries([...raw.metadata].map(([name, { value }]) => [name, value]));
  return { formatVersion: CONTAINER_FORMAT_VERSION, metadata, config, components, tensors, fileSizeBytes: sizeBytes };
}

/** The bytes of one tensor of a whole container, in place. */
export function tensorBytes<T extends ReadonlyBytes>(file: T, entry: TensorEntry): ReturnType<T["subarray"]> {
  return file.subarray(entry.offset, entry.offset + entry.sizeBytes) as ReturnType<T["subarray"]>;
}

/** Throws `ChecksumError`, naming the tensor, where its bytes are not those that were written. */
export function verifyTensor(file: ReadonlyBytes, entry: TensorEntry): void {
  const found = crc32c(tensorBytes(file, entry));
  if (found !== entry.checksum) throw new ChecksumError(entry.name, entry.checksum, found);
}

/** Reads a whole container: header, and the checksums of all tensors. */
export function readContainer(file: ReadonlyBytes): ContainerHeader {
  const header = readHeader(file);
  for (const entry of header.tensors) verifyTensor(file, entry);
  return header;
}

interface LaidOut {
  readonly prefixAndHeader: Uint8Array;
  readonly entries: readonly TensorEntry[];
}

function layOut(input: ContainerInput): LaidOut {
  const config = toJson(input.config);
  const metadata = new Map(Object.entries(input.metadata ?? {}).map(([name, value]) => [name, toUnion(name, value)]));
  const { components } = input;
  const measured = input.tensors.map(measure);
  checkEntries(components, measured);
  // Offsets have a fixed width, so the header is as large before they are known as after.
  const draft = encodeHeader({ metadata, config, components, tensors: measured });
  const sectionStart = roundUp(CONTAINER_PREFIX_BYTES + draft.length, CONTAINER_PAGE_BYTES);
  let position = sectionStart;
  const entries = measured.map((entry) => {
    const offset = roundUp(position, TENSOR_ALIGN_BYTES);
    position = offset + entry.sizeBytes;
    return { ...entry, offset };
  });
  checkRanges(entries, sectionStart);
  const header = encodeHeader({ metadata, config, components, tensors: entries });
  const prefixAndHeader = new Uint8Array(sectionStart);
  const view = new DataView(prefixAndHeader.buffer);
  prefixAndHeader.set(MAGIC);
  view.setUint32(8, CONTAINER_FORMAT_VERSION, true);
  view.setUint32(12, crc32c(header), true);
  view.setBigUint64(16, BigInt(header.length), true);
  prefixAndHeader.set(header, CONTAINER_PREFIX_BYTES);
  return { prefixAndHeader, entries };
}

function measure(tensor: TensorInput): TensorEntry {
  const { name, component, dtype, shape, layout = "dense" } = tensor;
  const bytes = bytesOf(tensor);
  return { name, component, dtype, shape, layout, offset: 0, sizeBytes: bytes.length, checksum: crc32c(bytes) };
}

function bytesOf(tensor: TensorInput): Uint8Array {
  return typeof tensor.bytes === "function" ? tensor.bytes() : tensor.bytes;
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

function encodeHeader(header: bare.TypeOf<typeof headerSchema>): Uint8Array {
  try {
    return bare.encode(headerSchema, header, { ...BARE_LIMITS, sizeBytesMax: CONTAINER_LIMITS.headerBytesMax });
  } catch (cause) {
    if (!(cause instanceof BareError)) throw cause;
    throw new InvalidContainerError("its header cannot be encoded", { ...cause.details, cause });
  }
}

function decodeHeader(header: Uint8Array): bare.TypeOf<typeof headerSchema> {
  try {
    return bare.decode(headerSchema, header);
  } catch (cause) {
    if (!(cause instanceof BareError)) throw cause;
    throw new InvalidContainerError("its header is not what the format says", { ...cause.details, cause });
  }
}

function parseConfig(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InvalidContainerError("its configuration is not JSON", { cause, got: String(cause) });
  }
}

function readPrefix(bytes: ReadonlyBytes, fileSizeBytes: number): { headerBytes: number; checksum: number } {
  const magicBytes = Math.min(bytes.length, MAGIC.length);
  for (let i = 0; i < magicBytes; i++) {
    if (bytes[i] === MAGIC[i]) continue;
    throw new NotAContainerError("the file is not a Fidelity model container", {
      expected: 'a file that starts with "FIDELITY"',
      got: `first bytes ${[...copyBytes(bytes, 0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}`,
      hint: "give a model that Fidelity saved, or import the file from its own format",
    });
  }
  if (bytes.length < CONTAINER_PREFIX_BYTES) {
    throw new TruncatedContainerError("in its first bytes", CONTAINER_PREFIX_BYTES, bytes.length);
  }
  const view = new DataView(copyBytes(bytes, 0, CONTAINER_PREFIX_BYTES).buffer);
  const formatVersion = view.getUint32(8, true);
  if (formatVersion > CONTAINER_FORMAT_VERSION) throw new NewerContainerError(formatVersion, CONTAINER_FORMAT_VERSION);
  if (formatVersion < CONTAINER_FORMAT_VERSION) {
    throw new InvalidContainerError("there is no such format version", {
      expected: `${CONTAINER_FORMAT_VERSION}`,
      got: `${formatVersion}`,
    });
  }
  const headerBytes = Number(view.getBigUint64(16, true));
  if (headerBytes > CONTAINER_LIMITS.headerBytesMax) {
    throw new InvalidContainerError("its header has an impossible size", {
      expected: `at most ${CONTAINER_LIMITS.headerBytesMax} bytes`,
      got: `${headerBytes}`,
    });
  }
  const end = CONTAINER_PREFIX_BYTES + headerBytes;
  if (fileSizeBytes < end) throw new TruncatedContainerError("in its header", end, fileSizeBytes);
  return { headerBytes, checksum: view.getUint32(12, true) };
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
