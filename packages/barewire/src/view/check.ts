// Whether bytes from outside are what a layout says, before a view is trusted with them. Every slot must lead forward
// to contents that lie in the buffer, at their alignment, and overlap nothing else; tags and enum values must be known,
// bools 0 or 1, text UTF-8, packed codes valid, map keys distinct. Work is linear in the size of the buffer: contents
// that were visited add up to no more than its bytes. Left out: what lies in padding.

import { columnOffsets, contentAlign, contentBytes } from "../layout/layout.ts";
import { LAYOUT_BYTES_MAX, SLOT_BYTES } from "../layout/node.ts";
import type { Layout, LayoutNode, ListNode, MapNode, StructNode, UnionNode } from "../layout/node.ts";
import { findBadCode } from "../layout/packed.ts";
import { decodeText, Place, ViewError, windowFor } from "./memory.ts";
import type { Memory, ViewSource } from "./memory.ts";
import { readValueAt } from "./read.ts";
import { readNumber, readTag } from "./scalar.ts";

/** How much a buffer from outside may ask for. */
export interface ViewLimits {
  readonly sizeBytes: number;
  /** Slots inside the contents of slots. */
  readonly depth: number;
  /** Slots with contents. */
  readonly contents: number;
}

/** Limits that fit most buffers: 4 GiB, 64 levels, 16 million pieces of content. */
export const VIEW_LIMITS: ViewLimits = { sizeBytes: LAYOUT_BYTES_MAX, depth: 64, contents: 2 ** 24 };

/** Throws `ViewError` with path and byte unless the bytes are a value of the layout. Gives the bytes that it takes. */
export function checkView(layout: Layout, source: ViewSource, limits: ViewLimits = VIEW_LIMITS): number {
  const { memory, start, sizeBytes } = windowFor(layout, source, 0);
  if (sizeBytes > limits.sizeBytes) {
    throw new ViewError("a buffer is too large", {
      expected: `at most ${limits.sizeBytes} bytes`,
      got: `${sizeBytes}`,
    });
  }
  const checker = new Checker(memory, start, start + sizeBytes, limits);
  checker.claim(start, layout.sizeBytes);
  checker.check(layout.root, start, 0);
  return checker.finish();
}

class Checker {
  readonly #memory: Memory;
  readonly #start: number;
  readonly #end: number;
  readonly #limits: ViewLimits;
  readonly #place = new Place();
  readonly #froms: number[] = [];
  readonly #ends: number[] = [];
  #claimedBytes = 0;

  constructor(memory: Memory, start: number, end: number, limits: ViewLimits) {
    this.#memory = memory;
    this.#start = start;
    this.#end = end;
    this.#limits = limits;
  }

  fail(summary: string, at: number, expected: string, got: string): never {
    throw new ViewError(summary, { path: String(this.#place), offsetBytes: at - this.#start, expected, got });
  }

  /** Contents that belong to one slot alone. */
  claim(from: number, sizeBytes: number): void {
    this.#froms.push(from);
    this.#ends.push(from + sizeBytes);
    this.#claimedBytes += sizeBytes;
    const most = this.#end - this.#start;
    if (this.#claimedBytes > most) {
      this.fail("contents overlap", from, `${most} bytes of contents`, `${this.#claimedBytes}`);
    }
    if (this.#froms.length > this.#limits.contents) {
      this.fail("a buffer has too many parts", from, `at most ${this.#limits.contents}`, "more");
    }
  }

  /** Throws where two contents share a byte; gives the end of the last. */
  finish(): number {
    const order = this.#froms.map((_, index) => index).sort((a, b) => this.#froms[a] - this.#froms[b]);
    let end = this.#start;
    for (const index of order) {
      if (this.#froms[index] < end) {
        this.fail("contents overlap", this.#froms[index], `contents from byte ${end - this.#start} on`, "earlier");
      }
      end = this.#ends[index];
    }
    return end - this.#start;
  }

  check(node: LayoutNode, at: number, depth: number): void {
    switch (node.kind) {
      case "number":
        return this.#number(node, at);
      case "bool":
        return this.#bit(at);
      case "void":
        return;
      case "enum": {
        const tag = readTag(node.base, this.#memory, at);
        if (node.members.some((member) => member.tag === tag)) return;
        return this.fail("an enum has a value that its schema does not know", at, tagsOf(node.members), `${tag}`);
      }
      case "str":
        return this.#text(at);
      case "data":
        if (node.length === undefined) this.#contents(at, 1, node.contentAlignBytes);
        return;
      case "struct":
        return this.#struct(node, at, depth);
      case "optional": {
        const presence = at + node.presenceOffsetBytes;
        // In a struct, the bits that no field has are checked by the struct.
        if (node.presenceOffsetBytes === node.item.sizeBytes && node.sizeBytes > node.item.sizeBytes) {
          this.#bit(presence);
        }
        if ((this.#memory.u8[presence] & (1 << node.presenceBit)) !== 0) this.check(node.item, at, depth);
        return;
      }
      case "list":
        return this.#list(node, at, depth);
      case "map":
        return this.#map(node, at, depth);
      case "union":
        return this.#union(node, at, depth);
      default: {
        const item = node.item();
        const { from, count } = this.#contents(at, item.sizeBytes, item.alignBytes);
        if (count !== 1) this.fail("a box does not hold one value", at, "1", `${count}`);
        return this.check(item, from, this.#deeper(depth, at));
      }
    }
  }

  #number(node: LayoutNode & { kind: "number" }, at: number): void {
    if (!node.safe) return;
    const value = readNumber(node, this.#memory, at);
    if (Number.isSafeInteger(value)) return;
    this.fail("an integer is too large", at, "at most 2^53 - 1", `${value}`);
  }

  #bit(at: number): void {
    const byte = this.#memory.u8[at];
    if (byte > 1) this.fail("a bool is neither 0 nor 1", at, "0 or 1", `${byte}`);
  }

  #text(at: number): void {
    const { from, count } = this.#contents(at, 1, 1);
    try {
      decodeText(this.#memory, from, count);
    } catch {
      this.fail("text is not UTF-8", from, "valid UTF-8", `${count} bytes that are not`);
    }
  }

  #struct(node: StructNode, at: number, depth: number): void {
    const { presence } = node;
    const unused = presence === undefined ? 0 : presence.count & 7;
    if (presence !== undefined && unused !== 0) {
      const last = at + presence.offsetBytes + (presence.count >> 3);
      const bits = this.#memory.u8[last] >> unused;
      if (bits !== 0) this.fail("a presence bit belongs to no field", last, "0", `${bits}`);
    }
    for (const field of node.fields) {
      this.#place.enter(field.name);
      this.check(field.node, at + field.offsetBytes, depth);
      this.#place.leave();
    }
  }

  #list(node: ListNode, at: number, depth: number): void {
    const isInPlace = node.length !== undefined;
    const { from, count } = isInPlace ? { from: at, count: node.length } : this.#listContents(node, at);
    this.#items(node, from, count, isInPlace ? depth : this.#deeper(depth, at));
  }

  #items(node: ListNode, from: number, count: number, depth: number): void {
    if (node.packing !== undefined) {
      const bad = findBadCode(node.packing, this.#memory.u8, from, count);
      if (bad >= 0) this.fail("packed values have a code that is none", from, node.packing, `entry ${bad} or after`);
      return;
    }
    const item = node.item();
    if (node.columns !== undefined) {
      const { offsets } = columnOffsets(node, count);
      node.columns.forEach(({ name, node: field }, k) => {
        this.#each(field, from + offsets[k], count, name, depth);
      });
    } else this.#each(item, from, count, undefined, depth);
  }

  #each(node: LayoutNode, from: number, count: number, column: string | undefined, depth: number): void {
    if (node.kind === "number" && !node.safe) return;
    for (let i = 0; i < count; i++) {
      this.#place.enter(i);
      if (column !== undefined) this.#place.enter(column);
      this.check(node, from + i * node.sizeBytes, depth);
      if (column !== undefined) this.#place.leave();
      this.#place.leave();
    }
  }

  #map(node: MapNode, at: number, depth: number): void {
    const { from, count } = this.#listContents(node.entries, at);
    this.#items(node.entries, from, count, this.#deeper(depth, at));
    const entry = node.entries.item() as StructNode;
    const [key] = entry.fields;
    const seen = new Set<unknown>();
    for (let i = 0; i < count; i++) {
      const place = from + i * entry.sizeBytes + key.offsetBytes;
      seen.add(readValueAt(key.node, this.#memory, place));
      if (seen.size <= i) this.fail("a map has a key twice", place, "distinct keys", `entry ${i} again`);
    }
  }

  #union(node: UnionNode, at: number, depth: number): void {
    const tag = readTag(node.base, this.#memory, at);
    const member = node.members.find((one) => one.tag === tag);
    if (member === undefined) {
      this.fail("a union has a tag that its schema does not know", at, tagsOf(node.members), `${tag}`);
    }
    this.#place.enter(member.name);
    this.check(member.node, at + node.payloadOffsetBytes, depth);
    this.#place.leave();
  }

  #listContents(node: ListNode, at: number): { from: number; count: number } {
    const count = this.#memory.u32[(at >>> 2) + 1];
    return this.#range(at, count, count === 0 ? 0 : contentBytes(node, count), contentAlign(node));
  }

  #contents(at: number, itemBytes: number, alignBytes: number): { from: number; count: number } {
    const count = this.#memory.u32[(at >>> 2) + 1];
    return this.#range(at, count, count * itemBytes, alignBytes);
  }

  #range(at: number, count: number, sizeBytes: number, alignBytes: number): { from: number; count: number } {
    const distance = this.#memory.u32[at >>> 2];
    const from = at + distance;
    if (count === 0) {
      if (distance !== 0) this.fail("an empty slot leads somewhere", at, "a distance of 0", `${distance}`);
      return { from, count };
    }
    if (distance < SLOT_BYTES || from + sizeBytes > this.#end) {
      const most = `${sizeBytes} bytes behind the slot, at most to byte ${this.#end - this.#start}`;
      this.fail("contents lie outside the buffer", at, most, `${sizeBytes} from byte ${from - this.#start}`);
    }
    if ((from - this.#start) % alignBytes !== 0) {
      this.fail("contents are not aligned", at, `a multiple of ${alignBytes}`, `byte ${from - this.#start}`);
    }
    this.claim(from, sizeBytes);
    return { from, count };
  }

  #deeper(depth: number, at: number): number {
    if (depth < this.#limits.depth) return depth + 1;
    return this.fail("a value is nested too deep", at, `${this.#limits.depth} levels`, "more");
  }
}

function tagsOf(members: readonly { readonly tag: number }[]): string {
  return members.map(({ tag }) => tag).join(", ");
}
