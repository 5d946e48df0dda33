// sum_exact: the sum along the last axis, which stays with size 1, computed exactly and rounded once to the dtype of
// its terms (precision/exact_sum.ts). The result is the same for every order of the terms.

import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { isFloat } from "../dtype.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { LoopAccumulator, TERMS_MAX, exactSum } from "../precision/exact_sum.ts";
import { F64, loopType } from "../loop/ir.ts";
import { elementCount } from "../storage.ts";
import { broadcastTo } from "./broadcast.ts";
import type { NoAttrs } from "./elementwise.ts";
import { normalizeAxis, sampleShape } from "./elementwise.ts";
import { reducedShape } from "./reduce.ts";
import { reshape } from "./reshape.ts";
import { transpose } from "./transpose.ts";

export const sumExactOp: OpDef<NoAttrs> = {
  name: "sum_exact",
  summary: "y = sum over j of x[..., j], rounded once",
  infer(inputs) {
    const x = inputs[0]!;
    requireShape(isFloat(x.dtype), "sum_exact", `does not work on ${x.dtype}`, inputs, "cast it to f32");
    requireShape(x.shape.length > 0, "sum_exact", "a scalar has no last axis", inputs, "reshape it to [1]");
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] }];
  },
  evaluate([x], _attrs, [type]) {
    const columns = x!.type.shape.at(-1)!;
    const data = new Float64Array(elementCount(type!.shape));
    const bits = type!.dtype === "f32" ? 24 : 53;
    data.forEach((_zero, row) => {
      data[row] = exactSum(x!.data.subarray(row * columns, (row + 1) * columns), undefined, bits);
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx]) => [emitOne(sumExactOp, [dx!], {})],
    transpose: ({ inputs: [x] }, [ct]) => [broadcastTo(ct!, x!.shape)],
  },
  lowering: { kind: "kernel", lower: lowerSumExact },
  simplify: ([x]) => (x!.shape.at(-1) === 1 ? [x!] : undefined),
  sample(draw) {
    // Of float32 the result is rounded, which differences do not see through.
    return { inputs: [{ dtype: "f64", shape: [...sampleShape(draw).slice(0, -1), draw.int(1, 30)] }], attrs: {} };
  },
};

function lowerSumExact(context: LowerContext): void {
  const [x] = context.node.inputs;
  const kind = x!.dtype as "f32" | "f64";
  const bytes = kind === "f64" ? 8 : 4;
  const columns = x!.shape.at(-1)!;
  const rows = elementCount(context.node.results[0]!.shape);
  if (rows === 0) return;
  const rowsPerChunk = Math.max(1, Math.ceil(context.chunkElements / 8 / Math.max(columns, 1)));
  const chunks = Math.ceil(rows / rowsPerChunk);
  const buffers = [context.input(0), context.result(0)];
  context.call(`sum_exact_${kind}`, chunks, rows * (columns * 8 + 500), buffers, (k, [from, to]) => {
    const sum = new LoopAccumulator(k);
    const first = k.mul(k.chunk, k.index(rowsPerChunk));
    const end = k.min(k.index(rows), k.add(first, k.index(rowsPerChunk)));
    k.loop(first, end, 1, (row) => {
      const start = k.offset(from!, row, columns * bytes);
      const none = sum.empty();
      const block = (low: typeof row, high: typeof row | number, range: typeof none): typeof none => {
        const [newLow, newHigh] = k.for(low, high, 1, [range.low, range.high], (i, [a, b]) => {
          const value = k.convert(F64, k.load(loopType(kind), k.offset(start, i, bytes)));
          const added =
            kind === "f64" ? sum.add(value, { low: a!, high: b! }) : sum.addShort(value, { low: a!, high: b! });
          return [added.low, added.high];
        });
        return sum.carry({ low: newLow!, high: newHigh! });
      };
      // Two bins take the halves of a float64.
      const [low, high] = k.for(0, columns, TERMS_MAX / 2, [none.low, none.high], (at, [a, b]) => {
        const stop = k.min(k.add(at, k.index(TERMS_MAX / 2)), k.index(columns));
        const after = block(at, stop, { low: a!, high: b! });
        return [after.low, after.high];
      });
      k.store(sum.round({ low: low!, high: high! }, kind), k.offset(to!, row, bytes));
    });
  });
}

/**
 * The sum of a float tensor along `axes` (all by default), rounded once: the same bits for every order of its terms
 * and every number of threads.
 */
export function sumExact(x: Tensor, axes?: readonly number[], keepDims = false): Tensor {
  const all = x.shape.map((_dim, axis) => axis);
  const over = (axes ?? all).map((axis) => normalizeAxis("sum_exact", x, axis));
  const kept = all.filter((axis) => !over.includes(axis));
  const moved = transpose(x as Tensor<readonly number[]>, [...kept, ...over] as never) as Tensor;
  const count = elementCount(over.map((axis) => x.shape[axis]!));
  const sums = emitOne(sumExactOp, [reshape(moved, [...kept.map((axis) => x.shape[axis]!), count])], {});
  const shape = keepDims ? x.shape.map((dim, axis) => (over.includes(axis) ? 1 : dim)) : reducedShape(x.shape, over);
  return reshape(sums, shape);
}
