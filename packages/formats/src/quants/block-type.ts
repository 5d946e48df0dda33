// What a way of storing numbers is to this room: how many elements share a block, how many bytes a block has, and how
// to go from bytes to numbers and back. One object a type; table.ts lists them all.

import { InvalidTensorError } from "../errors.ts";

/** A stored type of a tensor's elements. Its blocks follow each other without gaps, along the last axis. */
export interface BlockType {
  /** Lower case: `f32`, `q4_0`, `tq1_0`. */
  readonly name: string;
  readonly blockElements: number;
  readonly blockBytes: number;
  /** Bytes after the blocks of a whole tensor; only I2_S has them, for its one scale. */
  readonly tailBytes?: number;
  /**
   * Numbers from bytes. `bytes` holds a whole tensor, `target` has an element for each of its numbers. What float32
   * cannot hold is rounded to it.
   */
  decode(bytes: DataView, target: Float32Array): void;
  /**
   * Bytes from numbers, for the types that are written. `bytes` begins as zeros. `importance`, where the type
   * `takesImportance`, says how much each column of the last axis counts.
   */
  readonly encode?: (values: Float32Array, bytes: DataView, importance?: Float32Array) => void;
  readonly takesImportance?: boolean;
}

/** Encodes the block from element `start` on to the bytes from `at` on; `importance` has an element for each of it. */
export type EncodeBlock = (
  values: Float32Array,
  start: number,
  bytes: DataView,
  at: number,
  importance?: Float32Array,
) => void;

/** A type whose blocks stand alone, from what is done with one: `at` its first byte, `start` its first element. */
export function blockType(
  name: string,
  blockElements: number,
  blockBytes: number,
  decodeBlock: (bytes: DataView, at: number, target: Float32Array, start: number) => void,
  encodeBlock?: EncodeBlock,
  takesImportance = false,
): BlockType {
  const decode = (bytes: DataView, target: Float32Array): void => {
    for (let at = 0, start = 0; start < target.length; at += blockBytes, start += blockElements) {
      decodeBlock(bytes, at, target, start);
    }
  };
  if (encodeBlock === undefined) return { name, blockElements, blockBytes, decode };
  const encode = (values: Float32Array, bytes: DataView, importance?: Float32Array): void => {
    requireBelow(BEYOND_BLOCKS, values, name);
    for (let at = 0, start = 0; start < values.length; at += blockBytes, start += blockElements) {
      const column = importance === undefined ? 0 : start % importance.length;
      encodeBlock(values, start, bytes, at, importance?.subarray(column, column + blockElements));
    }
  };
  return { name, blockElements, blockBytes, decode, encode, takesImportance };
}

/** No block type holds as much, and sums of cubes of less are finite in float32. */
const BEYOND_BLOCKS = 2 ** 32;

/** Refuses NaN, infinities and what is not below `bound`, for which no code exists. Throws `InvalidTensorError`. */
export function requireBelow(bound: number, values: Float32Array, typeName: string): void {
  let index = 0;
  while (index < values.length && Math.abs(values[index]) < bound) index++;
  if (index === values.length) return;
  if (Number.isFinite(values[index])) throw tooLarge(values[index], typeName);
  throw new InvalidTensorError(`${typeName} cannot hold a value that is not finite`, {
    where: `element ${index}`,
    expected: "finite numbers",
    got: String(values[index]),
    hint: "keep the tensor in f32, f16 or bf16, or find out where training diverged",
  });
}

/** Writes a block's factor as float16, and gives what it became. Throws `InvalidTensorError` where it has none. */
export function writeFactor(bytes: DataView, at: number, factor: number, typeName: string): number {
  const rounded = Math.f16round(factor);
  if (!(Math.abs(rounded) < Infinity)) throw tooLarge(factor, typeName);
  bytes.setFloat16(at, rounded, true);
  return rounded;
}

function tooLarge(value: number, typeName: string): InvalidTensorError {
  return new InvalidTensorError(`values are too large for ${typeName}, whose blocks have a float16 factor`, {
    expected: "a factor of at most 65504",
    got: `${value}`,
    hint: "keep the tensor in f32 or bf16",
  });
}

/** The nearest integer, halves away from zero, as C's roundf; 0 for what is not finite, as on x86. */
export function roundHalfAway(value: number): number {
  return (value < 0 ? -Math.floor(0.5 - value) : Math.floor(value + 0.5)) | 0;
}

/** 1 / d in float32, and 0 for 0: what the codes of a block are found with. */
export function inverse(d: number): number {
  return d === 0 ? 0 : Math.fround(1 / d);
}
