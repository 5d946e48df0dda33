// Types and constants of the loop IR in MLIR. `index` is a 64-bit integer here: an address of the process, or a count.

import type { LoopKind, LoopType } from "@fidelity/core";

const ELEMENTS: Readonly<Record<LoopKind, string>> = {
  index: "i64",
  i8: "i8",
  i16: "i16",
  i32: "i32",
  f32: "f32",
  f64: "f64",
  f80: "f80",
  f128: "f128",
  mask: "i1",
};

/** Bits of one lane; of masks, those of the value. */
export const LANE_BITS: Readonly<Record<LoopKind, number>> = {
  index: 64,
  i8: 8,
  i16: 16,
  i32: 32,
  f32: 32,
  f64: 64,
  f80: 80,
  f128: 128,
  mask: 1,
};

/** `f32`, or `vector<4xf32>`. */
export function mlirType({ kind, lanes }: LoopType): string {
  return vectorOf(ELEMENTS[kind], lanes);
}

/** An element type as it is for one lane, else as a vector. */
export function vectorOf(element: string, lanes: number): string {
  return lanes === 1 ? element : `vector<${lanes}x${element}>`;
}

export const isWide = ({ kind }: LoopType): boolean => kind === "f80" || kind === "f128";
export const isFloat = (type: LoopType): boolean => type.kind === "f32" || type.kind === "f64" || isWide(type);

/** The value of an `arith.constant`, with its type; a vector has the number in every lane. */
export function constantAttribute(type: LoopType, value: number): string {
  const number = isFloat(type) ? floatText(type.kind, value) : integerText(type.kind, value);
  if (type.kind === "mask" && type.lanes === 1) return number;
  return `${type.lanes === 1 ? number : `dense<${number}>`} : ${mlirType(type)}`;
}

/** Infinities and NaN are spelled by their bits. */
function floatText(kind: LoopKind, value: number): string {
  const rounded = kind === "f32" ? Math.fround(value) : value;
  if (!Number.isFinite(rounded)) {
    const nan = Number.isNaN(rounded);
    if (kind === "f32") return nan ? "0x7FC00000" : rounded > 0 ? "0x7F800000" : "0xFF800000";
    return `${nan ? "0x7FF8" : rounded > 0 ? "0x7FF0" : "0xFFF0"}000000000000`;
  }
  const [digits, exponent] = (Object.is(rounded, -0) ? "-0" : String(rounded)).split("e");
  return `${digits.includes(".") ? digits : `${digits}.0`}${exponent === undefined ? "" : `e${exponent}`}`;
}

function integerText(kind: LoopKind, value: number): string {
  if (kind === "mask") return value === 0 ? "false" : "true";
  if (kind === "index") return String(value);
  const unused = 32 - LANE_BITS[kind];
  return String((value << unused) >> unused);
}
