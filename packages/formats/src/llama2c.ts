// llama2.c's version 0 checkpoint: seven int32 and then float32 tensors with no names, each kind stacked over the
// layers. The layout is that of `legacy_export` in export.py and of `memory_map_weights` in run.c of karpathy/llama2.c.
// The reader presents one tensor a layer under Fidelity's names, as views of the file.
//
// The model behind the file: RMSNorm with epsilon 1e-5, SwiGLU, grouped-query attention, and rotary embeddings that
// turn ADJACENT pairs (2i, 2i+1) with theta 10000, unlike the half-split pairs of the Hugging Face checkpoints.
//
// Leaves out: versions 1 (float32 with a magic number) and 2 (int8 groups), which are named when they are met.

import { FileSizeError, InvalidHeaderError, InvalidTensorError } from "./errors.ts";
import { rangeReader, tensorIn } from "./tensor-source.ts";
import type { PartialFile, SourceTensor, TensorSource } from "./tensor-source.ts";

export const llama2cHeaderSizeBytes = 28;

/** "ak42" read as a little-endian int32: how llama2.c marks versions 1 and later. */
export const llama2cVersionedMagic = 0x616b3432;

/** The header, in plain terms. */
export interface Llama2cHeader {
  readonly dim: number;
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly keyValueHeadCount: number;
  readonly vocabSize: number;
  readonly contextLength: number;
  /** True when the output layer is the embedding; the file says it with a positive vocabulary size. */
  readonly tiedEmbeddings: boolean;
}

/** What a Llama model needs to know, all of it: the header and what llama2.c fixes. A type, so that it is a Record. */
export type Llama2cConfig = Llama2cHeader & {
  readonly architecture: "llama";
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  readonly ropePairing: "adjacent";
};

/** A llama2.c file as a `TensorSource` whose configuration is typed. */
export interface Llama2cSource extends TensorSource {
  readonly format: "llama2c";
  readonly config: Llama2cConfig & Readonly<Record<string, string | number | boolean>>;
}

/** The largest value that each field may have: well above any model of this kind, and small enough to multiply. */
const fieldLimits = {
  dim: 1 << 17,
  hiddenDim: 1 << 20,
  layerCount: 1 << 12,
  headCount: 1 << 12,
  keyValueHeadCount: 1 << 12,
  vocabSize: 1 << 24,
  contextLength: 1 << 24,
} as const;

type HeaderField = keyof typeof fieldLimits;
const fieldOrder = Object.keys(fieldLimits) as readonly HeaderField[];

/** One kind of tensor in the file: stacked over the layers, alone, or there to be skipped. */
interface Section {
  /** Name of the tensor; `{i}` stands for the layer; undefined for the rotary tables that nobody needs. */
  readonly name: string | undefined;
  readonly shape: readonly number[];
  readonly copies: number;
}

/**
 * Reads a llama2.c version 0 file. `bytes` may be a view anywhere in a larger buffer and is never copied; or it is the
 * file's start, where `rest` gives the tensors' bytes. Throws `InvalidHeaderError` for a header that no model has, and
 * `FileSizeError` unless the size is just what it announces.
 * @param fileName how errors call the file
 */
export function readLlama2c(bytes: Uint8Array, fileName = "the llama2.c file", rest?: PartialFile): Llama2cSource {
  const header = readLlama2cHeader(bytes, fileName);
  const expectedSizeBytes = llama2cFileSizeBytes(header);
  const fileSizeBytes = rest?.fileSizeBytes ?? bytes.byteLength;
  const read = rangeReader(bytes, rest);
  if (fileSizeBytes !== expectedSizeBytes) {
    const relation = fileSizeBytes < expectedSizeBytes ? "shorter" : "longer";
    throw new FileSizeError(`${fileName} is ${relation} than its header says`, {
      where: fileName,
      expected: `${expectedSizeBytes} bytes for ${describeHeader(header)}`,
      got: `${fileSizeBytes} bytes`,
      hint: "fetch the file again, and check that it is a llama2.c version 0 export of float32 weights",
    });
  }
  const tensors: SourceTensor[] = [];
  let byteOffset = llama2cHeaderSizeBytes;
  for (const section of sections(header)) {
    for (let copy = 0; copy < section.copies; copy++) {
      if (section.name !== undefined) {
        const name = section.name.replace("{i}", String(copy));
        const sizeBytes = sizeBytesOf(section.shape);
        tensors.push(tensorIn(read, { name, dtype: "f32", shape: section.shape, byteOffset, sizeBytes }));
      }
      byteOffset += sizeBytesOf(section.shape);
    }
  }
  const config = { architecture: "llama", ...header, normEpsilon: 1e-5, ropeTheta: 10000, ropePairing: "adjacent" };
  return { format: "llama2c", config: config as Llama2cSource["config"], tensors };
}

/** Reads and checks the seven header fields alone. Throws `InvalidHeaderError`, or `FileSizeError` below 28 bytes. */
export function readLlama2cHeader(bytes: Uint8Array, fileName = "the llama2.c file"): Llama2cHeader {
  if (bytes.byteLength < llama2cHeaderSizeBytes) {
    throw new FileSizeError(`${fileName} is too short for a llama2.c header`, {
      where: fileName,
      expected: `at least ${llama2cHeaderSizeBytes} bytes`,
      got: `${bytes.byteLength} bytes`,
    });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, llama2cHeaderSizeBytes);
  if (view.getUint32(0, true) === llama2cVersionedMagic) {
    throw new InvalidHeaderError(`${fileName} is a llama2.c file of version ${view.getInt32(4, true)}`, {
      where: `${fileName}, byte 0`,
      expected: "version 0, which starts with the model's width",
      got: 'the magic number "ak42"',
      hint: "export the model again with llama2.c's export.py --version 0",
    });
  }
  const fields = fieldOrder.map((_, index) => view.getInt32(4 * index, true));
  const [dim, hiddenDim, layerCount, headCount, keyValueHeadCount, signedVocabSize, contextLength] = fields;
  const header: Llama2cHeader = {
    dim,
    hiddenDim,
    layerCount,
    headCount,
    keyValueHeadCount,
    contextLength,
    vocabSize: Math.abs(signedVocabSize),
    tiedEmbeddings: signedVocabSize > 0,
  };
  checkHeader(header, fileName);
  return header;
}

/**
 * Writes a version 0 file. `tensor(name)` gives each tensor's elements, row-major, under the reader's names. Throws
 * `InvalidHeaderError` for an impossible header and `InvalidTensorError` for a tensor of the wrong size.
 */
export function writeLlama2c(header: Llama2cHeader, tensor: (name: string) => Float32Array): Uint8Array {
  checkHeader(header, "the model to write");
  const bytes = new Uint8Array(llama2cFileSizeBytes(header));
  const view = new DataView(bytes.buffer);
  fieldOrder.forEach((field, index) => {
    const value = field === "vocabSize" && !header.tiedEmbeddings ? -header.vocabSize : header[field];
    view.setInt32(4 * index, value, true);
  });
  const elements = new Float32Array(bytes.buffer, llama2cHeaderSizeBytes);
  let start = 0;
  for (const section of sections(header)) {
    const count = elementCountOf(section.shape);
    for (let copy = 0; copy < section.copies; copy++) {
      if (section.name === undefined) {
        fillRotaryTable(elements.subarray(start, start + count), header, copy === 0 ? Math.cos : Math.sin);
      } else {
        copyTensor(elements.subarray(start, start + count), section.name.replace("{i}", String(copy)), tensor);
      }
      start += count;
    }
  }
  return bytes;
}

/** The exact size of a version 0 file. Only for a checked header: its limits keep the sum a safe integer. */
export function llama2cFileSizeBytes(header: Llama2cHeader): number {
  let sizeBytes = llama2cHeaderSizeBytes;
  for (const section of sections(header)) sizeBytes += section.copies * sizeBytesOf(section.shape);
  return sizeBytes;
}

/** The file after its header, in order. */
function sections(header: Llama2cHeader): readonly Section[] {
  const { dim, hiddenDim, layerCount, headCount, keyValueHeadCount, vocabSize, contextLength } = header;
  const headSize = dim / headCount;
  const keyValueDim = headSize * keyValueHeadCount;
  const perLayer = (name: string, ...shape: number[]): Section => ({
    name: `blocks.{i}.${name}.weight`,
    shape,
    copies: layerCount,
  });
  return [
    { name: "embedding.weight", shape: [vocabSize, dim], copies: 1 },
    perLayer("attentionNorm", dim),
    perLayer("attention.query", dim, dim),
    perLayer("attention.key", keyValueDim, dim),
    perLayer("attention.value", keyValueDim, dim),
    perLayer("attention.output", dim, dim),
    perLayer("feedForwardNorm", dim),
    perLayer("feedForward.gate", hiddenDim, dim), // w1
    perLayer("feedForward.down", dim, hiddenDim), // w2
    perLayer("feedForward.up", hiddenDim, dim), // w3
    { name: "finalNorm.weight", shape: [dim], copies: 1 },
    { name: undefined, shape: [contextLength, headSize / 2], copies: 2 }, // cosines, then sines
    { name: "head.weight", shape: [vocabSize, dim], copies: header.tiedEmbeddings ? 0 : 1 },
  ];
}

function checkHeader(header: Llama2cHeader, fileName: string): void {
  for (const field of fieldOrder) {
    const value = header[field];
    if (Number.isInteger(value) && value >= 1 && value <= fieldLimits[field]) continue;
    throw new InvalidHeaderError(`${fileName} has an impossible ${field}`, {
      where: `${fileName}, byte ${4 * fieldOrder.indexOf(field)}`,
      expected: `${field} from 1 to ${fieldLimits[field]}`,
      got: String(value),
      hint: "this is probably not a llama2.c version 0 checkpoint",
    });
  }
  const { dim, headCount, keyValueHeadCount } = header;
  const refuse = (expected: string, got: string): never => {
    throw new InvalidHeaderError(`${fileName} has a header that contradicts itself`, {
      where: fileName,
      expected,
      got,
      hint: "this is probably not a llama2.c version 0 checkpoint",
    });
  };
  if (dim % headCount !== 0) refuse("a width that the heads divide", `dim ${dim} with ${headCount} heads`);
  if ((dim / headCount) % 2 !== 0) refuse("an even head size, for the rotary pairs", `head size ${dim / headCount}`);
  if (headCount % keyValueHeadCount !== 0) {
    refuse("key and value heads that divide the heads", `${headCount} heads, ${keyValueHeadCount} key and value heads`);
  }
  if (!Number.isSafeInteger(llama2cFileSizeBytes(header))) refuse("a file below 2^53 bytes", describeHeader(header));
}

function copyTensor(target: Float32Array, name: string, tensor: (name: string) => Float32Array): void {
  const values = tensor(name);
  if (values.length !== target.length) {
    throw new InvalidTensorError(`tensor "${name}" does not fit the header`, {
      expected: `${target.length} elements`,
      got: `${values.length} elements`,
    });
  }
  target.set(values);
}

/** table: [contextLength, headSize / 2]. Kept for other readers of the format; angle = position * theta^(-2i/size). */
function fillRotaryTable(table: Float32Array, header: Llama2cHeader, wave: (angle: number) => number): void {
  const pairCount = header.dim / header.headCount / 2;
  for (let index = 0; index < table.length; index++) {
    const pair = index % pairCount;
    table[index] = wave(Math.floor(index / pairCount) / 10000 ** (pair / pairCount));
  }
}

function describeHeader(header: Llama2cHeader): string {
  return fieldOrder.map((field) => `${field} ${header[field]}`).join(", ");
}

function elementCountOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

function sizeBytesOf(shape: readonly number[]): number {
  return 4 * elementCountOf(shape);
}
