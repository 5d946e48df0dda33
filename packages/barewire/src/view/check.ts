// Whether bytes from outside are what a layout says, before a view is trusted with them. Every slot must lead forward to
// contents that lie in the buffer, at their alignment, and overlap nothing else; tags and enum values must be known,
// bools 0 or 1, text UTF-8, packed codes valid, map keys distinct. Work is linear in the size of the buffer: contents
// that were visited add up to no more than its bytes. Left out: what lies in padding.

import { columnOffsets, contentAlign, contentBytes } from "../layout/layout.ts";
import { joinPath, LAYOUT_BYTES_MAX, SLOT_BYTES } from "../layout/node.ts";
import type { Layout, LayoutNode, ListNode, MapNode, StructNode, UnionNode } from "../layout/node.ts";
import { findBadCode } from "../layout/packed.ts";
import { decodeText, ViewError, windowFor } from "./memory.ts";
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
  checker.claim(start, layout.sizeBytes, "");
  checker.check(layout.root, start, "", 0);
  return checker.finish();
}

class Checker {
  readonly #memory: Memory;
  readonly #start: number;
  readonly #end: number;
  readonly #limits: ViewLimits;
  readonly #froms: number[] = [];
  readonly #ends: number[] = [];
  #claimedBytes = 0;

  constructor(memory: Memory, start: number, end: number, limits: ViewLimits) {
    this.#memory = memory;
    this.#start = start;
    this.#end = end;
    this.#limits = limits;
  }

  fail(summary: string, path: string, at: number, expected: string, got: string): never {
    throw new ViewError(summary, { path, offsetBytes: at - this.#start, expected, got });
  }

  /** Contents that belong to one slot alone. */
  claim(from: number, sizeBytes: number, path: string): void {
    this.#froms.push(from);
    this.#ends.push(from + sizeBytes);
    this.#claimedBytes += sizeBytes;
    const most = this.#end - this.#start;
    if (this.#claimedBytes > most) {
      this.fail("contents overlap", path, from, `${most} bytes of contents`, `${this.#claimedBytes}`);
    }
    if (this.#froms.length > this.#limits.contents) {
      this.fail("a buffer has too many parts", path, from, `at most ${this.#limits.contents}`, "more");
    }
  }

  /** Throws where two contents share a byte; gives the end of the last. */
  finish(): number {
    const order = this.#froms.map((_, index) => index).sort((a, b) => this.#froms[a] - this.#froms[b]);
    let end = this.#start;
    for (const index of order) {
      if (this.#froms[index] < end) {
        this.fail("contents overlap", "", this.#froms[index], `contents from byte ${end - this.#start} on`, "earlier");
      }
      end = this.#ends[index];
    }
    return end - this.#start;
  }

  check(node: LayoutNode, at: number, path: string, depth: number): void {
    switch (node.kind) {
      case "number":
        return this.#number(node, at, path);
      case "bool":
        return this.#bit(at, path);
      case "void":
        return;
      case "enum": {
        const tag = readTag(node.base, this.#memory, at);
        if (node.members.some((member) => member.tag === tag)) return;
        return this.fail("an enum has a value that its schema does not know", path, at, tagsOf(node.members), `${tag}`);
      }
      case "str":
        return this.#text(at, path);
      case "data":
        if (node.length === undefined) this.#contents(at, 1, node.contentAlignBytes, path);
        return;
      case "struct":
        return this.#struct(node, at, path, depth);
      case "optional": {
        const presence = at + node.presenceOffsetBytes;
        // In a struct, the bits that no field has are checked by the struct.
        if (node.presenceOffsetBytes === node.item.sizeBytes && node.sizeBytes > node.item.sizeBytes) {
          this.#bit(presence, path);
        }
        if ((this.#memory.u8[presence] & (1 << node.presenceBit)) !== 0) this.check(node.item, at, path, depth);
        return;
      }
      case "list":
        return this.#list(node, at, path, depth);
      case "map":
        return this.#map(node, at, path, depth);
      case "union":
        return this.#union(node, at, path, depth);
      default: {
        const item = node.item();
        const { from, count } = this.#contents(at, item.sizeBytes, item.alignBytes, path);
        if (count !== 1) this.fail("a box does not hold one value", path, at, "1", `${count}`);
        return this.check(item, from, path, this.#deeper(depth, path, at));
      }
    }
  }

  #number(node: LayoutNode & { kind: "number" }, at: number, path: string): void {
    if (!node.safe) return;
    const value = readNumber(node, this.#memory, at);
    if (Number.isSafeInteger(value)) return;
    this.fail("an integer is too large", path, at, "at most 2^53 - 1", `${value}`);
  }

  #bit(at: number, path: string): void {
    const byte = this.#memory.u8[at];
    if (byte > 1) this.fail("a bool is neither 0 nor 1", path, at, "0 or 1", `${byte}`);
  }

  #text(at: number, path: string): void {
    const { from, count } = this.#contents(at, 1, 1, path);
    try {
      decodeText(this.#memory, from, count);
    } catch {
      this.fail("text is not UTF-8", path, from, "valid UTF-8", `${count} bytes that are not`);
    }
  }

  #struct(node: StructNode, at: number, path: string, depth: number): void {
    const { presence } = node;
    const unused = presence === undefined ? 0 : presence.count & 7;
    if (presence !== undefined && unused !== 0) {
      const last = at + presence.offsetBytes + (presence.count >> 3);
      const bits = this.#memory.u8[last] >> unused;
      if (bits !== 0) this.fail("a presence bit belongs to no field", path, last, "0", `${bits}`);
    }
    for (const field of node.fields) this.check(field.node, at + field.offsetBytes, joinPath(path, field.name), depth);
  }

  #list(node: ListNode, at: number, path: string, depth: number): void {
    const isInPlace = node.length !== undefined;
    const { from, count } = isInPlace ? { from: at, count: node.length } : this.#listContents(node, at, path);
    this.#items(node, from, count, path, isInPlace ? depth : this.#deeper(depth, path, at));
  }

  #items(node: ListNode, from: number, count: number, path: string, depth: number): void {
    if (node.packing !== undefined) {
      const bad = findBadCode(node.packing, this.#memory.u8, from, count);
      if (bad >= 0)
        this.fail("packed values have a code that is none", path, from, node.packing, `entry ${bad} or after`);
      return;
    }
    const item = node.item();
    if (node.columns !== undefined) {
      const { offsets } = columnOffsets(node, count);
      node.columns.forEach(({ name, node: field }, k) => {
        this.#each(field, from + offsets[k], count, joinPath(joinPath(path, "[]"), name), depth);
      });
    } else this.#each(item, from, count, joinPath(path, "[]"), depth);
  }

  #each(node: LayoutNode, from: number, count: number, path: string, depth: number): void {
    if (node.kind === "number" && !node.safe) return;
    for (let i = 0; i < count; i++) this.check(node, from + i * node.sizeBytes, path, depth);
  }

  #map(node: MapNode, at: number, path: string, depth: number): void {
    const { from, count } = this.#listContents(node.entries, at, path);
    this.#items(node.entries, from, count, path, this.#deeper(depth, path, at));
    const entry = node.entries.item() as StructNode;
    const [key] = entry.fields;
    const seen = new Set<unknown>();
    for (let i = 0; i < count; i++) {
      const place = from + i * entry.sizeBytes + key.offsetBytes;
      seen.add(readValueAt(key.node, this.#memory, place));
      if (seen.size <= i) this.fail("a map has a key twice", path, place, "distinct keys", `entry ${i} again`);
    }
  }

  #union(node: UnionNode, at: number, path: string, depth: number): void {
    const tag = readTag(node.base, this.#memory, at);
    const member = node.members.find((one) => one.tag === tag);
    if (member === undefined) {
      this.fail("a union has a tag that its schema does not know", path, at, tagsOf(node.members), `${tag}`);
    }
    this.check(member.node, at + node.payloadOffsetBytes, joinPath(path, member.name), depth);
  }

  #listContents(node: ListNode, at: number, path: string): { from: number; count: number } {
    const count = this.#memory.u32[(at >>> 2) + 1];
    return this.#range(at, count, count === 0 ? 0 : contentBytes(node, count), contentAlign(node), path);
  }

  #contents(at: number, itemBytes: number, alignBytes: number, path: string): { from: number; count: number } {
    const count = this.#memory.u32[(at >>> 2) + 1];
    return this.#range(at, count, count * itemBytes, alignBytes, path);
  }

  #range(
    at: number,
    count: number,
    sizeBytes: number,
    alignBytes: number,
    path: string,
  ): { from: number; count: number } {
    const distance = this.#memory.u32[at >>> 2];
    const from = at + distance;
    if (count === 0) {
      if (distance !== 0) this.fail("an empty slot leads somewhere", path, at, "a distance of 0", `${distance}`);
      return { from, count };
    }
    if (distance < SLOT_BYTES || from + sizeBytes > this.#end) {
      const most = `${sizeBytes} bytes behind the slot, at most to byte ${this.#end - this.#start}`;
      this.fail("contents lie outside the buffer", path, at, most, `${sizeBytes} from byte ${from - this.#start}`);
    }
    if ((from - this.#start) % alignBytes !== 0) {
      this.fail("contents are not aligned", path, at, `a multiple of ${alignBytes}`, `byte ${from - this.#start}`);
    }
    this.claim(from, sizeBytes, path);
    return { from, count };
  }

  #deeper(depth: number, path: string, at: number): number {
    if (depth < this.#limits.depth) return depth + 1;
    return this.fail("a value is nested too deep", path, at, `${this.#limits.depth} levels`, "more");
  }
}

function tagsOf(members: readonly { readonly tag: number }[]): string {
  return members.map(({ tag }) => tag).join(", ");
}
