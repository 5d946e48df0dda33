// What a layout is made of: a tree of nodes with sizes and alignments, one for each place where a value lies. Sizes are
// multiples of alignments, so the stride of a list is the size of its item. The design is that of C structs, with two
// things more: FlatBuffers' forward offsets for what has no fixed size, and a tag over an overlay for unions.
//
// A slot is 8 bytes, two u32: the distance in bytes from the slot forward to the contents, and their count (entries of
// lists and maps, bytes of data and text, 1 of a box). Forward only, so contents can never contain themselves. Left
// out: layouts beyond 4 GiB, and bytes in another order than little-endian.

import { FidelityError } from "@fidelity/units";
import type { BareType, EnumMember } from "../schema/ast.ts";

/** The numbers that lie in memory. BARE's `uint` and `int`, which vary on the wire, take 8 bytes. */
export type NumberKind = "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "f32" | "f64";

/** The numbers that tags and enums are stored in. */
export type TagKind = "u8" | "u16" | "u32" | "u64";

/** Lists of small values in fewer bits than a byte; packed.ts has the codes. */
export type Packing = "bits" | "ternary-2bit" | "ternary-1.6bit";

interface Sized {
  readonly sizeBytes: number;
  readonly alignBytes: number;
}

/** A number. */
export interface NumberNode extends Sized {
  readonly kind: "number";
  readonly number: NumberKind;
  /** A 64-bit integer that is a `number` in the program. */
  readonly safe: boolean;
  /** Lists of it are typed arrays in the program; those of `uint`, `int` and safe integers are plain arrays. */
  readonly isArrayItem: boolean;
}

/** One byte, 0 or 1. */
export interface BoolNode extends Sized {
  readonly kind: "bool";
}

/** No bytes at all. */
export interface VoidNode extends Sized {
  readonly kind: "void";
}

/** The tag, in the smallest integer that holds all tags. */
export interface EnumNode extends Sized {
  readonly kind: "enum";
  readonly base: TagKind;
  readonly members: readonly EnumMember[];
}

/** A slot of UTF-8 text. */
export interface StrNode extends Sized {
  readonly kind: "str";
}

/** Bytes: in place where the length is fixed, else a slot. */
export interface DataNode extends Sized {
  readonly kind: "data";
  readonly length: number | undefined;
  /** The contents start at a multiple of this from the start of the buffer. */
  readonly contentAlignBytes: number;
}

/** A field in its struct. */
export interface FieldNode {
  readonly name: string;
  readonly offsetBytes: number;
  readonly node: LayoutNode;
}

/** Fields in the order of the schema; where they lie tells `offsetBytes`. Presence bits lie together behind them. */
export interface StructNode extends Sized {
  readonly kind: "struct";
  readonly fields: readonly FieldNode[];
  readonly presence: { readonly offsetBytes: number; readonly count: number } | undefined;
}

/**
 * The item in place, and a bit that says whether it is there: in the struct's presence bits, or in a byte behind it.
 */
export interface OptionalNode extends Sized {
  readonly kind: "optional";
  readonly item: LayoutNode;
  /** From the start of this node, which may be beyond its end: struct fields share the bytes of their struct. */
  readonly presenceOffsetBytes: number;
  readonly presenceBit: number;
}

/** Items one behind the other: in place where the length is fixed, else a slot. */
export interface ListNode extends Sized {
  readonly kind: "list";
  readonly length: number | undefined;
  /** A function, because a list may hold what it is part of. */
  readonly item: () => LayoutNode;
  readonly packing: Packing | undefined;
  /** Structure of arrays: one list for each field instead of one list of structs. */
  readonly columns: readonly { readonly name: string; readonly node: LayoutNode }[] | undefined;
  readonly contentAlignBytes: number;
}

/** A slot of entries in the order in which they were put in. */
export interface MapNode extends Sized {
  readonly kind: "map";
  /** A variable list of structs with the fields `key` and `value`. */
  readonly entries: ListNode;
}

/** The tag, then the members, one over the other. */
export interface UnionNode extends Sized {
  readonly kind: "union";
  readonly base: TagKind;
  readonly payloadOffsetBytes: number;
  readonly members: readonly { readonly name: string; readonly tag: number; readonly node: LayoutNode }[];
}

/** A slot of one value of a type that would else contain itself in place. */
export interface BoxNode extends Sized {
  readonly kind: "box";
  readonly item: () => LayoutNode;
}

/** A place in memory. */
export type LayoutNode =
  | NumberNode
  | BoolNode
  | VoidNode
  | EnumNode
  | StrNode
  | DataNode
  | StructNode
  | OptionalNode
  | ListNode
  | MapNode
  | UnionNode
  | BoxNode;

/** What is asked for at one path. */
export interface PathOptions {
  /** A power of two. Sizes are rounded up to it; for what lies behind a slot it places the contents. */
  readonly alignBytes?: number;
  /** For `list<bool>` (`bits`) and `list<i8>` of -1, 0 and 1. */
  readonly packing?: Packing;
  /** For lists of structs: one array for each field. */
  readonly soa?: boolean;
}

/** How to lay a type out. Paths are written like `layers.[].weights`: fields and union members by name, items `[]`. */
export interface LayoutOptions {
  /** Alignment of the whole, 64, 256 or 512 for instance; default: that of its parts. */
  readonly alignBytes?: number;
  /** `declared` keeps the order of the schema, `packed` places the most aligned fields first. Default `declared`. */
  readonly order?: "declared" | "packed";
  /** The least alignment of lists and data behind slots, from the start of the buffer; default 1. */
  readonly tailAlignBytes?: number;
  readonly paths?: Readonly<Record<string, PathOptions>>;
}

/** Where every part of a value lies in memory. `T` is the TypeScript type of the values. */
export interface Layout<T = unknown> {
  readonly type: BareType;
  readonly options: LayoutOptions;
  readonly root: LayoutNode;
  /** The part of fixed size, at the start of the buffer. */
  readonly sizeBytes: number;
  readonly alignBytes: number;
  /** True where there is no tail: every value takes `sizeBytes`, and can be written in place. */
  readonly isFixed: boolean;
  readonly _value?: () => T;
}

/** A type cannot be laid out as asked. */
export class LayoutError extends FidelityError {
  readonly path: string;

  constructor(path: string, summary: string, expected: string, got: string, hint?: string) {
    super(summary, { where: path === "" ? "the whole type" : `path ${path}`, expected, got, hint });
    this.path = path;
  }
}

export const SLOT_BYTES = 8;
export const SLOT_ALIGN_BYTES = 4;
export const LAYOUT_BYTES_MAX = 2 ** 32 - 1;

export const NUMBER_BYTES: Readonly<Record<NumberKind, number>> = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  i8: 1,
  i16: 2,
  i32: 4,
  i64: 8,
  f32: 4,
  f64: 8,
};

/** The next multiple of a power of two. */
export function alignUp(value: number, alignBytes: number): number {
  return Math.ceil(value / alignBytes) * alignBytes;
}

/** The path of a part. */
export function joinPath(path: string, part: string): string {
  return path === "" ? part : `${path}.${part}`;
}
