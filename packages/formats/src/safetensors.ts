// safetensors, Hugging Face's model file: a 64-bit header length, JSON with every tensor's type, shape and place, and
// the tensors without a gap. Format: README.md of huggingface/safetensors. Models of several files have an index,
// `model.safetensors.index.json`, that says which tensor is in which.
//
// A file from outside is hostile: the header has at most 100 MB, tensors must have sizes that follow from their shapes,
// lie inside of the file, and fill it. Leaves out: 8-bit and 4-bit floats, complex numbers, unsigned integers beyond
// bytes; and keys that JSON has twice, of which the last counts.

import { ByteCursor, quote, show } from "./byte-cursor.ts";
import { InvalidHeaderError, InvalidTensorError, UnsupportedFormatError } from "./errors.ts";
import { blockOf, dtypeOfSafetensors, safetensorsNameOf, tensorSizeBytes } from "./quants/table.ts";
import type { SourceDtype } from "./quants/table.ts";
import { checkedPieces, findTensor, rangeReader, tensorIn } from "./tensor-source.ts";
import type { PartialFile, SourceTensor, TensorSource, TensorToWrite } from "./tensor-source.ts";

/** The most bytes that a header may have, as the reference reader has it. */
export const SAFETENSORS_HEADER_BYTES_MAX = 100_000_000;
const RANK_MAX = 16;
/** A name beside the index: a path could lead out of its folder, and a control character steer a terminal. */
const FILE_NAME = /^[^/\\:\p{Cc}]{1,200}\.safetensors$/u;
const METADATA_KEY = "__metadata__";

/** A safetensors file, or several as one. `config` is the metadata of the first: texts. */
export interface SafetensorsSource extends TensorSource {
  readonly format: "safetensors";
  readonly config: Readonly<Record<string, string>>;
}

export interface SafetensorsInput {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly tensors: readonly TensorToWrite[];
}

/**
 * Reads a safetensors file. `bytes` is the file, never copied; or its start, where `rest` gives the tensors' bytes.
 * Throws `UnsupportedFormatError`, `InvalidHeaderError` and `FileSizeError`, and `MoreBytesNeeded` where a start is too
 * short.
 * @param fileName how errors call the file
 */
export function readSafetensors(
  bytes: Uint8Array,
  fileName = "the safetensors file",
  rest?: PartialFile,
): SafetensorsSource {
  const cursor = new ByteCursor(bytes, fileName, rest?.fileSizeBytes);
  const headerBytes = cursor.size("header length", SAFETENSORS_HEADER_BYTES_MAX);
  const at = cursor.skip(headerBytes, "the header");
  const header = parseHeader(cursor, new Uint8Array(bytes.subarray(at, at + headerBytes)));
  const dataOffset = cursor.offset;
  const read = rangeReader(bytes, rest);
  const { [METADATA_KEY]: metadata = {}, ...described } = header;
  const tensors = Object.entries(described).map(([name, value]): SourceTensor => {
    const entry = readEntry(cursor, name, value);
    return tensorIn(read, { ...entry, name, byteOffset: dataOffset + entry.start });
  });
  tensors.sort((a, b) => a.byteOffset - b.byteOffset || a.sizeBytes - b.sizeBytes);
  checkFilled(cursor, tensors, dataOffset);
  return { format: "safetensors", config: readTexts(cursor, metadata), tensors };
}

function parseHeader(cursor: ByteCursor, bytes: Uint8Array): Readonly<Record<string, unknown>> {
  const refuse = (got: string): never => cursor.refuse("has a header that is not JSON", "an object in JSON", got, 8);
  if (bytes[0] !== 0x7b) refuse(`a header of ${bytes.length} bytes that does not begin with {`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(show(error));
  }
  return isRecord(parsed) ? parsed : refuse("something else");
}

function readTexts(cursor: ByteCursor, metadata: unknown): Readonly<Record<string, string>> {
  const entries = isRecord(metadata) ? Object.entries(metadata) : [["", undefined] as const];
  const texts = entries.map(([key, value]): [string, string] => {
    if (typeof value === "string") return [key, value];
    return cursor.refuse(`has impossible metadata`, "an object of texts", `${typeof value} at ${quote(key)}`, 8);
  });
  return Object.fromEntries(texts);
}

interface Entry {
  readonly dtype: SourceDtype;
  readonly shape: readonly number[];
  /** From the end of the header. */
  readonly start: number;
  readonly sizeBytes: number;
}

function readEntry(cursor: ByteCursor, name: string, value: unknown): Entry {
  const quoted = quote(name);
  const refuse = (expected: string, got: unknown): never =>
    cursor.refuse(`describes tensor ${quoted} wrongly`, expected, show(got), 8);
  if (!isRecord(value)) return refuse("an object with dtype, shape and data_offsets", value);
  const { dtype: typeName, shape, data_offsets: offsets } = value;
  if (typeof typeName !== "string") return refuse("a dtype", typeName);
  const dtype = dtypeOfSafetensors(typeName);
  if (dtype === undefined) {
    throw new UnsupportedFormatError(`${cursor.fileName} has a tensor of a type that is not read, ${quoted}`, {
      where: `${cursor.fileName}, header`,
      expected: "F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL",
      got: quote(typeName),
      hint: "convert the tensor to one of these types",
    });
  }
  if (!isSizes(shape) || shape.length > RANK_MAX) return refuse(`a shape of at most ${RANK_MAX} extents`, shape);
  if (!isSizes(offsets) || offsets.length !== 2) return refuse("data_offsets of two positions", offsets);
  const [start, end] = offsets;
  const sizeBytes = tensorSizeBytes(dtype, shape);
  if (sizeBytes !== end - start) {
    return refuse(
      `data_offsets ${sizeBytes ?? "below 2^53"} bytes apart for ${typeName} [${shape.join(", ")}]`,
      offsets,
    );
  }
  return { dtype, shape, start, sizeBytes };
}

/** Tensors lie one after the other and end where the file does. */
function checkFilled(cursor: ByteCursor, tensors: readonly SourceTensor[], dataOffset: number): void {
  let end = dataOffset;
  for (const { name, byteOffset, sizeBytes } of tensors) {
    if (byteOffset !== end) {
      const summary = byteOffset < end ? "has tensors that overlap" : "has a gap between its tensors";
      cursor.refuse(summary, `${quote(name)} to begin at ${end}`, `it begins at ${byteOffset}`, byteOffset);
    }
    end += sizeBytes;
  }
  if (end === cursor.fileSizeBytes) return;
  cursor.skip(end - dataOffset, "its tensors");
  cursor.refuse("goes on after its tensors", `${end} bytes`, `${cursor.fileSizeBytes} bytes`, end);
}

/**
 * The pieces of a safetensors file. Tensors are put in order of their elements' width, the widest first, so that each
 * is aligned to it. Throws `InvalidTensorError` for what the format cannot hold.
 */
export function* safetensorsPieces(input: SafetensorsInput): Generator<Uint8Array> {
  const width = ({ dtype }: TensorToWrite): number => blockOf(dtype).blockBytes;
  const tensors = input.tensors.toSorted((a, b) => width(b) - width(a));
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape }): [string, object] => {
    const typeName = safetensorsNameOf(dtype);
    const sizeBytes = tensorSizeBytes(dtype, shape);
    if (typeName === undefined) throw refusal(name, "a type that safetensors has", dtype);
    if (!isSizes(shape) || sizeBytes === undefined)
      throw refusal(name, "a shape below 2^53 bytes", `[${shape.join()}]`);
    const start = at;
    at += sizeBytes;
    return [name, { dtype: typeName, shape, data_offsets: [start, at] }];
  });
  if (new Set(entries.map(([name]) => name)).size !== entries.length || tensors.some((t) => t.name === METADATA_KEY)) {
    throw refusal("a name", `different names, and none of them ${METADATA_KEY}`, "a name twice, or that one");
  }
  const metadata = input.metadata === undefined ? [] : [[METADATA_KEY, input.metadata] as const];
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries([...metadata, ...entries])));
  const paddedBytes = 8 * Math.ceil(json.length / 8);
  const header = new Uint8Array(8 + paddedBytes).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(paddedBytes), true);
  header.set(json, 8);
  yield header;
  for (const tensor of tensors) {
    yield* checkedPieces(tensor, (expected, got) => refusal(tensor.name, expected, got));
  }
}

function refusal(name: string, expected: string, got: string): InvalidTensorError {
  return new InvalidTensorError(`${quote(name)} cannot be written to a safetensors file`, { expected, got });
}

/** Which file each tensor of a model in several files is in, from the text of its index. */
export function readSafetensorsIndex(text: string, fileName = "the safetensors index"): ReadonlyMap<string, string> {
  const refuse = (expected: string, got: string): never => {
    throw new InvalidHeaderError(`${fileName} is not an index of safetensors files`, {
      where: fileName,
      expected,
      got,
    });
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    refuse("JSON", show(error));
  }
  const weightMap = isRecord(parsed) ? parsed["weight_map"] : undefined;
  if (!isRecord(weightMap)) return refuse("an object weight_map", typeof weightMap);
  const files = new Map<string, string>();
  for (const [name, file] of Object.entries(weightMap)) {
    if (typeof file !== "string" || !FILE_NAME.test(file)) {
      return refuse("names of .safetensors files beside the index", `${show(file)} for ${quote(name)}`);
    }
    files.set(name, file);
  }
  return files;
}

/**
 * The files of an index as one source, in the index's order. Throws `InvalidTensorError` where a file lacks a tensor.
 * @param open reads one of the files; called once for each
 */
export function joinSafetensors(
  index: ReadonlyMap<string, string>,
  open: (file: string) => SafetensorsSource,
): SafetensorsSource {
  const files = new Map([...new Set(index.values())].map((file) => [file, open(file)]));
  const places = new Map([...files].map(([file, { tensors }]) => [file, new Map(tensors.map((t) => [t.name, t]))]));
  const tensors = Array.from(
    index,
    ([name, file]) => places.get(file)?.get(name) ?? findTensor(files.get(file)!, name),
  );
  return { format: "safetensors", config: files.values().next().value?.config ?? {}, tensors };
}

function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
