// double_double_matmul: batched matrix products of pairs of float64 tensors, [batch, m, k] times [batch, k, n], in
// double-double (precision/double_double.ts). Each element's terms are added one after the other in order of k, so
// that the bits depend neither on the width of vectors nor on the number of threads. Vectors run along n. Left out:
// register blocks and packed operands; the arithmetic takes fifty times what its loads do. In f80 or f128, on targets
// that have it (precision/wide.ts), an element is rounded to a pair once.

import type { Tensor, TensorType } from "../graph.ts";
import { emit } from "../graph.ts";
import { loopType } from "../loop/ir.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import type { LoopValue, WideFloat } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { NUMBER_ARITHMETIC, loopArithmetic } from "../precision/arithmetic.ts";
import { DoubleDouble } from "../precision/double_double.ts";
import type { Pair } from "../precision/double_double.ts";
import type { ExtendedFormat } from "../precision/wide.ts";
import { WideFunctions } from "../precision/wide.ts";
import { add } from "./add.ts";
import type { TensorPair } from "./double_double.ts";
import type { WideAttrs } from "./double_double.ts";
import { normalisedPairs, requirePairs, wideAttrs, wideFormat } from "./double_double.ts";
import { laneWidths } from "./kernels/lanes.ts";
import { matmul } from "./matmul.ts";
import { splat } from "./splat.ts";

export const doubleDoubleMatmulOp: OpDef<WideAttrs> = {
  name: "double_double_matmul",
  summary: "hi + lo = sum over k of (a_hi + a_lo)[p, i, k] (b_hi + b_lo)[p, k, j] to about 106 bits",
  infer(inputs) {
    requirePairs("double_double_matmul", inputs, 2);
    const [a, , b] = inputs as [TensorType, TensorType, TensorType];
    const ranks = a.shape.length === 3 && b.shape.length === 3;
    requireShape(ranks, "double_double_matmul", "takes [batch, m, k] and [batch, k, n]", inputs, "reshape them");
    requireShape(a.shape[0] === b.shape[0], "double_double_matmul", "batch dimensions differ", inputs);
    requireShape(a.shape[2] === b.shape[1], "double_double_matmul", "inner dimensions differ", inputs);
    const type: TensorType = { dtype: "f64", shape: [a.shape[0]!, a.shape[1]!, b.shape[2]!] };
    return [type, type];
  },
  evaluate([aHi, aLo, bHi, bLo], _attrs, [type]) {
    const on = new DoubleDouble(NUMBER_ARITHMETIC);
    const [batch, m, n] = type!.shape as [number, number, number];
    const inner = aHi!.type.shape[2]!;
    const results = [new Float64Array(batch * m * n), new Float64Array(batch * m * n)];
    for (let to = 0; to < batch * m * n; to++) {
      const [column, row] = [to % n, Math.floor(to / n)];
      const p = Math.floor(row / m);
      let sum = on.number(0);
      for (let l = 0; l < inner; l++) {
        const [i, j] = [row * inner + l, (p * inner + l) * n + column];
        const a = { hi: aHi!.data[i]!, lo: aLo!.data[i]! };
        sum = on.add(sum, on.mul(a, { hi: bHi!.data[j]!, lo: bLo!.data[j]! }));
      }
      results[0]![to] = sum.hi;
      results[1]![to] = sum.lo;
    }
    return results.map((data) => ({ type: type!, data }));
  },
  derivative: {
    kind: "expand",
    expand([aHi, aLo, bHi, bLo]) {
      const y = matmul(add(aHi!, aLo as never) as Tensor<readonly number[], "f64">, add(bHi!, bLo as never) as never);
      return [y, splat(0, y.shape, "f64")];
    },
  },
  lowering: { kind: "kernel", lower: lowerProduct },
  sample(draw) {
    const [batch, m, n, k] = [draw.int(1, 3), draw.int(1, 5), draw.int(1, 11), draw.int(1, 9)];
    const a: TensorType = { dtype: "f64", shape: [batch, m, k] };
    const b: TensorType = { dtype: "f64", shape: [batch, k, n] };
    return { inputs: [a, a, b, b], attrs: {}, prepare: normalisedPairs };
  },
};

function lowerProduct(context: LowerContext, attrs: WideAttrs): void {
  const format = wideFormat(context, attrs);
  const [batch, m, n] = context.node.results[0]!.shape as [number, number, number];
  const inner = context.node.inputs[0]!.shape[2]!;
  const rows = batch * m;
  if (rows * n === 0) return;
  const work = rows * n * inner * 52;
  const buffers = [0, 1, 2, 3].map((i) => context.input(i)).concat(context.result(0), context.result(1));
  const name = `${format ?? "double_double"}_matmul`;
  // A chunk is one row of the result.
  context.call(name, rows, work, buffers, (k, [aHi, aLo, bHi, bLo, yHi, yLo]) => {
    const row = k.chunk;
    const matrix = k.mul(k.div(row, k.index(m)), k.index(inner * n * 8));
    const a = { hi: k.offset(aHi!, row, inner * 8), lo: k.offset(aLo!, row, inner * 8) };
    const b = { hi: k.add(bHi!, matrix), lo: k.add(bLo!, matrix) };
    const y = { hi: k.offset(yHi!, row, n * 8), lo: k.offset(yLo!, row, n * 8) };
    let at: LoopValue = k.index(0);
    let done = 0;
    for (const lanes of format === undefined ? laneWidths(context.lanes / 2) : [1]) {
      const stop = k.index(n - ((n - done) % lanes));
      done = n - ((n - done) % lanes);
      const type = loopType("f64", lanes);
      k.loop(at, stop, lanes, (column) => {
        const left = (base: LoopValue, l: LoopValue): LoopValue => k.loadSplat(type, k.offset(base, l, 8));
        const right = (base: LoopValue, l: LoopValue): LoopValue =>
          k.load(type, k.offset(k.offset(base, l, n * 8), column, 8));
        const terms: Terms = (l) => [
          { hi: left(a.hi, l), lo: left(a.lo, l) },
          { hi: right(b.hi, l), lo: right(b.lo, l) },
        ];
        const sum = format === undefined ? pairDot(k, lanes, inner, terms) : wideDot(k, format, inner, terms);
        k.store(sum.hi, k.offset(y.hi, column, 8));
        k.store(sum.lo, k.offset(y.lo, column, 8));
      });
      at = stop;
    }
  });
}

/** The factors of term `l` of an element. */
type Terms = (l: LoopValue) => readonly [Pair<LoopValue>, Pair<LoopValue>];

function pairDot(k: KernelBuilder, lanes: number, inner: number, terms: Terms): Pair<LoopValue> {
  const on = new DoubleDouble(loopArithmetic(k, lanes));
  const zero = k.constant(loopType("f64", lanes), 0);
  const [hi, lo] = k.for(0, inner, 1, [zero, zero], (l, [sumHi, sumLo]) => {
    const sum = on.add({ hi: sumHi!, lo: sumLo! }, on.mul(...terms(l)));
    return [sum.hi, sum.lo];
  });
  return { hi: hi!, lo: lo! };
}

function wideDot(k: KernelBuilder, format: WideFloat, inner: number, terms: Terms): Pair<LoopValue> {
  const on = new WideFunctions(k, format);
  const [sum] = k.for(0, inner, 1, [on.constant(0)], (l, [before]) => {
    const [a, b] = terms(l);
    return [on.add(before!, on.mul(on.fromPair(a), on.fromPair(b)))];
  });
  return on.toPair(sum!);
}

/**
 * The products of pairs of float64 tensors [batch, m, k] and [batch, k, n]. In f80 or f128 on targets that have them;
 * elsewhere, and by the interpreter, in double-double.
 */
export function doubleDoubleMatmul(a: TensorPair, b: TensorPair, format: ExtendedFormat = "double-double"): TensorPair {
  const [hi, lo] = emit(doubleDoubleMatmulOp, [a.hi, a.lo, b.hi, b.lo], wideAttrs(format));
  return { hi: hi!, lo: lo! };
}
