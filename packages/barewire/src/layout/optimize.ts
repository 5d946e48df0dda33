// Layouts for a target, by rules that are few and stated:
// - `cache-line` (CPU code that follows records): fields ordered by alignment, so that padding is least; records in
//   lists of up to 64 bytes take a power of two and larger ones whole lines, so that none straddles a line; root and
//   lists at 64.
// - `amx-tile` (Intel AMX, tiles of 16 rows x 64 bytes): rows of matrices (numbers in a list of fixed length in a list)
//   are padded to 64 bytes, lists start at 1024, the size of a tile.
// - `wasm-vector` (v128): lists of records without slots become structures of arrays; lists of numbers start at 64,
//   which keeps loads of 16 bytes aligned and off the borders of lines.
// - `gpu` (WebGPU storage buffers): structures of arrays likewise; root and lists start at 256, which is
//   minStorageBufferOffsetAlignment, so that each can be bound alone. Left out: WGSL's own alignment of vec3 and
//   matrices inside of structs; BARE has neither.

import type { BareType, Typed } from "../schema/ast.ts";
import { layoutOf } from "./layout.ts";
import { joinPath } from "./node.ts";
import type { Layout, LayoutNode, LayoutOptions, PathOptions } from "./node.ts";

/** What reads the memory. */
export type LayoutTarget = "cache-line" | "amx-tile" | "wasm-vector" | "gpu";

const LINE_BYTES = 64;
const TILE_BYTES = 1024;
const GPU_BINDING_BYTES = 256;

/** The layout that suits a target; its `options` tell what was chosen. Throws `LayoutError` as `layoutOf` does. */
export function getOptimized<T>(type: Typed<T>, target: LayoutTarget): Layout<T> {
  return layoutOf(type, optimizedOptions(type, target));
}

/** The options that `getOptimized` takes, for those who want to change some of them. */
export function optimizedOptions(type: BareType, target: LayoutTarget): LayoutOptions {
  const order = "packed";
  const base: LayoutOptions = { order };
  const lists = findLists(layoutOf(type, base).root);
  const paths: Record<string, PathOptions> = {};
  switch (target) {
    case "cache-line":
      for (const { path, item } of lists)
        if (item.kind === "struct") paths[`${path}[]`] = { alignBytes: lineAlign(item) };
      return { order, alignBytes: LINE_BYTES, tailAlignBytes: LINE_BYTES, paths };
    case "amx-tile":
      for (const { path, item } of lists) if (isMatrixRow(item)) paths[`${path}[]`] = { alignBytes: LINE_BYTES };
      return { order, alignBytes: LINE_BYTES, tailAlignBytes: TILE_BYTES, paths };
    default: {
      const alignBytes = target === "gpu" ? GPU_BINDING_BYTES : LINE_BYTES;
      for (const { path, item, isVariable } of lists) {
        if (isFlatStruct(item)) paths[path.replace(/\.$/, "")] = isVariable ? { soa: true, alignBytes } : { soa: true };
      }
      return { order, alignBytes, tailAlignBytes: alignBytes, paths };
    }
  }
}

// The smallest power of two that holds a small record, and a line for others.
function lineAlign({ sizeBytes }: LayoutNode): number {
  return Math.min(LINE_BYTES, 2 ** Math.ceil(Math.log2(sizeBytes)));
}

function isMatrixRow(item: LayoutNode): boolean {
  return item.kind === "list" && item.length !== undefined && item.item().kind === "number";
}

function isFlatStruct(item: LayoutNode): boolean {
  return item.kind === "struct" && item.fields.every(({ node }) => ["number", "bool", "enum"].includes(node.kind));
}

interface FoundList {
  /** With a dot behind it unless it is empty, so that `[]` can be put there. */
  readonly path: string;
  readonly item: LayoutNode;
  readonly isVariable: boolean;
}

function findLists(root: LayoutNode): FoundList[] {
  const found: FoundList[] = [];
  const seen = new Set<LayoutNode>();
  const visit = (node: LayoutNode, path: string): void => {
    if (seen.has(node)) return;
    seen.add(node);
    if (node.kind === "struct") for (const field of node.fields) visit(field.node, joinPath(path, field.name));
    else if (node.kind === "union") for (const member of node.members) visit(member.node, joinPath(path, member.name));
    else if (node.kind === "optional") visit(node.item, path);
    else if (node.kind === "map") visit(node.entries.item(), path);
    else if (node.kind === "list") {
      const item = node.item();
      // What is met again by reference has the options of the place where it was met first.
      if (!seen.has(item)) {
        found.push({ path: path === "" ? "" : `${path}.`, item, isVariable: node.length === undefined });
        visit(item, joinPath(path, "[]"));
      }
    }
  };
  visit(root, "");
  return found;
}
