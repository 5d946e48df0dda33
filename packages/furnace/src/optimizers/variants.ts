// How an optimiser that treats each element by itself takes a gradient that is no tensor, and never has all of it:
//
// - by rows: a sparse gradient updates the rows that it names, and those of the moments. The other rows stay as they
//   are, so that their momentum does not move them and their moments do not decay until they are named again (as in
//   TensorFlow's LazyAdam and PyTorch's SparseAdam; bias correction counts all steps). The work is that of the rows.
// - by blocks: a loop over blocks of rows of parameter and moments makes of the gradient what belongs to the block.
//   That is exactly the update of a dense gradient, for all variants; the work is that of the whole matrix.
//
// Either way parameter and moments are written where they lie, if the program is compiled with them donated.

import { gather, iota, mul, reshape, scan, scatterRows } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { blockRows } from "../gradients/blocks.ts";
import type { Float, Gradient, Integers, Sparse } from "../gradients/gradient.ts";
import { materialise, materialiseRows, mergeRows } from "../gradients/materialise.ts";
import type { LeafStep, LeafUpdate } from "./optimizer.ts";

/** Whether rows that a sparse gradient does not name are updated, as those of a gradient of zero, or left alone. */
export type RowsMode = "exact" | "lazy";

/** A parameter with what belongs to it, before its gradient is a tensor. */
export interface VariantUpdate extends Omit<LeafUpdate, "grad"> {
  readonly gradient: Gradient;
}

/** The new value and moments, by the step of an elementwise optimiser. */
export function updateVariant(step: LeafStep, leaf: VariantUpdate, mode: RowsMode): readonly Tensor[] {
  const { gradient, shape } = leaf;
  switch (gradient.kind) {
    case "zero":
    case "dense":
    case "ternary":
      return step({ ...leaf, grad: materialise(gradient) });
    case "sparse":
      if (mode === "lazy") return updateRows(step, leaf, gradient);
      return updateBlocks(step, leaf, blockRows(shape, gradient.indices.shape[0]));
    case "lowRank":
    case "diagonal":
    case "structured":
      return updateBlocks(step, leaf, blockRows(shape));
  }
}

function updateRows(step: LeafStep, { path, shape, value, moments }: VariantUpdate, gradient: Sparse): Tensor[] {
  const { indices, values, last } = mergeRows(gradient);
  const rowsOf = (x: Float): Float => gather(x, indices) as Tensor as Float;
  // Each place of a row gets all of its gradient: rows that are written several times are the same each time.
  const grad = gather(values, last) as Tensor as Float;
  const updated = step({ path, shape, value: rowsOf(value), grad, moments: moments.map(rowsOf) });
  return [value, ...moments].map((x, i) => scatterRows(x, indices, updated[i] as Float));
}

function updateBlocks(step: LeafStep, leaf: VariantUpdate, rows: number | undefined): readonly Tensor[] {
  const { path, shape, value, moments, gradient } = leaf;
  if (rows === undefined) return step({ ...leaf, grad: materialise(gradient) });
  const blocks = shape[0]! / rows;
  const body = (_none: readonly [], { start, tensors }: { start: Tensor; tensors: readonly Tensor[] }) => {
    const [block, ...own] = tensors as readonly Float[];
    const grad = materialiseRows(gradient, start as Integers, rows);
    return { carry: [] as const, y: step({ path, shape, value: block!, grad, moments: own }) };
  };
  const stacked = [value, ...moments].map((x) => reshape(x, [blocks, rows, shape[1]!]) as Tensor);
  const starts = mul(iota([blocks]), rows) as Tensor;
  const { ys } = scan(body as never, [], { start: starts, tensors: stacked }) as { readonly ys: readonly Tensor[] };
  return ys.map((y) => reshape(y, shape));
}
