// GGUF, the model file of llama.cpp: metadata, a list of tensors, and their data, aligned. Versions 2 and 3 are read
// and 3 is written. Specification: docs/gguf.md in ggml-org/ggml. The header alone is parsed; tensors stay where they
// lie. Dimensions are stored with the contiguous axis first and given here, as everywhere, with it last.
//
// A file from outside is hostile. Counts and lengths are held against the bytes that are left before anything is
// allocated (GGUF_LIMITS), names must differ, types be known, and tensors lie aligned, inside of the file and apart.
// Models split over several files are joined by gguf-split.ts. Leaves out: version 1 and big-endian files, which are
// refused by name.

import { ByteCursor, quote } from "./byte-cursor.ts";
import { FileSizeError, InvalidTensorError, UnsupportedFormatError } from "./errors.ts";
import { concat, GGUF_LIMITS, ggufStringBytes, ggufValueBytes, readGgufValue } from "./gguf-values.ts";
import type { GgufValue } from "./gguf-values.ts";
import { describeGgufType, dtypeOfGguf, ggufIdOf, tensorSizeBytes } from "./quants/table.ts";
import type { SourceDtype } from "./quants/table.ts";
import { checkedPieces, rangeReader, tensorIn } from "./tensor-source.ts";
import type { PartialFile, PlainValue, TensorSource, TensorToWrite } from "./tensor-source.ts";

export const GGUF_MAGIC = "GGUF";
const VERSION = 3;
const DEFAULT_ALIGNMENT = 32;
const ALIGNMENT_MAX = 1 << 20;
const ALIGNMENT_KEY = "general.alignment";
const DIMENSIONS_MAX = 4;
/** llama.cpp keeps names in 64 bytes, with a zero at the end. */
const WRITTEN_NAME_BYTES_MAX = 63;

/** A GGUF file. `config` has the scalars of `metadata`: 64-bit integers as numbers, or as text above 2^53. */
export interface GgufSource extends TensorSource {
  readonly format: "gguf";
  readonly version: 2 | 3;
  readonly alignment: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
}

export interface GgufInput {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly TensorToWrite[];
}

/**
 * Reads a GGUF file. `bytes` is the file, never copied; or its start, where `rest` gives the tensors' bytes. Throws
 * `UnsupportedFormatError`, `InvalidHeaderError`, `InvalidTensorError` and `FileSizeError`, with the byte offset; and
 * `MoreBytesNeeded` where a start is too short.
 * @param fileName how errors call the file
 */
export function readGguf(bytes: Uint8Array, fileName = "the GGUF file", rest?: PartialFile): GgufSource {
  const cursor = new ByteCursor(bytes, fileName, rest?.fileSizeBytes);
  const version = readVersion(cursor, bytes);
  const tensorCount = cursor.size("number of tensors", GGUF_LIMITS.tensors);
  const entryCount = cursor.size("number of metadata entries", GGUF_LIMITS.metadataEntries);
  const metadata = readMetadata(cursor, entryCount);
  const alignment = readAlignment(cursor, metadata);
  const entries = readEntries(cursor, tensorCount);
  const dataOffset = roundUp(cursor.offset, alignment);
  checkPlaces(cursor, entries, dataOffset, alignment);
  const read = rangeReader(bytes, rest);
  const tensors = entries.map((entry) => tensorIn(read, { ...entry, byteOffset: dataOffset + entry.offset }));
  return { format: "gguf", version, alignment, config: plainValues(metadata), metadata, tensors };
}

/** A tensor as the header has it; `offset` counts from the start of the data. */
interface Entry {
  readonly name: string;
  readonly dtype: SourceDtype;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly sizeBytes: number;
  /** Where the header describes it. */
  readonly headerOffset: number;
}

function readVersion(cursor: ByteCursor, bytes: Uint8Array): 2 | 3 {
  cursor.skip(4, "the magic number");
  const magic = String.fromCharCode(...bytes.subarray(0, 4));
  if (magic !== GGUF_MAGIC) {
    cursor.refuse("is not a GGUF file", `"${GGUF_MAGIC}" as its first bytes`, quote(magic), 0);
  }
  const version = cursor.u32("the version");
  if (version === 2 || version === 3) return version;
  const isBigEndian = (version & 0xffff) === 0;
  throw new UnsupportedFormatError(`${cursor.fileName} is a GGUF file of a kind that is not read`, {
    where: `${cursor.fileName}, byte 4`,
    expected: "version 2 or 3, little-endian",
    got: isBigEndian ? `big-endian numbers, or version ${version}` : `version ${version}`,
    hint: "convert the model again with a current llama.cpp",
  });
}

function readMetadata(cursor: ByteCursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const at = cursor.offset;
    const key = cursor.text(`key ${i} of the metadata`, GGUF_LIMITS.keyBytes);
    if (metadata.has(key)) cursor.refuse("has a key twice", "different keys", quote(key), at);
    metadata.set(key, readGgufValue(cursor, quote(key)));
  }
  return metadata;
}

function readAlignment(cursor: ByteCursor, metadata: ReadonlyMap<string, GgufValue>): number {
  const given = metadata.get(ALIGNMENT_KEY);
  if (given === undefined) return DEFAULT_ALIGNMENT;
  const alignment = given.type === "u32" ? Number(given.value) : 0;
  if (isAlignment(alignment)) return alignment;
  const expected = `a u32 power of two up to ${ALIGNMENT_MAX}`;
  const got = given.type === "array" ? "an array" : `${given.type} ${given.value}`;
  return cursor.refuse(`has an impossible ${ALIGNMENT_KEY}`, expected, got, cursor.offset);
}

function isAlignment(value: number): boolean {
  return value >= 1 && value <= ALIGNMENT_MAX && (value & (value - 1)) === 0;
}

function readEntries(cursor: ByteCursor, count: number): readonly Entry[] {
  const entries: Entry[] = [];
  const names = new Set<string>();
  for (let i = 0; i < count; i++) {
    const entry = readEntry(cursor, i);
    if (names.has(entry.name)) {
      cursor.refuse("has a tensor twice", "different names", quote(entry.name), entry.headerOffset);
    }
    names.add(entry.name);
    entries.push(entry);
  }
  return entries;
}

function readEntry(cursor: ByteCursor, index: number): Entry {
  const headerOffset = cursor.offset;
  const name = cursor.text(`the name of tensor ${index}`, GGUF_LIMITS.tensorNameBytes);
  const quoted = quote(name);
  const rankAt = cursor.offset;
  const rank = cursor.u32(`the rank of ${quoted}`);
  if (rank > DIMENSIONS_MAX) {
    cursor.refuse(`has a tensor of impossible rank, ${quoted}`, `at most ${DIMENSIONS_MAX} axes`, String(rank), rankAt);
  }
  const shape: number[] = [];
  for (let axis = 0; axis < rank; axis++) shape.unshift(cursor.size(`extent of ${quoted}`, Number.MAX_SAFE_INTEGER));
  if (shape.includes(0))
    cursor.refuse(`has an empty tensor, ${quoted}`, "extents above 0", `[${shape.join(", ")}]`, rankAt);
  const typeAt = cursor.offset;
  const typeId = cursor.u32(`the type of ${quoted}`);
  const dtype = dtypeOfGguf(typeId);
  if (dtype === undefined) {
    throw new UnsupportedFormatError(`${cursor.fileName} has a tensor of a type that is not read, ${quoted}`, {
      where: `${cursor.fileName}, byte ${typeAt}`,
      expected: "f32, f16, bf16, f64, an integer type, Q4_0 to Q8_0, a K type, IQ4_NL, TQ1_0, TQ2_0 or I2_S",
      got: `type ${describeGgufType(typeId)}`,
      hint: "quantise the model again to one of these types",
    });
  }
  const sizeBytes = tensorSizeBytes(dtype, shape);
  if (sizeBytes === undefined) {
    const expected = `a shape whose last axis is whole blocks of ${dtype}, below 2^53 bytes`;
    return cursor.refuse(`has a tensor of impossible shape, ${quoted}`, expected, `[${shape.join(", ")}]`, rankAt);
  }
  return { name, dtype, shape, sizeBytes, headerOffset, offset: cursor.size(`offset of ${quoted}`, 2 ** 52) };
}

/** Tensors must be aligned, inside of the file, and apart. */
function checkPlaces(cursor: ByteCursor, entries: readonly Entry[], dataOffset: number, alignment: number): void {
  const { fileName, fileSizeBytes } = cursor;
  let end = 0;
  for (const { name, offset, sizeBytes, headerOffset } of entries.toSorted((a, b) => a.offset - b.offset)) {
    const quoted = quote(name);
    if (offset % alignment !== 0) {
      cursor.refuse(`has ${quoted} unaligned`, `an offset by ${alignment}`, String(offset), headerOffset);
    }
    if (offset < end) {
      const expected = `an offset of ${end} or more, where the tensor before it ends`;
      cursor.refuse(
        `has tensors that overlap, ${quoted} and the one before it`,
        expected,
        String(offset),
        headerOffset,
      );
    }
    end = offset + sizeBytes;
    if (dataOffset + end <= fileSizeBytes) continue;
    throw new FileSizeError(`${fileName} ends before tensor ${quoted} does`, {
      where: `${fileName}, byte ${headerOffset}`,
      expected: `at least ${dataOffset + end} bytes`,
      got: `${fileSizeBytes} bytes`,
      hint: "fetch the file again: it was cut short, or is damaged",
    });
  }
}

function plainValues(metadata: ReadonlyMap<string, GgufValue>): Readonly<Record<string, PlainValue>> {
  const plain: [string, PlainValue][] = [];
  for (const [key, entry] of metadata) {
    if (entry.type === "array") continue;
    const { value } = entry;
    if (typeof value !== "bigint") plain.push([key, value]);
    else plain.push([key, Number.isSafeInteger(Number(value)) ? Number(value) : String(value)]);
  }
  return Object.fromEntries(plain);
}

/**
 * The pieces of a version 3 file, tensor by tensor, in order; nothing but the header is held in memory. The alignment
 * is `general.alignment`, or 32. Throws `InvalidTensorError` for what no reader would take.
 */
export function* ggufPieces(input: GgufInput): Generator<Uint8Array> {
  const given = input.metadata.get(ALIGNMENT_KEY);
  const alignment = given === undefined ? DEFAULT_ALIGNMENT : given.type === "u32" ? Number(given.value) : 0;
  if (!isAlignment(alignment)) throw refusal(ALIGNMENT_KEY, `a u32 power of two up to ${ALIGNMENT_MAX}`, "another");
  const header = headerBytes(input, alignment);
  yield header;
  yield zeros(roundUp(header.length, alignment) - header.length);
  for (const tensor of input.tensors) {
    const sizeBytes = tensorSizeBytes(tensor.dtype, tensor.shape) ?? 0;
    yield* checkedPieces(tensor, (expected, got) => refusal(tensor.name, expected, got));
    yield zeros(roundUp(sizeBytes, alignment) - sizeBytes);
  }
}

function headerBytes(input: GgufInput, alignment: number): Uint8Array {
  const { metadata, tensors } = input;
  const head = new DataView(new ArrayBuffer(24));
  for (let i = 0; i < 4; i++) head.setUint8(i, GGUF_MAGIC.charCodeAt(i));
  head.setUint32(4, VERSION, true);
  head.setBigUint64(8, BigInt(tensors.length), true);
  head.setBigUint64(16, BigInt(metadata.size), true);
  const pieces: Uint8Array[] = [new Uint8Array(head.buffer)];
  for (const [key, value] of metadata) {
    const refuse = (got: string): never => {
      throw refusal(key, "a value of its type", got);
    };
    pieces.push(ggufStringBytes(key), ggufValueBytes(value, refuse));
  }
  let offset = 0;
  const names = new Set<string>();
  for (const tensor of tensors) {
    if (names.has(tensor.name)) throw refusal(tensor.name, "different names", "this one twice");
    names.add(tensor.name);
    pieces.push(...entryBytes(tensor, offset));
    offset = roundUp(offset + (tensorSizeBytes(tensor.dtype, tensor.shape) ?? 0), alignment);
  }
  return concat(pieces);
}

function entryBytes({ name, dtype, shape }: TensorToWrite, offset: number): Uint8Array[] {
  const typeId = ggufIdOf(dtype);
  if (typeId === undefined) throw refusal(name, "a type that GGUF has", dtype);
  const isPossible =
    shape.length <= DIMENSIONS_MAX && shape.every((extent) => Number.isSafeInteger(extent) && extent > 0);
  if (!isPossible || tensorSizeBytes(dtype, shape) === undefined) {
    throw refusal(
      name,
      `at most ${DIMENSIONS_MAX} axes, the last of whole blocks of ${dtype}`,
      `[${shape.join(", ")}]`,
    );
  }
  const nameBytes = ggufStringBytes(name);
  if (nameBytes.length > 8 + WRITTEN_NAME_BYTES_MAX) {
    throw refusal(name, `a name of at most ${WRITTEN_NAME_BYTES_MAX} bytes`, `${nameBytes.length - 8}`);
  }
  const entry = new DataView(new ArrayBuffer(16 + 8 * shape.length));
  entry.setUint32(0, shape.length, true);
  shape.toReversed().forEach((extent, axis) => entry.setBigUint64(4 + 8 * axis, BigInt(extent), true));
  entry.setUint32(4 + 8 * shape.length, typeId, true);
  entry.setBigUint64(8 + 8 * shape.length, BigInt(offset), true);
  return [nameBytes, new Uint8Array(entry.buffer)];
}

/** A whole version 3 file in memory, for small models. Throws as `ggufPieces` does. */
export function writeGguf(input: GgufInput): Uint8Array {
  return concat([...ggufPieces(input)]);
}

function refusal(name: string, expected: string, got: string): InvalidTensorError {
  return new InvalidTensorError(`${quote(name)} cannot be written to a GGUF file`, { expected, got });
}

function zeros(count: number): Uint8Array {
  return new Uint8Array(count);
}

function roundUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
