// A layout as maps of cells, byte by byte: what the table and the drawing both show. One map for the fixed part and one
// for each kind of record behind a slot or over a union's payload; every byte of a map is in exactly one cell, padding
// included. Left out: the tail itself, whose places depend on the value.

import { columnOffsets } from "./layout.ts";
import { joinPath, NUMBER_BYTES } from "./node.ts";
import type { Layout, LayoutNode, ListNode } from "./node.ts";

/** What a cell holds; the drawing gives each kind its colour. */
export type CellKind =
  | "number"
  | "bool"
  | "enum"
  | "data"
  | "list"
  | "slot"
  | "tag"
  | "overlay"
  | "presence"
  | "padding";

/** Consecutive bytes with one meaning. */
export interface Cell {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly kind: CellKind;
  /** Path inside of the map; empty for padding and for a map of one cell. */
  readonly path: string;
  /** The type, as in `f32` or `slot of str`. */
  readonly type: string;
}

/** One record, from its first byte to its last. */
export interface MemoryMap {
  /** Path in the layout, and what repeats or lies over one another there. */
  readonly title: string;
  readonly sizeBytes: number;
  readonly alignBytes: number;
  readonly cells: readonly Cell[];
}

/** Maps are not drawn beyond this many; types that need more are better read as a schema. */
const MAPS_MAX = 256;

/** The maps of a layout: the fixed part first, then what lies behind slots and in unions, each once. */
export function mapsOf(layout: Layout): MemoryMap[] {
  const plan: Plan = { cells: [], queue: [], seen: new Set() };
  const maps: MemoryMap[] = [];
  plan.queue.push({ title: "fixed part", path: "", node: layout.root });
  for (let next = plan.queue.shift(); next !== undefined && maps.length < MAPS_MAX; next = plan.queue.shift()) {
    plan.cells = [];
    addCells(plan, next.node, 0, "", next.path);
    const { sizeBytes, alignBytes } = next.node;
    maps.push({ title: next.title, sizeBytes, alignBytes, cells: padded(plan.cells, sizeBytes) });
  }
  return maps;
}

interface Queued {
  readonly title: string;
  readonly path: string;
  readonly node: LayoutNode;
}

interface Plan {
  cells: Cell[];
  readonly queue: Queued[];
  readonly seen: Set<LayoutNode>;
}

// `path` is inside of the map, `whole` from the root of the layout.
function addCells(plan: Plan, node: LayoutNode, offsetBytes: number, path: string, whole: string): void {
  const add = (kind: CellKind, type: string, sizeBytes = node.sizeBytes): void => {
    if (sizeBytes > 0) plan.cells.push({ offsetBytes, sizeBytes, kind, path, type });
  };
  switch (node.kind) {
    case "number":
      return add("number", typeName(node), NUMBER_BYTES[node.number]);
    case "bool":
      return add("bool", "bool", 1);
    case "void":
      return;
    case "enum":
      return add("enum", typeName(node), NUMBER_BYTES[node.base]);
    case "str":
      return add("slot", "slot of str", 8);
    case "data":
      return node.length === undefined ? add("slot", "slot of data", 8) : add("data", typeName(node), node.length);
    case "struct":
      for (const field of node.fields) {
        const at = offsetBytes + field.offsetBytes;
        addCells(plan, field.node, at, joinPath(path, field.name), joinPath(whole, field.name));
      }
      if (node.presence === undefined) return;
      plan.cells.push(presenceCell(offsetBytes + node.presence.offsetBytes, node.presence.count, path));
      return;
    case "optional":
      addCells(plan, node.item, offsetBytes, path, whole);
      // In a struct the bits are the struct's, and it adds their cell.
      if (node.sizeBytes > node.item.sizeBytes)
        plan.cells.push(presenceCell(offsetBytes + node.presenceOffsetBytes, 1, path));
      return;
    case "list":
      return addList(plan, node, offsetBytes, path, whole);
    case "map":
      enqueue(plan, node.entries.item(), joinPath(whole, "[]"), "each entry");
      return add("slot", `slot of ${typeName(node)}`, 8);
    case "union":
      return addUnion(plan, node, offsetBytes, path, whole);
    default:
      enqueue(plan, node.item(), whole, "boxed");
      return add("slot", "slot of one value", 8);
  }
}

function addList(plan: Plan, node: ListNode, offsetBytes: number, path: string, whole: string): void {
  const item = node.item();
  const itemPath = joinPath(whole, "[]");
  const isPlain = node.packing === undefined && node.columns === undefined;
  if (isPlain && item.kind !== "number" && item.kind !== "bool") enqueue(plan, item, itemPath, "each item");
  if (node.length === undefined) {
    plan.cells.push({ offsetBytes, sizeBytes: 8, kind: "slot", path, type: `slot of ${typeName(node)}` });
    return;
  }
  const { length, columns } = node;
  if (columns === undefined) {
    plan.cells.push({ offsetBytes, sizeBytes: node.sizeBytes, kind: "list", path, type: typeName(node) });
    return;
  }
  const { offsets } = columnOffsets(node, length);
  columns.forEach(({ name, node: column }, k) => {
    const sizeBytes = length * column.sizeBytes;
    const type = `${length} x ${typeName(column)}`;
    plan.cells.push({
      offsetBytes: offsetBytes + offsets[k],
      sizeBytes,
      kind: "list",
      path: joinPath(path, name),
      type,
    });
  });
}

function addUnion(
  plan: Plan,
  node: LayoutNode & { readonly kind: "union" },
  offsetBytes: number,
  path: string,
  whole: string,
): void {
  const tag = { offsetBytes, sizeBytes: NUMBER_BYTES[node.base], kind: "tag", path, type: `tag ${node.base}` } as const;
  plan.cells.push(tag);
  for (const member of node.members) {
    if (member.node.sizeBytes > 0) enqueue(plan, member.node, joinPath(whole, member.name), "overlay");
  }
  const payload = node.members.reduce((most, member) => Math.max(most, member.node.sizeBytes), 0);
  if (payload === 0) return;
  const type = node.members.map((member) => member.name).join(" | ");
  plan.cells.push({
    offsetBytes: offsetBytes + node.payloadOffsetBytes,
    sizeBytes: payload,
    kind: "overlay",
    path,
    type,
  });
}

function presenceCell(offsetBytes: number, count: number, path: string): Cell {
  const type = `presence, ${count} bit${count === 1 ? "" : "s"}`;
  return { offsetBytes, sizeBytes: Math.ceil(count / 8), kind: "presence", path, type };
}

function enqueue(plan: Plan, node: LayoutNode, path: string, what: string): void {
  if (plan.seen.has(node)) return;
  plan.seen.add(node);
  plan.queue.push({ title: path === "" ? what : `${path}, ${what}`, path, node });
}

/** The cells in order, with cells of padding where bytes are in none. */
export function padded(cells: readonly Cell[], sizeBytes: number): Cell[] {
  const all: Cell[] = [];
  let end = 0;
  const pad = (to: number): void => {
    if (to > end) all.push({ offsetBytes: end, sizeBytes: to - end, kind: "padding", path: "", type: "padding" });
  };
  for (const cell of cells.toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
    pad(cell.offsetBytes);
    all.push(cell);
    end = cell.offsetBytes + cell.sizeBytes;
  }
  pad(sizeBytes);
  return all;
}

/** A node's type in one line; structs and unions are told by their size. */
function typeName(node: LayoutNode): string {
  switch (node.kind) {
    case "number":
      return node.number;
    case "enum":
      return `enum ${node.base}`;
    case "data":
      return node.length === undefined ? "data" : `data[${node.length}]`;
    case "optional":
      return `optional ${typeName(node.item)}`;
    case "list": {
      const packing = node.packing ?? (node.columns === undefined ? "" : "columns");
      const length = node.length === undefined ? "" : `[${node.length}]`;
      return `list${length} of ${typeName(node.item())}${packing === "" ? "" : `, ${packing}`}`;
    }
    case "map": {
      const [key, value] = (node.entries.item() as LayoutNode & { kind: "struct" }).fields;
      return `map of ${typeName(key.node)} to ${typeName(value.node)}`;
    }
    case "struct":
    case "union":
      return `${node.kind}(${node.sizeBytes} B)`;
    case "box":
      return "box";
    default:
      return node.kind;
  }
}
