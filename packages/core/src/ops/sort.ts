// sort: the numbers of each row (along the last axis) in order, and where they were. Stable: equal numbers keep their
// order. NaN comes last, in either direction. Compiled, each row is sorted by merging runs from the bottom up.
// The derivative moves with the numbers: that of a permutation which does not change in a small neighbourhood.

import type { Shape } from "@fidelity/units";
import { DTYPES } from "../dtype.ts";
import type { Dtype } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emit } from "../graph.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import { I32, INDEX } from "../loop/ir.ts";
import type { LoopValue } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import { normalizeAxis, sampleShape } from "./elementwise.ts";
import { gather } from "./gather.ts";
import { iota } from "./iota.ts";
import { elementLoopType } from "./loop-types.ts";
import { mul } from "./mul.ts";
import { reshape } from "./reshape.ts";
import { sliceAxis } from "./slice.ts";
import { transpose } from "./transpose.ts";

export type SortAttrs = { readonly descending: boolean };

/** Results: the numbers in order, and their indices along the last axis, i32. */
export const sortOp: OpDef<SortAttrs> = {
  name: "sort",
  summary: "y = x in order along the last axis, i = where each was",
  infer(inputs) {
    const x = inputs[0]!;
    const sortable = x.dtype === "f32" || x.dtype === "f64" || x.dtype === "i32";
    requireShape(sortable, "sort", `does not work on ${x.dtype}`, inputs, "cast it to f32");
    requireShape(x.shape.length > 0, "sort", "a scalar has no last axis", inputs);
    return [x, { dtype: "i32", shape: x.shape }];
  },
  evaluate([x], { descending }, [type, indexType]) {
    const columns = type!.shape[type!.shape.length - 1]!;
    const data = new Float64Array(x!.data.length);
    const indices = new Float64Array(x!.data.length);
    for (let at = 0; at < data.length; at += columns) {
      const row = x!.data.subarray(at, at + columns);
      const order = Array.from(row.keys()).sort((a, b) => compareNumbers(row[a]!, row[b]!, descending) || a - b);
      order.forEach((from, to) => {
        data[at + to] = row[from]!;
        indices[at + to] = from;
      });
    }
    return [
      { type: type!, data },
      { type: indexType!, data: indices },
    ];
  },
  derivative: {
    kind: "rules",
    jvp: ({ results: [, indices] }, [dx]) => [takeAlongRows(dx!, indices!), undefined],
  },
  lowering: { kind: "kernel", lower: lowerSort },
  sample(draw) {
    const shape = sampleShape(draw);
    return { inputs: [{ dtype: "f32", shape }], attrs: { descending: draw.int(0, 1) === 1 } };
  },
};

function compareNumbers(a: number, b: number, descending: boolean): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a === b ? 0 : a < b !== descending ? -1 : 1;
}

/** x[..., indices[..., j]] for indices along the last axis, of the shape of x up to there. */
export function takeAlongRows(x: Tensor, indices: Tensor): Tensor {
  const columns = x.shape[x.rank - 1]!;
  const rows = elementCount(x.shape.slice(0, -1));
  const count = indices.shape[indices.rank - 1]!;
  const first = reshape(mul(iota([rows]), columns) as Tensor<Shape, "i32">, [rows, 1]);
  const ids = add(reshape(indices as Tensor<Shape, "i32">, [rows, count]), first as never) as Tensor<Shape, "i32">;
  return reshape(gather(reshape(x, [rows * columns, 1]), ids), indices.shape);
}

/** Numbers and their indices, one array each. */
interface Run {
  readonly values: LoopValue;
  readonly indices: LoopValue;
}

function lowerSort(context: LowerContext, { descending }: SortAttrs): void {
  const x = context.node.inputs[0]!;
  const columns = x.shape[x.rank - 1]!;
  const count = elementCount(x.shape);
  if (count === 0) return;
  const bytes = DTYPES[x.dtype].elementBytes!;
  const passes = Math.ceil(Math.log2(columns));
  const buffers = [context.input(0), context.result(0), context.result(1)];
  const spare = passes > 0 ? [context.temporary(count * bytes), context.temporary(count * 4)] : [];
  const rowsPerChunk = Math.max(1, Math.floor(1024 / columns));
  const rows = count / columns;
  const work = count * 8 * (passes + 1);
  context.call("sort", Math.ceil(rows / rowsPerChunk), work, [...buffers, ...spare], (k, addresses) => {
    const type = elementLoopType(x.dtype, 1);
    const first = k.mul(k.chunk, k.index(rowsPerChunk));
    k.loop(first, k.min(k.add(first, k.index(rowsPerChunk)), k.index(rows)), 1, (row) => {
      const at = (base: LoopValue, size: number): LoopValue => k.offset(base, row, columns * size);
      const [source, values, indices, spareValues, spareIndices] = addresses;
      const result: Run = { values: at(values!, bytes), indices: at(indices!, 4) };
      const other = passes > 0 ? { values: at(spareValues!, bytes), indices: at(spareIndices!, 4) } : result;
      // The last pass ends in the results.
      const place = (pass: number): Run => ((passes - pass) % 2 === 0 ? result : other);
      const start = place(0);
      k.loop(0, columns, 1, (i) => {
        k.store(k.load(type, k.offset(at(source!, bytes), i, bytes)), k.offset(start.values, i, bytes));
        k.store(k.convert(I32, i), k.offset(start.indices, i, 4));
      });
      for (let pass = 0; pass < passes; pass++) {
        mergePass(k, place(pass), place(pass + 1), { columns, width: 2 ** pass, bytes, descending, dtype: x.dtype });
      }
    });
  });
}

/** Merges neighbouring runs of `width` numbers from one place into another. */
function mergePass(
  k: KernelBuilder,
  from: Run,
  to: Run,
  options: { columns: number; width: number; bytes: number; descending: boolean; dtype: Dtype },
): void {
  const { columns, width, bytes, descending, dtype } = options;
  const type = elementLoopType(dtype, 1);
  const end = k.index(columns);
  const flag = (mask: LoopValue): LoopValue => k.select(mask, k.i32(1), k.i32(0));
  const and = (a: LoopValue, b: LoopValue): LoopValue => k.binary("and", a, b);
  const or = (a: LoopValue, b: LoopValue): LoopValue => k.binary("or", a, b);
  const load = (i: LoopValue): LoopValue => k.load(type, k.offset(from.values, i, bytes));
  k.loop(0, columns, 2 * width, (low) => {
    const middle = k.min(k.add(low, k.index(width)), end);
    const high = k.min(k.add(low, k.index(2 * width)), end);
    k.for(low, high, 1, [low, middle], (out, [i, j]) => {
      // Reads beyond a run's end are kept inside the row, and not used.
      const last = k.index(columns - 1);
      const [left, right] = [k.min(i!, last), k.min(j!, last)];
      const [a, b] = [load(left), load(right)];
      const isBefore = flag(k.compare(descending ? "gt" : "lt", b, a));
      const isNaN = (value: LoopValue): LoopValue => flag(k.compare("ne", value, value));
      const overtakes = dtype === "i32" ? isBefore : or(isBefore, and(isNaN(a), flag(k.compare("eq", b, b))));
      const stays = k.sub(k.i32(1), overtakes);
      const takesLeft = and(flag(k.compare("lt", i!, middle)), or(flag(k.compare("ge", j!, high)), stays));
      const isLeft = k.compare("ne", takesLeft, k.i32(0));
      k.store(k.select(isLeft, a, b), k.offset(to.values, out, bytes));
      const chosen = k.select(isLeft, left, right);
      k.store(k.load(I32, k.offset(from.indices, chosen, 4)), k.offset(to.indices, out, 4));
      const step = k.convert(INDEX, takesLeft);
      return [k.add(i!, step), k.add(j!, k.sub(k.index(1), step))];
    });
  });
}

export interface SortOptions {
  /** The last one by default; negative axes count from the end. */
  readonly axis?: number;
  /** The largest first; false by default. */
  readonly descending?: boolean;
}

type Sortable = "f32" | "f64" | "i32";

/** What `topK` and `sortWithIndices` give. */
export interface Sorted<S extends Shape, D extends Dtype> {
  readonly values: Tensor<S, D>;
  /** Where along the axis each value was. */
  readonly indices: Tensor<S, "i32">;
}

/** The numbers of `x` in order along an axis, with their indices. Stable; NaN comes last. */
export function sortWithIndices<S extends Shape, D extends Sortable>(
  x: Tensor<S, D>,
  { axis = -1, descending = false }: SortOptions = {},
): Sorted<S, D> {
  const at = normalizeAxis("sort", x, axis);
  const order = [...x.shape.keys()].filter((each) => each !== at);
  const back = order.toSpliced(at, 0, x.rank - 1).map((_axis, i) => (i === at ? x.rank - 1 : i < at ? i : i - 1));
  const moved = transpose(x, [...order, at] as never) as Tensor;
  const [values, indices] = emit(sortOp, [moved], { descending }).map((each) => transpose(each, back as never));
  return { values, indices } as unknown as Sorted<S, D>;
}

/** The numbers of `x` in order along an axis. Stable; NaN comes last. */
export function sort<S extends Shape, D extends Sortable>(x: Tensor<S, D>, options: SortOptions = {}): Tensor<S, D> {
  return sortWithIndices(x, options).values;
}

/** The indices that put `x` in order along an axis. */
export function argsort<S extends Shape>(x: Tensor<S, Sortable>, options: SortOptions = {}): Tensor<S, "i32"> {
  return sortWithIndices(x, options).indices;
}

/** The `count` largest numbers along the last axis, the largest first, with their indices. */
export function topK<D extends Sortable>(x: Tensor<Shape, D>, count: number): Sorted<readonly number[], D> {
  const types: TensorType[] = [x.type];
  const fits = Number.isInteger(count) && count >= 1 && x.rank > 0 && count <= x.shape[x.rank - 1]!;
  requireShape(fits, "topK", `cannot take ${count} numbers of the last axis`, types);
  const { values, indices } = sortWithIndices(x, { descending: true });
  return {
    values: sliceAxis(values, -1, 0, count) as Tensor<readonly number[], D>,
    indices: sliceAxis(indices, -1, 0, count) as Tensor<readonly number[], "i32">,
  };
}
