// Batching of ops that index with numbers known at run time. Where every example has its own index, tables of all
// examples become one, and the indices move by the rows before theirs. An index outside is then kept inside, as
// compiled programs do anyway; only the reference's refusal is lost.

import type { Shape } from "@fidelity/units";
import type { Node, Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { add } from "../ops/add.ts";
import { broadcastTo } from "../ops/broadcast.ts";
import { gather } from "../ops/gather.ts";
import { iota } from "../ops/iota.ts";
import { le } from "../ops/le.ts";
import { logicalAnd } from "../ops/logical_and.ts";
import { max } from "../ops/max.ts";
import { min } from "../ops/min.ts";
import { mul } from "../ops/mul.ts";
import { reshape } from "../ops/reshape.ts";
import { scatterAddOp } from "../ops/scatter_add.ts";
import { select } from "../ops/select.ts";
import { sub } from "../ops/sub.ts";
import { elementCount } from "../storage.ts";
import type { Batched } from "./batch.ts";
import { asBatched, everyExample, moveAxis } from "./batch.ts";

type Integers = Tensor<Shape, "i32">;

function clamp(index: Integers, last: number): Integers {
  return min(max(index, 0), last) as Integers;
}

/** The example's number times `rows`, as [size, 1, ...] of `rank` axes. */
function firstRows(size: number, rows: number, rank: number): Integers {
  return reshape(mul(iota([size]), rows) as Integers, [size, ...Array<number>(rank - 1).fill(1)]);
}

/** Rows of one table by ids of [size, ids...], kept within each example's own `rows`. */
function rowsOf(tables: Tensor, ids: Integers): Tensor {
  const [size, rows, columns] = tables.shape as [number, number, number];
  const table = reshape(tables, [size * rows, columns]);
  return gather(table, add(clamp(ids, rows - 1), firstRows(size, rows, ids.rank) as never) as Integers);
}

export function batchGather(inputs: readonly Batched[], size: number): readonly Batched[] {
  const [table, ids] = inputs as readonly [Batched, Batched];
  if (!table.batched) return asBatched([gather(table.value, ids.value as Integers)]);
  return asBatched([rowsOf(table.value, everyExample([ids], size)[0] as Integers)]);
}

export function batchScatterAdd(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const rows = Number(node.attrs["rows"]);
  const [ids, updates] = everyExample(inputs, size) as [Integers, Tensor];
  const shifted = add(clamp(ids, rows - 1), firstRows(size, rows, ids.rank) as never) as Integers;
  const sums = emitOne(scatterAddOp, [shifted, updates], { rows: size * rows });
  return asBatched([reshape(sums, [size, rows, sums.shape[1]!])]);
}

export function batchScatterRows(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const [x, ids, rows] = everyExample(inputs, size) as [Tensor, Integers, Tensor];
  const [count, columns] = [x.shape[1]!, x.shape[2]!];
  const shifted = add(clamp(ids, count - 1), firstRows(size, count, ids.rank) as never) as Integers;
  const merged = emitOne(node.op, [reshape(x, [size * count, columns]), shifted, rows], node.attrs);
  return asBatched([reshape(merged, x.shape)]);
}

/** Rows of all examples as rows of one batch. */
function foldRows(x: Tensor): Tensor {
  return reshape(x, [x.shape[0]! * x.shape[1]!, ...x.shape.slice(2)]);
}

export function batchExpertLinear(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const weight = inputs[1]!;
  const [x, ids] = everyExample([inputs[0]!, inputs[2]!], size) as [Tensor, Integers];
  const experts = node.inputs[1]!.shape[0]!;
  const own = (): Integers => add(clamp(ids, experts - 1), firstRows(size, experts, 3) as never) as Integers;
  const matrices = weight.batched ? foldRows(weight.value) : weight.value;
  const y = emitOne(node.op, [foldRows(x), matrices, foldRows(weight.batched ? own() : ids)], node.attrs);
  return asBatched([reshape(y, [...ids.shape, y.shape[2]!])]);
}

export function batchExpertOuter(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const [a, b, ids] = everyExample(inputs, size) as [Tensor, Tensor, Integers];
  const experts = Number(node.attrs["experts"]);
  const own = add(clamp(ids, experts - 1), firstRows(size, experts, 3) as never) as Integers;
  const y = emitOne(node.op, [foldRows(a), foldRows(b), foldRows(own)], { experts: size * experts });
  return asBatched([reshape(y, [size, experts, ...y.shape.slice(1)])]);
}

/** [size, dim, everything else] of a tensor of examples, with `axis` (counted without examples) in the middle. */
function alongAxis(x: Tensor, axis: number): { table: Tensor; rest: number[] } {
  const moved = moveAxis(x, axis + 1, 1);
  const rest = moved.shape.slice(2);
  return { table: reshape(moved, [moved.shape[0]!, moved.shape[1]!, elementCount(rest)]), rest };
}

/** start[example] + 0, 1, ..., count - 1: [size, count]. */
function runFrom(start: Integers, size: number, count: number): Integers {
  return add(reshape(start, [size, 1]), reshape(iota([count]) as Integers, [1, count]) as never) as Integers;
}

export function batchDynamicSlice(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const [x, start] = inputs as readonly [Batched, Batched];
  const [axis, count] = [Number(node.attrs["axis"]), Number(node.attrs["size"])];
  if (!start.batched) return asBatched([emitOne(node.op, [x.value, start.value], { axis: axis + 1, size: count })]);
  const { table, rest } = alongAxis(everyExample([x], size)[0]!, axis);
  const first = clamp(start.value as Integers, table.shape[1]! - count);
  const rows = rowsOf(table, runFrom(first, size, count));
  return asBatched([moveAxis(reshape(rows, [size, count, ...rest]), 1, axis + 1)]);
}

export function batchDynamicUpdateSlice(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const start = inputs[2]!;
  const axis = Number(node.attrs["axis"]);
  const [x, update] = everyExample(inputs.slice(0, 2), size) as [Tensor, Tensor];
  if (!start.batched) return asBatched([emitOne(node.op, [x, update, start.value], { axis: axis + 1 })]);
  const target = alongAxis(x, axis);
  const source = alongAxis(update, axis).table;
  const [dim, count] = [target.table.shape[1]!, source.shape[1]!];
  // Where in the update each index of x lies; outside of it x stays.
  const first = clamp(start.value as Integers, dim - count);
  const place = sub(reshape(iota([dim]) as Integers, [1, dim]), reshape(first, [size, 1]) as never) as Integers;
  const inside = logicalAnd(le(0, place) as never, le(place, count - 1) as never) as Tensor<Shape, "bool">;
  const mask = broadcastTo(reshape(inside, [size, dim, 1]), target.table.shape);
  const merged = select(mask as Tensor<Shape, "bool">, rowsOf(source, place), target.table as never) as Tensor;
  return asBatched([moveAxis(reshape(merged, [size, dim, ...target.rest]), 1, axis + 1)]);
}
