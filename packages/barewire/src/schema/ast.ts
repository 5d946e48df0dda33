// The schema value: what the reader of the BARE schema language and the TypeScript builder both give, and what the
// codec, the layouts, the printer and the compatibility check take. Plain frozen data, so it can be walked, compared
// and drawn. Types and terms are those of the specification (draft-devault-bare). Beside them stands what only
// JavaScript needs: `safe`, a 64-bit integer that is a `number` in the program, and `_value`, which exists in types
// alone. Left out: positions in the schema's text, which end with the reader.

/** The types without parts whose values are no 64-bit integers. */
export type NarrowKind = "u8" | "u16" | "u32" | "i8" | "i16" | "i32" | "f32" | "f64" | "bool" | "str" | "void";

/** Integers of up to 64 bits: `bigint` in the program, or `number` where the type is `safe`. */
export type WideKind = "uint" | "int" | "u64" | "i64";

/** The types without parts. */
export type ScalarKind = NarrowKind | WideKind;

/** A field of a struct, in the order of the bytes. */
export interface StructField {
  readonly name: string;
  readonly type: BareType;
  readonly doc?: string;
}

/** A member of a union. The name is that of its alias, or of its kind: BARE itself knows the tag alone. */
export interface UnionMember {
  readonly name: string;
  readonly tag: number;
  readonly type: BareType;
  readonly doc?: string;
}

/** A member of an enum. */
export interface EnumMember {
  readonly name: string;
  readonly tag: number;
  readonly doc?: string;
}

/** A type of BARE. Lengths are counts of entries (lists) or bytes (data). */
export type BareType =
  | { readonly kind: NarrowKind }
  | { readonly kind: WideKind; readonly safe?: true }
  | { readonly kind: "data"; readonly length?: number }
  | { readonly kind: "optional"; readonly type: BareType }
  | { readonly kind: "list"; readonly type: BareType; readonly length?: number }
  | { readonly kind: "map"; readonly key: BareType; readonly value: BareType }
  | { readonly kind: "struct"; readonly fields: readonly StructField[] }
  | { readonly kind: "union"; readonly members: readonly UnionMember[] }
  | { readonly kind: "enum"; readonly members: readonly EnumMember[] }
  | AliasType;

/** A named type; recursion goes through it. Without a name (`""`) it stands for its target and nothing else. */
export interface AliasType {
  readonly kind: "alias";
  readonly name: string;
  readonly target: () => BareType;
}

/** The kinds of type there are. */
export type TypeKind = BareType["kind"];

/** One kind of type: `TypeOfKind<"struct">`. */
export type TypeOfKind<K extends TypeKind> = Extract<BareType, { readonly kind: K }>;

/** A type that knows what its values are in TypeScript. */
export type Typed<T> = BareType & { readonly _value?: () => T };

/** The TypeScript type of a schema's values; unions are `{ kind: name, value }`, lists of numbers are typed arrays. */
export type TypeOf<S> = S extends { readonly _value?: () => infer T } ? T : never;

/** A definition of a schema: `type Name ...`. */
export interface Definition {
  readonly name: string;
  readonly type: BareType;
  readonly doc?: string;
}

/** A whole schema, in the order of its definitions. */
export interface BareSchema {
  readonly definitions: readonly Definition[];
}

/** The most entries or bytes that the length of a fixed list or data can name. */
export const LENGTH_MAX = 2 ** 32 - 1;

/** The type behind names: follows aliases until something else stands there. Readers and builder let none circle. */
export function resolveType(type: BareType): Exclude<BareType, AliasType> {
  let current = type;
  while (current.kind === "alias") current = current.target();
  return current;
}
