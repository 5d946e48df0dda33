// Lists of numbers of a fixed width are typed arrays in the program, so that they are copied whole and take no more
// room than their bytes.

import { resolveType } from "../schema/ast.ts";
import type { BareType } from "../schema/ast.ts";

/** The typed array of each kind of number. */
export const ARRAYS = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

/** The kinds of number whose lists are typed arrays. */
export type ArrayKind = keyof typeof ARRAYS;

/** The typed array of a kind of number: `ArrayOfKind<"f32">` is `Float32Array`. */
export type ArrayOfKind<K extends ArrayKind> = InstanceType<(typeof ARRAYS)[K]>;

/** Any of them. */
export type NumberArray = ArrayOfKind<ArrayKind>;

/** The kind of typed array that a list of `item` is; undefined for a list that is a plain array. */
export function arrayKind(item: BareType): ArrayKind | undefined {
  const type = resolveType(item);
  if ((type.kind === "u64" || type.kind === "i64") && type.safe === true) return undefined;
  return type.kind in ARRAYS ? (type.kind as ArrayKind) : undefined;
}

/** Whether numbers lie in memory as they do in messages. */
export const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
