// Values into memory: the fixed part where it is told, what has no fixed size into a tail behind it. A tail is bounded
// before it grows, and cleared, so that padding never carries what lay there before. Left out: giving back the tail
// bytes of a value that is written again; build the buffer anew instead.

import { columnOffsets, contentAlign, contentBytes } from "../layout/layout.ts";
import { alignUp, LAYOUT_BYTES_MAX, NUMBER_BYTES } from "../layout/node.ts";
import type { DataNode, Layout, LayoutNode, ListNode, MapNode, OptionalNode, UnionNode } from "../layout/node.ts";
import { isPackable, writePacked } from "../layout/packed.ts";
import { Memory, Place, ViewError, windowOf } from "./memory.ts";
import type { NumberArray, ViewSource } from "./memory.ts";
import { checkNumber, fail, tagOfName, writeNumber, writeTag } from "./scalar.ts";

const DEPTH_MAX = 64;
const INITIAL_BYTES = 1024;
const ENCODER = new TextEncoder();

/** Writes a value into a buffer of its own, exactly as long as it needs. Throws `ViewError` with the path. */
export function build<T>(layout: Layout<T>, value: T): Uint8Array<ArrayBuffer> {
  const tail = new Tail(new Memory(new ArrayBuffer(Math.max(INITIAL_BYTES, alignUp(layout.sizeBytes, 8)))), 0, true);
  tail.endBytes = LAYOUT_BYTES_MAX;
  tail.take(layout.sizeBytes, 1);
  writeAt(layout.root, tail, 0, value, 0);
  return tail.memory.u8.slice(0, tail.topBytes) as Uint8Array<ArrayBuffer>;
}

/**
 * Writes a value into memory that is there already: a region of an arena, a slot of a channel. Gives the bytes it took.
 * Throws `ViewError` where they do not suffice; the memory then holds a part of the value.
 */
export function buildInto<T>(layout: Layout<T>, value: T, target: ViewSource): number {
  const { memory, start, sizeBytes } = windowOf(target, 0, 8);
  const tail = new Tail(memory, start, false);
  tail.endBytes = start + sizeBytes;
  tail.take(layout.sizeBytes, 1);
  writeAt(layout.root, tail, start, value, 0);
  return tail.topBytes - start;
}

/** Writes over a value in place. What lies behind its slots must fit into what is there. Throws `ViewError` else. */
export function writeInPlace(node: LayoutNode, memory: Memory, at: number, value: unknown): void {
  writeAt(node, new Tail(memory, 0, false), at, value, 0);
}

/** Memory that is given out from the front to the back. */
class Tail {
  memory: Memory;
  topBytes: number;
  /** The part of the value that is being written. */
  readonly place = new Place();
  /** Nothing is given out from here on. 0 for a tail that has nothing to give. */
  endBytes = 0;
  readonly #start: number;
  readonly #canGrow: boolean;

  constructor(memory: Memory, start: number, canGrow: boolean) {
    this.memory = memory;
    this.#start = start;
    this.topBytes = start;
    this.#canGrow = canGrow;
  }

  /** True for a value that is written over in place. */
  get isClosed(): boolean {
    return this.endBytes === 0;
  }

  /** Address of `sizeBytes` zeros, at a multiple of `alignBytes` from the start. `memory` may be another after it. */
  take(sizeBytes: number, alignBytes: number): number {
    const from = this.#start + alignUp(this.topBytes - this.#start, alignBytes);
    const end = from + sizeBytes;
    if (end > this.endBytes) {
      throw new ViewError("a buffer is too small for a value", {
        path: String(this.place),
        expected: `${end - this.#start} bytes`,
        got: `${this.endBytes - this.#start}`,
      });
    }
    if (end > this.memory.u8.length && this.#canGrow) this.#grow(end);
    this.memory.u8.fill(0, this.topBytes, end);
    this.topBytes = end;
    return from;
  }

  #grow(end: number): void {
    const old = this.memory.u8.subarray(0, this.topBytes);
    this.memory = new Memory(new ArrayBuffer(alignUp(Math.max(end, 2 * old.length), 8)));
    this.memory.u8.set(old);
  }
}

function writeAt(node: LayoutNode, tail: Tail, at: number, value: unknown, depth: number): void {
  switch (node.kind) {
    case "number":
      checkNumber(node, value, tail.place);
      return writeNumber(node, tail.memory, at, value);
    case "bool":
      if (typeof value !== "boolean") fail(tail.place, "a bool", value);
      tail.memory.u8[at] = value ? 1 : 0;
      return;
    case "void":
      return;
    case "enum":
      return writeTag(node.base, tail.memory, at, tagOfName(node, value, tail.place));
    case "str":
      return writeText(tail, at, value);
    case "data":
      return writeData(node, tail, at, value);
    case "struct":
      if (typeof value !== "object" || value === null) fail(tail.place, "a struct", value);
      for (const field of node.fields) {
        const part = (value as Readonly<Record<string, unknown>>)[field.name];
        tail.place.enter(field.name);
        writeAt(field.node, tail, at + field.offsetBytes, part, depth);
        tail.place.leave();
      }
      return;
    case "optional":
      return writeOptional(node, tail, at, value, depth);
    case "list":
      return writeList(node, tail, at, value, depth);
    case "map":
      return writeMap(node, tail, at, value, depth);
    case "union":
      return writeUnion(node, tail, at, value, depth);
    default: {
      const item = node.item();
      const from = reserve(tail, at, 1, item.sizeBytes, item.alignBytes);
      return writeAt(item, tail, from, value, deeper(tail, depth));
    }
  }
}

// Contents of `sizeBytes` behind a slot. Where a value is written over in place, those that are there are used again.
function reserve(tail: Tail, at: number, count: number, sizeBytes: number, alignBytes: number): number {
  const slot = at >>> 2;
  if (tail.isClosed) {
    const had = tail.memory.u32[slot + 1];
    if (count !== had) {
      throw new ViewError("a value cannot change its length in place", {
        path: String(tail.place),
        expected: `${had}, as it was built`,
        got: `${count}`,
        hint: "build the buffer anew",
      });
    }
    return at + tail.memory.u32[slot];
  }
  if (count === 0) return at; // the slot is zero already
  const from = tail.take(sizeBytes, alignBytes);
  tail.memory.u32[slot] = from - at;
  tail.memory.u32[slot + 1] = count;
  return from;
}

function deeper(tail: Tail, depth: number): number {
  if (depth < DEPTH_MAX) return depth + 1;
  throw new ViewError("a value is nested too deep", {
    path: String(tail.place),
    expected: `${DEPTH_MAX} levels`,
    got: "more",
  });
}

function writeText(tail: Tail, at: number, value: unknown): void {
  if (typeof value !== "string" || !value.isWellFormed()) fail(tail.place, "a string without lone surrogates", value);
  const bytes = ENCODER.encode(value as string);
  const from = reserve(tail, at, bytes.length, bytes.length, 1);
  tail.memory.u8.set(bytes, from);
}

function writeData(node: DataNode, tail: Tail, at: number, value: unknown): void {
  if (!(value instanceof Uint8Array)) fail(tail.place, "a Uint8Array", value);
  const bytes = value as Uint8Array;
  if (node.length !== undefined && bytes.length !== node.length) fail(tail.place, `${node.length} bytes`, bytes.length);
  const isInPlace = node.length !== undefined;
  const from = isInPlace ? at : reserve(tail, at, bytes.length, bytes.length, node.contentAlignBytes);
  tail.memory.u8.set(bytes, from);
}

function writeOptional(node: OptionalNode, tail: Tail, at: number, value: unknown, depth: number): void {
  const presence = at + node.presenceOffsetBytes;
  const mask = 1 << node.presenceBit;
  if (value === undefined) tail.memory.u8[presence] &= ~mask;
  else {
    writeAt(node.item, tail, at, value, depth);
    tail.memory.u8[presence] |= mask;
  }
}

function writeList(node: ListNode, tail: Tail, at: number, value: unknown, depth: number): void {
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!isList) fail(tail.place, "a list", value);
  const items = value as readonly unknown[] | NumberArray;
  const count = items.length;
  if (node.length !== undefined && count !== node.length) fail(tail.place, `${node.length} entries`, count);
  if (!(count < 2 ** 32)) fail(tail.place, "fewer than 2^32 entries", count);
  const isInPlace = node.length !== undefined;
  const from = isInPlace ? at : reserve(tail, at, count, contentBytes(node, count), contentAlign(node));
  const inside = isInPlace ? depth : deeper(tail, depth);
  const item = node.item();
  if (node.packing !== undefined) return writePackedItems(node, tail, from, items);
  if (node.columns !== undefined) return writeColumns(node, tail, from, items, inside);
  if (
    item.kind === "number" &&
    item.sizeBytes === NUMBER_BYTES[item.number] &&
    copyArray(tail, from, items, item.number)
  ) {
    return;
  }
  for (let i = 0; i < count; i++) {
    tail.place.enter(i);
    writeAt(item, tail, from + i * item.sizeBytes, items[i], inside);
    tail.place.leave();
  }
}

// A typed array of the very kind is copied whole.
function copyArray(tail: Tail, from: number, items: ArrayLike<unknown>, number: keyof Memory): boolean {
  const target = tail.memory[number];
  if (items.constructor !== target.constructor) return false;
  (target as Uint8Array).set(items as Uint8Array, from / target.BYTES_PER_ELEMENT);
  return true;
}

function writePackedItems(node: ListNode, tail: Tail, from: number, items: ArrayLike<unknown>): void {
  const packing = node.packing!;
  const { u8 } = tail.memory;
  u8.fill(0, from, from + contentBytes(node, items.length));
  for (let i = 0; i < items.length; i++) {
    tail.place.enter(i);
    if (!isPackable(packing, items[i])) fail(tail.place, packing === "bits" ? "a bool" : "-1, 0 or 1", items[i]);
    writePacked(packing, u8, from, i, Number(items[i]));
    tail.place.leave();
  }
}

function writeColumns(node: ListNode, tail: Tail, from: number, items: ArrayLike<unknown>, depth: number): void {
  const { offsets } = columnOffsets(node, items.length);
  node.columns!.forEach((column, k) => {
    for (let i = 0; i < items.length; i++) {
      const struct = items[i] as Readonly<Record<string, unknown>>;
      tail.place.enter(i);
      if (typeof struct !== "object" || struct === null) fail(tail.place, "a struct", struct);
      tail.place.enter(column.name);
      writeAt(column.node, tail, from + offsets[k] + i * column.node.sizeBytes, struct[column.name], depth);
      tail.place.leave();
      tail.place.leave();
    }
  });
}

function writeMap(node: MapNode, tail: Tail, at: number, value: unknown, depth: number): void {
  if (!(value instanceof Map)) fail(tail.place, "a map", value);
  const entries = [...(value as ReadonlyMap<unknown, unknown>)].map(([key, item]) => ({ key, value: item }));
  writeList(node.entries, tail, at, entries, depth);
}

function writeUnion(node: UnionNode, tail: Tail, at: number, value: unknown, depth: number): void {
  const { kind, value: inner } = (value ?? {}) as { readonly kind?: unknown; readonly value?: unknown };
  const member = node.members.find((one) => one.name === kind);
  if (member === undefined) return fail(tail.place, `one of ${node.members.map((one) => one.name).join(", ")}`, kind);
  const payload = at + node.payloadOffsetBytes;
  // Slots of another member would be read as slots of this one: they are cleared, and such a member cannot be written.
  if (tail.isClosed) tail.memory.u8.fill(0, at + NUMBER_BYTES[node.base], at + node.sizeBytes);
  writeTag(node.base, tail.memory, at, member.tag);
  tail.place.enter(member.name);
  writeAt(member.node, tail, payload, inner, depth);
  tail.place.leave();
}
