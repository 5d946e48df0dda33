// From a schema to a layout: natural alignment as in C (System V ABI), fields in place, what has no fixed size behind
// slots. A type that contains itself is boxed where it would else be in place, and met again by reference in lists.
// Left out: choosing between layouts, which is optimize.ts.

import { resolveType } from "../schema/ast.ts";
import type { BareType, Typed, TypeOfKind } from "../schema/ast.ts";
import {
  alignUp,
  joinPath,
  LAYOUT_BYTES_MAX,
  LayoutError,
  NUMBER_BYTES,
  SLOT_ALIGN_BYTES,
  SLOT_BYTES,
} from "./node.ts";
import type {
  FieldNode,
  Layout,
  LayoutNode,
  LayoutOptions,
  ListNode,
  NumberKind,
  OptionalNode,
  PathOptions,
  StructNode,
  TagKind,
} from "./node.ts";
import { packedBytes } from "./packed.ts";

const DEPTH_MAX = 64;
const NODES_MAX = 65536;
const ALIGN_BYTES_MAX = 65536;
/** Columns of a structure of arrays start at cache lines, so that vectors never straddle two. */
const COLUMN_ALIGN_BYTES = 64;

/**
 * Lays out a type: offsets, sizes and alignments, natural where nothing else is asked. Throws `LayoutError` with the
 * path on options that do not fit and on types beyond 4 GiB or 64 levels.
 */
export function layoutOf<T>(type: Typed<T>, options: LayoutOptions = {}): Layout<T> {
  const planner = new Planner(options);
  const planned = planner.plan(type, "", 0);
  planner.finish();
  const root = options.alignBytes === undefined ? planned : aligned(planned, options.alignBytes, "");
  const { sizeBytes, alignBytes } = root;
  return { type, options, root, sizeBytes, alignBytes, isFixed: !planner.hasSlots };
}

/** Where the columns of a structure of arrays start, from its first byte, and where the last one ends. */
export function columnOffsets(
  node: ListNode,
  count: number,
): { readonly offsets: number[]; readonly sizeBytes: number } {
  const offsets: number[] = [];
  let end = 0;
  for (const column of node.columns ?? []) {
    const start = alignUp(end, Math.max(node.contentAlignBytes, column.node.alignBytes));
    offsets.push(start);
    end = start + count * column.node.sizeBytes;
  }
  return { offsets, sizeBytes: end };
}

/** The contents of a list behind a slot start at a multiple of this. */
export function contentAlign(node: ListNode): number {
  if (node.packing !== undefined || node.columns !== undefined) return node.contentAlignBytes;
  return Math.max(node.contentAlignBytes, node.item().alignBytes);
}

/** The bytes that `count` items of a list take. */
export function contentBytes(node: ListNode, count: number): number {
  if (node.columns !== undefined) return columnOffsets(node, count).sizeBytes;
  if (node.packing !== undefined) return packedBytes(node.packing, count);
  return count * node.item().sizeBytes;
}

interface Pending {
  node?: LayoutNode;
}

class Planner {
  hasSlots = false;
  readonly #options: LayoutOptions;
  readonly #unused: Set<string>;
  readonly #pending = new Map<BareType, Pending>();
  #nodeCount = 0;

  constructor(options: LayoutOptions) {
    this.#options = options;
    this.#unused = new Set(Object.keys(options.paths ?? {}));
    if (options.tailAlignBytes !== undefined) checkAlign(options.tailAlignBytes, "");
  }

  /** Paths that were named and never met are mistakes. */
  finish(): void {
    for (const path of this.#unused) {
      throw new LayoutError(path, "no part of the type lies at this path", "a path of the type", path, HINT_PATHS);
    }
  }

  /** A type that is met inside of itself becomes a box; lists of it are met before, in `#list`. */
  plan(type: BareType, path: string, depth: number): LayoutNode {
    const target = resolveType(type);
    const outer = this.#pending.get(target);
    if (outer !== undefined) return this.#box(outer);
    if (depth > DEPTH_MAX || ++this.#nodeCount > NODES_MAX) {
      throw new LayoutError(path, "a type is too large to lay out", `${DEPTH_MAX} levels, ${NODES_MAX} parts`, "more");
    }
    const pending: Pending = {};
    this.#pending.set(target, pending);
    pending.node = this.#finishNode(this.#planTarget(target, path, depth + 1), path);
    this.#pending.delete(target);
    return pending.node;
  }

  #planTarget(type: ReturnType<typeof resolveType>, path: string, depth: number): LayoutNode {
    switch (type.kind) {
      case "bool":
        return { kind: "bool", sizeBytes: 1, alignBytes: 1 };
      case "void":
        return { kind: "void", sizeBytes: 0, alignBytes: 1 };
      case "str":
        this.hasSlots = true;
        return { kind: "str", sizeBytes: SLOT_BYTES, alignBytes: SLOT_ALIGN_BYTES };
      case "data":
        return this.#data(type.length, path);
      case "enum": {
        const base = tagKind(type.members);
        return { kind: "enum", base, members: type.members, ...sizeOf(base) };
      }
      case "optional":
        return standaloneOptional(this.plan(type.type, path, depth));
      case "list":
        return this.#list(type, path, depth);
      case "map":
        return this.#map(type, path, depth);
      case "struct":
        return this.#struct(type, path, depth);
      case "union":
        return this.#union(type, path, depth);
      default:
        return numberNode(type.kind, "safe" in type && type.safe === true);
    }
  }

  #at(path: string): PathOptions {
    this.#unused.delete(path);
    return this.#options.paths?.[path] ?? {};
  }

  #finishNode(node: LayoutNode, path: string): LayoutNode {
    const { alignBytes, packing, soa } = this.#at(path);
    if ((packing !== undefined || soa === true) && !(node.kind === "list" || isOptionalList(node))) {
      throw new LayoutError(path, "only lists can be packed or split into columns", "a list", node.kind);
    }
    const done = alignBytes === undefined || isSlotWithContents(node) ? node : aligned(node, alignBytes, path);
    if (done.sizeBytes <= LAYOUT_BYTES_MAX) return done;
    throw new LayoutError(path, "a type is too large to lay out", `${LAYOUT_BYTES_MAX} bytes`, `${done.sizeBytes}`);
  }

  #contentAlign(path: string, naturalBytes: number): number {
    const asked = this.#at(path).alignBytes ?? 1;
    checkAlign(asked, path);
    return Math.max(asked, naturalBytes, this.#options.tailAlignBytes ?? 1);
  }

  #data(length: number | undefined, path: string): LayoutNode {
    const contentAlignBytes = this.#contentAlign(path, 1);
    if (length !== undefined) return { kind: "data", length, contentAlignBytes, sizeBytes: length, alignBytes: 1 };
    this.hasSlots = true;
    return { kind: "data", length, contentAlignBytes, sizeBytes: SLOT_BYTES, alignBytes: SLOT_ALIGN_BYTES };
  }

  #box(pending: Pending): LayoutNode {
    this.hasSlots = true;
    return { kind: "box", item: () => pending.node!, sizeBytes: SLOT_BYTES, alignBytes: SLOT_ALIGN_BYTES };
  }

  #list(type: TypeOfKind<"list">, path: string, depth: number): ListNode {
    const { packing, soa } = this.#at(path);
    const { length } = type;
    const itemPath = joinPath(path, "[]");
    const itemTarget = resolveType(type.type);
    const pending = length === undefined ? this.#pending.get(itemTarget) : undefined;
    // An item that is being planned further up is met again by reference: its size is not known yet.
    const known = pending === undefined ? this.plan(type.type, itemPath, depth) : undefined;
    const item = known === undefined ? (): LayoutNode => pending!.node! : (): LayoutNode => known;
    if (packing !== undefined) checkPacking(packing, itemTarget, path);
    if (known?.sizeBytes === 0) {
      throw new LayoutError(path, "items of a list take no bytes", "items of 1 byte and more", itemTarget.kind);
    }
    const columns = soa === true ? columnsOf(known, path) : undefined;
    let naturalBytes = known?.alignBytes ?? 1;
    if (packing !== undefined) naturalBytes = 1;
    if (columns !== undefined) naturalBytes = COLUMN_ALIGN_BYTES;
    const contentAlignBytes = length === undefined ? this.#contentAlign(path, naturalBytes) : naturalBytes;
    const shape = { kind: "list", length, item, packing, columns, contentAlignBytes } as const;
    if (length === undefined) {
      this.hasSlots = true;
      return { ...shape, sizeBytes: SLOT_BYTES, alignBytes: SLOT_ALIGN_BYTES };
    }
    const unsized = { ...shape, sizeBytes: 0, alignBytes: naturalBytes };
    return { ...unsized, sizeBytes: alignUp(contentBytes(unsized, length), naturalBytes) };
  }

  #map(type: TypeOfKind<"map">, path: string, depth: number): LayoutNode {
    const fields = [
      { name: "key", type: type.key },
      { name: "value", type: type.value },
    ];
    const item = this.#struct({ kind: "struct", fields }, path, depth);
    this.hasSlots = true;
    const size = { sizeBytes: SLOT_BYTES, alignBytes: SLOT_ALIGN_BYTES };
    const contentAlignBytes = this.#contentAlign(path, item.alignBytes);
    const shape = { length: undefined, packing: undefined, columns: undefined, contentAlignBytes };
    return { kind: "map", entries: { kind: "list", item: () => item, ...shape, ...size }, ...size };
  }

  #struct(type: TypeOfKind<"struct">, path: string, depth: number): StructNode {
    const parts = type.fields.map(({ name, type: fieldType }) => {
      const target = resolveType(fieldType);
      // Whether an optional is there is told by a bit of the struct, so its own node is made here.
      const isOptional = target.kind === "optional";
      const node = this.plan(isOptional ? target.type : fieldType, joinPath(path, name), depth);
      return { name, node, isOptional };
    });
    const order = parts.map((_, index) => index);
    if (this.#options.order === "packed") order.sort((a, b) => parts[b].node.alignBytes - parts[a].node.alignBytes);
    const offsets: number[] = [];
    let end = 0;
    for (const index of order) {
      offsets[index] = alignUp(end, parts[index].node.alignBytes);
      end = offsets[index] + parts[index].node.sizeBytes;
    }
    const presenceAt = end;
    let bit = 0;
    const fields = parts.map(({ name, node, isOptional }, index): FieldNode => {
      const offsetBytes = offsets[index];
      if (!isOptional) return { name, offsetBytes, node };
      const presenceOffsetBytes = presenceAt + (bit >> 3) - offsetBytes;
      return { name, offsetBytes, node: optionalNode(node, presenceOffsetBytes, bit++ & 7, node.sizeBytes) };
    });
    const alignBytes = Math.max(1, ...parts.map(({ node }) => node.alignBytes));
    const presence = bit === 0 ? undefined : { offsetBytes: presenceAt, count: bit };
    const sizeBytes = alignUp(end + Math.ceil(bit / 8), alignBytes);
    return { kind: "struct", fields, presence, sizeBytes, alignBytes };
  }

  #union(type: TypeOfKind<"union">, path: string, depth: number): LayoutNode {
    const members = type.members.map((member) => {
      const node = this.plan(member.type, joinPath(path, member.name), depth);
      return { name: member.name, tag: member.tag, node };
    });
    const base = tagKind(type.members);
    const payloadAlign = members.reduce((most, { node }) => Math.max(most, node.alignBytes), 1);
    const payloadOffsetBytes = alignUp(NUMBER_BYTES[base], payloadAlign);
    const alignBytes = Math.max(payloadAlign, NUMBER_BYTES[base]);
    const payloadBytes = members.reduce((most, { node }) => Math.max(most, node.sizeBytes), 0);
    const sizeBytes = alignUp(payloadOffsetBytes + payloadBytes, alignBytes);
    return { kind: "union", base, payloadOffsetBytes, members, sizeBytes, alignBytes };
  }
}

const HINT_PATHS = "fields and union members are named, items are [], as in layers.[].weights; an optional has no part";

function optionalNode(
  item: LayoutNode,
  presenceOffsetBytes: number,
  presenceBit: number,
  sizeBytes: number,
): OptionalNode {
  return { kind: "optional", item, presenceOffsetBytes, presenceBit, sizeBytes, alignBytes: item.alignBytes };
}

function standaloneOptional(item: LayoutNode): OptionalNode {
  return optionalNode(item, item.sizeBytes, 0, alignUp(item.sizeBytes + 1, item.alignBytes));
}

function numberNode(kind: NumberKind | "uint" | "int", safe: boolean): LayoutNode {
  const number = kind === "uint" ? "u64" : kind === "int" ? "i64" : kind;
  return { kind: "number", number, safe, isArrayItem: number === kind && !safe, ...sizeOf(number) };
}

function sizeOf(kind: NumberKind): { readonly sizeBytes: number; readonly alignBytes: number } {
  return { sizeBytes: NUMBER_BYTES[kind], alignBytes: NUMBER_BYTES[kind] };
}

function tagKind(members: readonly { readonly tag: number }[]): TagKind {
  // An enum may have more members than a call takes arguments.
  const most = members.reduce((largest, { tag }) => Math.max(largest, tag), 0);
  if (most < 2 ** 8) return "u8";
  if (most < 2 ** 16) return "u16";
  return most < 2 ** 32 ? "u32" : "u64";
}

function aligned(node: LayoutNode, alignBytes: number, path: string): LayoutNode {
  checkAlign(alignBytes, path);
  const most = Math.max(node.alignBytes, alignBytes);
  return { ...node, alignBytes: most, sizeBytes: alignUp(node.sizeBytes, most) };
}

function checkAlign(alignBytes: number, path: string): void {
  const isPower = Number.isInteger(Math.log2(alignBytes)) && alignBytes >= 1 && alignBytes <= ALIGN_BYTES_MAX;
  if (isPower) return;
  throw new LayoutError(path, "this is no alignment", `a power of two from 1 to ${ALIGN_BYTES_MAX}`, `${alignBytes}`);
}

function checkPacking(packing: string, item: BareType, path: string): void {
  const expected = packing === "bits" ? "bool" : "i8";
  if (item.kind === expected) return;
  throw new LayoutError(path, `a list cannot be packed as ${packing}`, `items of type ${expected}`, item.kind);
}

function columnsOf(item: LayoutNode | undefined, path: string): ListNode["columns"] {
  if (item?.kind !== "struct") {
    const got = item === undefined ? "a type that contains itself" : item.kind;
    throw new LayoutError(path, "only lists of structs can be split into columns", "items that are structs", got);
  }
  // A column has no struct around it whose bits could tell what is there.
  return item.fields.map(({ name, node }) => ({
    name,
    node: node.kind === "optional" ? standaloneOptional(node.item) : node,
  }));
}

function isSlotWithContents(node: LayoutNode): boolean {
  if (node.kind === "list" || node.kind === "data") return node.length === undefined;
  return node.kind === "map" || node.kind === "optional";
}

function isOptionalList(node: LayoutNode): boolean {
  return node.kind === "optional" && node.item.kind === "list";
}
