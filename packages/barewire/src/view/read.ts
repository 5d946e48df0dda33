// Values out of memory: plain TypeScript values, copied, of any node. Slow and plain; views are the fast way.

import { ARRAYS } from "../codec/arrays.ts";
import { columnOffsets } from "../layout/layout.ts";
import { NUMBER_BYTES } from "../layout/node.ts";
import type { LayoutNode, ListNode } from "../layout/node.ts";
import { readPacked } from "../layout/packed.ts";
import { decodeText, ViewError } from "./memory.ts";
import type { Memory } from "./memory.ts";
import { readEnum, readNumber, readTag } from "./scalar.ts";

/** A copy of the value at an address. */
export function readValueAt(node: LayoutNode, memory: Memory, at: number): unknown {
  switch (node.kind) {
    case "number":
      return readNumber(node, memory, at);
    case "bool":
      return memory.u8[at] !== 0;
    case "void":
      return undefined;
    case "enum":
      return readEnum(node, memory, at);
    case "str":
      return decodeText(memory, at + memory.u32[at >>> 2], memory.u32[(at >>> 2) + 1]);
    case "data": {
      const { from, count } = contentsAt(node, memory, at);
      return new Uint8Array(memory.u8.subarray(from, from + count));
    }
    case "struct":
      return Object.fromEntries(
        node.fields.map((field) => [field.name, readValueAt(field.node, memory, at + field.offsetBytes)]),
      );
    case "optional": {
      const isThere = (memory.u8[at + node.presenceOffsetBytes] & (1 << node.presenceBit)) !== 0;
      return isThere ? readValueAt(node.item, memory, at) : undefined;
    }
    case "list":
      return readList(node, memory, at);
    case "map": {
      const entries = readItems(node.entries, memory, contentsAt(node.entries, memory, at)) as {
        key: unknown;
        value: unknown;
      }[];
      return new Map(entries.map(({ key, value }) => [key, value]));
    }
    case "union": {
      const tag = readTag(node.base, memory, at);
      const member = node.members.find((one) => one.tag === tag);
      if (member === undefined) {
        throw new ViewError("a union has a tag that its schema does not know", { offsetBytes: at, got: `${tag}` });
      }
      return { kind: member.name, value: readValueAt(member.node, memory, at + node.payloadOffsetBytes) };
    }
    default:
      return readValueAt(node.item(), memory, at + memory.u32[at >>> 2]);
  }
}

/** Where the contents of a list or data begin, and how many there are. */
export interface Contents {
  readonly from: number;
  readonly count: number;
}

/** The contents of a node that may be in place or behind a slot. */
export function contentsAt(node: { readonly length: number | undefined }, memory: Memory, at: number): Contents {
  if (node.length !== undefined) return { from: at, count: node.length };
  return { from: at + memory.u32[at >>> 2], count: memory.u32[(at >>> 2) + 1] };
}

function readList(node: ListNode, memory: Memory, at: number): unknown {
  const contents = contentsAt(node, memory, at);
  const { from, count } = contents;
  if (node.packing === "bits") {
    return Array.from({ length: count }, (_, i) => readPacked("bits", memory.u8, from, i) === 1);
  }
  if (node.packing !== undefined) {
    const { packing } = node;
    return Int8Array.from({ length: count }, (_, i) => readPacked(packing, memory.u8, from, i));
  }
  const item = node.item();
  if (item.kind === "number" && item.isArrayItem && item.sizeBytes === NUMBER_BYTES[item.number]) {
    const start = from / item.sizeBytes;
    return memory[item.number].slice(start, start + count);
  }
  const items = readItems(node, memory, contents);
  if (item.kind !== "number" || !item.isArrayItem) return items;
  const array = new ARRAYS[item.number](count);
  items.forEach((value, i) => (array[i] = value as never));
  return array;
}

function readItems(node: ListNode, memory: Memory, { from, count }: Contents): unknown[] {
  const item = node.item();
  if (node.columns === undefined) {
    return Array.from({ length: count }, (_, i) => readValueAt(item, memory, from + i * item.sizeBytes));
  }
  const { offsets } = columnOffsets(node, count);
  return Array.from({ length: count }, (_, i) => {
    const values = node.columns!.map(({ name, node: field }, at) => [
      name,
      readValueAt(field, memory, from + offsets[at] + i * field.sizeBytes),
    ]);
    return Object.fromEntries(values) as unknown;
  });
}
