// Every stored type that this room reads, in one table: its GGUF number, its safetensors name, how it is decoded.

import { InvalidTensorError } from "../errors.ts";
import type { BlockType } from "./block-type.ts";
import { iq4_nl } from "./iq4-nl.ts";
import { q2_k, q3_k, q4_k, q5_k, q6_k } from "./k-blocks.ts";
import { bf16, bool, f16, f32, f64, i16, i32, i64, i8, u8 } from "./plain.ts";
import { q4_0, q4_1, q5_0, q5_1, q8_0 } from "./small-blocks.ts";
import { i2_s, tq1_0, tq2_0 } from "./ternary.ts";

/** A type with its number in GGUF and its name in safetensors, where it has one there. */
interface SourceType {
  readonly type: BlockType;
  readonly gguf?: number;
  readonly safetensors?: string;
}

const table = {
  f64: { type: f64, gguf: 28, safetensors: "F64" },
  f32: { type: f32, gguf: 0, safetensors: "F32" },
  f16: { type: f16, gguf: 1, safetensors: "F16" },
  bf16: { type: bf16, gguf: 30, safetensors: "BF16" },
  i64: { type: i64, gguf: 27, safetensors: "I64" },
  i32: { type: i32, gguf: 26, safetensors: "I32" },
  i16: { type: i16, gguf: 25, safetensors: "I16" },
  i8: { type: i8, gguf: 24, safetensors: "I8" },
  u8: { type: u8, safetensors: "U8" },
  bool: { type: bool, safetensors: "BOOL" },
  q8_0: { type: q8_0, gguf: 8 },
  q4_0: { type: q4_0, gguf: 2 },
  q4_1: { type: q4_1, gguf: 3 },
  q5_0: { type: q5_0, gguf: 6 },
  q5_1: { type: q5_1, gguf: 7 },
  q2_k: { type: q2_k, gguf: 10 },
  q3_k: { type: q3_k, gguf: 11 },
  q4_k: { type: q4_k, gguf: 12 },
  q5_k: { type: q5_k, gguf: 13 },
  q6_k: { type: q6_k, gguf: 14 },
  iq4_nl: { type: iq4_nl, gguf: 20 },
  tq1_0: { type: tq1_0, gguf: 34 },
  tq2_0: { type: tq2_0, gguf: 35 },
  i2_s: { type: i2_s, gguf: 36 },
} as const satisfies Record<string, SourceType>;

/** The name of a stored type: `f32`, `bf16`, `q4_k`, `tq1_0`, ... */
export type SourceDtype = keyof typeof table;

/** Every stored type. */
export const SOURCE_DTYPES = Object.keys(table) as readonly SourceDtype[];

const rows: Readonly<Record<SourceDtype, SourceType>> = table;
const byGguf = new Map(SOURCE_DTYPES.map((dtype) => [rows[dtype].gguf, dtype]));
const bySafetensors = new Map(SOURCE_DTYPES.map((dtype) => [rows[dtype].safetensors, dtype]));

/** Names of ggml's other types, so that an error can say which one a file has. */
const otherGgufTypes: Readonly<Record<number, string>> = {
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  29: "IQ1_M",
  39: "MXFP4",
};

/** The type with this number in GGUF, if it is one that is read. */
export function dtypeOfGguf(id: number): SourceDtype | undefined {
  return byGguf.get(id);
}

/** The number of a type in GGUF, if it has one. */
export function ggufIdOf(dtype: SourceDtype): number | undefined {
  return rows[dtype].gguf;
}

/** A phrase for a GGUF type number that is not read: `19 (IQ1_S)`. */
export function describeGgufType(id: number): string {
  return Object.hasOwn(otherGgufTypes, id) ? `${id} (${otherGgufTypes[id]})` : String(id);
}

/** The type of this name in safetensors, if it is one that is read. */
export function dtypeOfSafetensors(name: string): SourceDtype | undefined {
  return bySafetensors.get(name);
}

/** The name of a type in safetensors, if it has one. */
export function safetensorsNameOf(dtype: SourceDtype): string | undefined {
  return rows[dtype].safetensors;
}

/** How many elements share a block, and how many bytes it has. */
export function blockOf(dtype: SourceDtype): Pick<BlockType, "blockElements" | "blockBytes"> {
  return rows[dtype].type;
}

/** Whether a whole tensor has bytes after its blocks, without which they mean nothing. */
export function hasTail(dtype: SourceDtype): boolean {
  return rows[dtype].type.tailBytes !== undefined;
}

/**
 * Bytes of a tensor; undefined where the blocks do not fit its last axis (I2_S: its elements), or where the sum is no
 * safe integer. No axis, a scalar, is one element.
 */
export function tensorSizeBytes(dtype: SourceDtype, shape: readonly number[]): number | undefined {
  const { blockElements, blockBytes, tailBytes = 0 } = rows[dtype].type;
  const elements = shape.reduce((product, extent) => product * extent, 1);
  const blocked = tailBytes > 0 ? elements : (shape.at(-1) ?? 1);
  const sizeBytes = (elements / blockElements) * blockBytes + tailBytes;
  return Number.isSafeInteger(elements) && blocked % blockElements === 0 && Number.isSafeInteger(sizeBytes)
    ? sizeBytes
    : undefined;
}

/** The numbers of a tensor as float32, in a new array. `bytes` is all of the tensor. Throws `InvalidTensorError`. */
export function decodeValues(dtype: SourceDtype, shape: readonly number[], bytes: Uint8Array): Float32Array {
  if (tensorSizeBytes(dtype, shape) !== bytes.byteLength) throw wrongSize(dtype, shape, `${bytes.byteLength} bytes`);
  const target = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  rows[dtype].type.decode(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), target);
  return target;
}

/**
 * The bytes of a tensor in `dtype`: those that llama.cpp writes, for I2_S those of bitnet.cpp. Throws
 * `InvalidTensorError` where the type is not written, the shape does not fit, or a value is not finite or too large.
 * @param importance how much each column of the last axis counts, for K types and IQ4_NL; none is negative
 */
export function encodeValues(
  dtype: SourceDtype,
  shape: readonly number[],
  values: Float32Array,
  importance?: Float32Array,
): Uint8Array {
  const { encode, takesImportance } = rows[dtype].type;
  if (encode === undefined) {
    throw new InvalidTensorError(`nothing is written as ${dtype}`, {
      expected: `one of ${SOURCE_DTYPES.filter((name) => rows[name].type.encode !== undefined).join(", ")}`,
      got: dtype,
    });
  }
  const sizeBytes = tensorSizeBytes(dtype, shape);
  const elements = shape.reduce((product, extent) => product * extent, 1);
  if (sizeBytes === undefined || elements !== values.length) {
    throw wrongSize(dtype, shape, `${values.length} elements`);
  }
  if (importance !== undefined && (takesImportance !== true || importance.length !== shape.at(-1))) {
    throw new InvalidTensorError(`this importance cannot be used for ${dtype}`, {
      expected: takesImportance === true ? `${shape.at(-1)} columns` : "none, or a K type or iq4_nl",
      got: `${importance.length} columns`,
    });
  }
  const bytes = new Uint8Array(sizeBytes);
  encode(values, new DataView(bytes.buffer), importance);
  return bytes;
}

function wrongSize(dtype: SourceDtype, shape: readonly number[], got: string): InvalidTensorError {
  const { blockElements } = rows[dtype].type;
  const sizeBytes = tensorSizeBytes(dtype, shape);
  const expected =
    sizeBytes === undefined ? `a last axis of a multiple of ${blockElements} elements` : `${sizeBytes} bytes`;
  return new InvalidTensorError(`a tensor of shape [${shape.join(", ")}] in ${dtype} does not fit`, { expected, got });
}
