// canonicalise: one form for what can be written in several ways, so that later passes see fewer cases.
// - commutative operands in one order, which also lets hash-consing find more common subexpressions;
// - names for checkpoints are gone;
// - every reduction is over the last axis of [rows, columns], or over the middle axis of [outer, rows, columns];
//   a reduction of everything is done in two steps, so that the first can run in parallel and join its producers.

import type { Graph, Node, Tensor } from "@fidelity/core";
import { elementCount, emit, emitOne, reshape } from "@fidelity/core";
import type { Rewrite } from "./rewrite.ts";
import { deep, rewriteGraph } from "./rewrite.ts";

const COMMUTATIVE = new Set(["add", "mul", "maximum", "minimum", "eq"]);

/** Longest row of the first step of a full reduction. */
const ROW_LIMIT = 1024;
/** Tensors of one row up to this stay whole: one thread sums it in no time, and what reads the sum joins it. */
const WHOLE_ROW_MAX = 8192;

export function canonicalise(graph: Graph): Graph {
  const inner = deep(canonicalise);
  return rewriteGraph(graph, (node, inputs) => inner(node, inputs) ?? RULES[node.op.lowering.kind]?.(node, inputs));
}

const RULES: Partial<Record<Node["op"]["lowering"]["kind"], Rewrite>> = {
  alias: dropName,
  elementwise: sortOperands,
  reduce: splitReduction,
};

/** Names are for checkpoints, and derivatives have been taken by now. */
function dropName({ op }: Node, inputs: readonly Tensor[]): readonly Tensor[] | undefined {
  return op.name === "checkpoint_name" ? inputs : undefined;
}

function sortOperands(node: Node, inputs: readonly Tensor[]): readonly Tensor[] | undefined {
  const [a, b] = inputs;
  if (!COMMUTATIVE.has(node.op.name) || a === undefined || b === undefined || a.node.id <= b.node.id) return undefined;
  return emit(node.op, [b, a], node.attrs);
}

function splitReduction(node: Node, inputs: readonly Tensor[]): readonly Tensor[] {
  const axes = [...(node.attrs["axes"] as readonly number[])];
  let x = inputs[0]!;
  while (axes.length > 0) {
    // The trailing run of adjacent axes, until none is left.
    const last = axes.pop()!;
    let first = last;
    while (axes[axes.length - 1] === first - 1) first = axes.pop()!;
    const outer = elementCount(x.shape.slice(0, first));
    const rows = elementCount(x.shape.slice(first, last + 1));
    const columns = elementCount(x.shape.slice(last + 1));
    const shape = x.shape.map((dim, axis) => (axis >= first && axis <= last ? 1 : dim));
    x = reshape(columns === 1 ? reduceRows(node, x, outer, rows) : reduceMiddle(node, x, outer, rows, columns), shape);
  }
  return [x];
}

function reduceMiddle(node: Node, x: Tensor, outer: number, rows: number, columns: number): Tensor {
  return emitOne(node.op, [reshape(x, [outer, rows, columns])], { ...node.attrs, axes: [1] });
}

/** [outer, rows] to [outer, 1]; a single long row is folded first. */
function reduceRows(node: Node, x: Tensor, outer: number, rows: number): Tensor {
  const isOneRow = x.shape[x.rank - 1] === rows && rows <= WHOLE_ROW_MAX;
  if (outer > 1 || rows <= ROW_LIMIT || isOneRow)
    return emitOne(node.op, [reshape(x, [outer, rows])], { ...node.attrs, axes: [1] });
  const width = largestDivisor(rows, ROW_LIMIT, x.shape[x.rank - 1]!);
  if (width === 1) return emitOne(node.op, [reshape(x, [1, rows])], { ...node.attrs, axes: [1] });
  const partial = emitOne(node.op, [reshape(x, [rows / width, width])], { ...node.attrs, axes: [1] });
  return reduceRows(node, partial, 1, rows / width);
}

/**
 * `preferred` (the tensor's own row length, which keeps fusion possible) if it fits, else the largest divisor below.
 */
function largestDivisor(count: number, limit: number, preferred: number): number {
  if (preferred > 1 && preferred <= limit && count % preferred === 0) return preferred;
  for (let width = limit; width > 1; width--) if (count % width === 0) return width;
  return 1;
}
