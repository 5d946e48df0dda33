// Data types. A dtype says how values are stored, not only how precise they are: `ternary` and `q8` carry their packed
// layout (storage.ts), so that a quantised weight is a dtype of a tensor and never a second model definition.

/** What each dtype stores, and in which dtype its derivatives live (`null`: it has none). */
export interface DtypeInfo {
  /** Bytes an element for the plain dtypes; the packed ones have `null`, see storage.ts. */
  readonly elementBytes: number | null;
  /** The dtype of a tangent or cotangent of a tensor of this dtype. */
  readonly tangent: "f32" | "f64" | null;
  readonly summary: string;
}

export const DTYPES = {
  f64: { elementBytes: 8, tangent: "f64", summary: "IEEE double precision" },
  f32: { elementBytes: 4, tangent: "f32", summary: "IEEE single precision" },
  bf16: { elementBytes: 2, tangent: "f32", summary: "the upper half of a float32" },
  f16: { elementBytes: 2, tangent: "f32", summary: "IEEE half precision" },
  i32: { elementBytes: 4, tangent: null, summary: "signed 32-bit integer" },
  i8: { elementBytes: 1, tangent: null, summary: "signed 8-bit integer" },
  bool: { elementBytes: 4, tangent: null, summary: "0 or 1, stored as i32" },
  q8: { elementBytes: null, tangent: "f32", summary: "int8 codes with one float32 scale a row (last axis)" },
  ternary: {
    elementBytes: null,
    tangent: "f32",
    summary: "2-bit codes of -1, 0, 1 in 16-row blocks, one float32 scale",
  },
  ternary5: {
    elementBytes: null,
    tangent: "f32",
    summary: "codes of -1, 0, 1 as ternary has them, five to a byte (1.6 bits)",
  },
  q8_0: { elementBytes: null, tangent: null, summary: "int8 codes, a float16 scale for each 32 of a row; frozen" },
  q4_0: { elementBytes: null, tangent: null, summary: "4-bit codes, a float16 scale for each 32 of a row; frozen" },
  q4_k: { elementBytes: null, tangent: null, summary: "4-bit codes, a scale and a minimum for each 32; frozen" },
  q5_k: { elementBytes: null, tangent: null, summary: "5-bit codes, a scale and a minimum for each 32; frozen" },
  q6_k: { elementBytes: null, tangent: null, summary: "6-bit codes, a scale for each 16 of a row; frozen" },
} as const satisfies Record<string, DtypeInfo>;

export type Dtype = keyof typeof DTYPES;
/** Dtypes that ordinary arithmetic works on. */
export type FloatDtype = "f32" | "f64";

/** Narrow storage of numbers that are computed with as float32: loads and stores convert. */
export type HalfDtype = "bf16" | "f16";

export function isHalf(dtype: Dtype): dtype is HalfDtype {
  return dtype === "bf16" || dtype === "f16";
}

/** Dtypes that are only stored: conversions, moves and products take them, other arithmetic wants f32 or i32. */
export function isStorageOnly(dtype: Dtype): dtype is HalfDtype | "i8" {
  return isHalf(dtype) || dtype === "i8";
}

/** Matrices of -1, 0 and 1. */
export type TernaryDtype = "ternary" | "ternary5";

export function isTernary(dtype: Dtype): dtype is TernaryDtype {
  return dtype === "ternary" || dtype === "ternary5";
}

/**
 * Matrices with scales for blocks of neighbours of a row, as GGUF's types of these names have them. They are made from
 * other programs' files, to be computed with and not to be trained: they have no derivative.
 */
export type BlockDtype = "q8_0" | "q4_0" | "q4_k" | "q5_k" | "q6_k";

export const BLOCK_DTYPES: readonly BlockDtype[] = ["q8_0", "q4_0", "q4_k", "q5_k", "q6_k"];

export function isBlocked(dtype: Dtype): dtype is BlockDtype {
  return BLOCK_DTYPES.some((blocked) => blocked === dtype);
}

/** Whether a dtype has codes and scales, by rows or parts of rows, instead of cells of their own for its elements. */
export function isPacked(dtype: Dtype): dtype is TernaryDtype | BlockDtype | "q8" {
  return dtype === "q8" || isTernary(dtype) || isBlocked(dtype);
}

export function isDtype(text: string): text is Dtype {
  return Object.hasOwn(DTYPES, text);
}

export function isFloat(dtype: Dtype): dtype is FloatDtype {
  return dtype === "f32" || dtype === "f64";
}
