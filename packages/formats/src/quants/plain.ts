// Types without blocks: IEEE floats, bfloat16, integers, booleans. Little-endian.

import { bf16Bits, bf16Value } from "@fidelity/core";
import { blockType } from "./block-type.ts";

export const f64 = blockType(
  "f64",
  1,
  8,
  (bytes, at, target, start) => (target[start] = bytes.getFloat64(at, true)),
  (values, start, bytes, at) => bytes.setFloat64(at, values[start], true),
);

export const f32 = blockType(
  "f32",
  1,
  4,
  (bytes, at, target, start) => (target[start] = bytes.getFloat32(at, true)),
  (values, start, bytes, at) => bytes.setFloat32(at, values[start], true),
);

/** Rounded to nearest, ties to even. */
export const f16 = blockType(
  "f16",
  1,
  2,
  (bytes, at, target, start) => (target[start] = bytes.getFloat16(at, true)),
  (values, start, bytes, at) => bytes.setFloat16(at, values[start], true),
);

/** Rounded to nearest, ties to even; a NaN becomes quiet and keeps its upper bits. */
export const bf16 = blockType(
  "bf16",
  1,
  2,
  (bytes, at, target, start) => (target[start] = bf16Value(bytes.getUint16(at, true))),
  (values, start, bytes, at) => bytes.setUint16(at, bf16Bits(values[start]), true),
);

export const i64 = blockType("i64", 1, 8, (bytes, at, target, start) => {
  target[start] = Number(bytes.getBigInt64(at, true));
});

export const i32 = blockType("i32", 1, 4, (bytes, at, target, start) => {
  target[start] = bytes.getInt32(at, true);
});

export const i16 = blockType("i16", 1, 2, (bytes, at, target, start) => {
  target[start] = bytes.getInt16(at, true);
});

export const i8 = blockType("i8", 1, 1, (bytes, at, target, start) => {
  target[start] = bytes.getInt8(at);
});

export const u8 = blockType("u8", 1, 1, (bytes, at, target, start) => {
  target[start] = bytes.getUint8(at);
});

/** A byte an element; any but 0 is true. */
export const bool = blockType("bool", 1, 1, (bytes, at, target, start) => {
  target[start] = bytes.getUint8(at) === 0 ? 0 : 1;
});
