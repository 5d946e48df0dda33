// double_double_sum: sums along the last axis, which stays with size 1, in double-double (precision/double_double.ts).
// Element i of a row goes to partial sum i modulo 8, and the partial sums are added in order at the end: an order that
// vectors of 2, 4 and 8 lanes keep, so that the bits do not depend on the target. In f80 or f128, on targets that have
// it (precision/wide.ts), a row is added in order and rounded to a pair once.

import type { Tensor, TensorType } from "../graph.ts";
import { emit } from "../graph.ts";
import { loopType } from "../loop/ir.ts";
import type { LoopValue, WideFloat } from "../loop/ir.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { NUMBER_ARITHMETIC, loopArithmetic } from "../precision/arithmetic.ts";
import { DoubleDouble } from "../precision/double_double.ts";
import type { Pair } from "../precision/double_double.ts";
import type { ExtendedFormat } from "../precision/wide.ts";
import { WideFunctions } from "../precision/wide.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import type { TensorPair } from "./double_double.ts";
import type { WideAttrs } from "./double_double.ts";
import { normalisedPairs, requirePairs, wideAttrs, wideFormat } from "./double_double.ts";
import { sampleShape } from "./elementwise.ts";
import { reduceSum } from "./reduce_sum.ts";
import { splat } from "./splat.ts";

/** Partial sums of a row: as many as the widest vectors have lanes. */
const PARTIAL_SUMS = 8;

export const doubleDoubleSumOp: OpDef<WideAttrs> = {
  name: "double_double_sum",
  summary: "hi + lo = sum over j of (x_hi + x_lo)[..., j] to about 106 bits",
  infer(inputs) {
    requirePairs("double_double_sum", inputs, 1);
    const { shape } = inputs[0]!;
    requireShape(shape.length > 0, "double_double_sum", "a scalar has no last axis", inputs, "reshape it to [1]");
    const type: TensorType = { dtype: "f64", shape: [...shape.slice(0, -1), 1] };
    return [type, type];
  },
  evaluate([hi, lo], _attrs, [type]) {
    const on = new DoubleDouble(NUMBER_ARITHMETIC);
    const rows = elementCount(type!.shape);
    const columns = hi!.type.shape.at(-1)!;
    const results = [new Float64Array(rows), new Float64Array(rows)];
    for (let row = 0; row < rows; row++) {
      const sums = Array.from({ length: PARTIAL_SUMS }, () => on.number(0));
      for (let i = 0; i < columns; i++) {
        const at = row * columns + i;
        sums[i % PARTIAL_SUMS] = on.add(sums[i % PARTIAL_SUMS]!, { hi: hi!.data[at]!, lo: lo!.data[at]! });
      }
      const total = sums.reduce((a, b) => on.add(a, b));
      results[0]![row] = total.hi;
      results[1]![row] = total.lo;
    }
    return results.map((data) => ({ type: type!, data }));
  },
  derivative: {
    kind: "expand",
    expand([hi, lo]) {
      const y = reduceSum(add(hi!, lo as never) as Tensor, -1, true) as Tensor;
      return [y, splat(0, y.shape, "f64")];
    },
  },
  lowering: { kind: "kernel", lower: lowerSum },
  sample(draw) {
    const shape = sampleShape(draw);
    const type: TensorType = { dtype: "f64", shape: [...shape.slice(0, -1), draw.int(1, 37)] };
    return { inputs: [type, type], attrs: {}, prepare: normalisedPairs };
  },
};

function lowerSum(context: LowerContext, attrs: WideAttrs): void {
  const format = wideFormat(context, attrs);
  const [hi] = context.node.inputs;
  const columns = hi!.shape.at(-1)!;
  const rows = elementCount(hi!.shape) / Math.max(columns, 1);
  if (rows === 0) return;
  const rowsPerChunk = Math.max(1, Math.ceil(context.chunkElements / 8 / Math.max(columns, 1)));
  const buffers = [context.input(0), context.input(1), context.result(0), context.result(1)];
  const chunks = Math.ceil(rows / rowsPerChunk);
  context.call(`${format ?? "double_double"}_sum`, chunks, rows * columns * 22, buffers, (k, [xHi, xLo, yHi, yLo]) => {
    const scratch = format === undefined ? k.allocateScratch(2 * PARTIAL_SUMS * 8) : k.scratch;
    const first = k.mul(k.chunk, k.index(rowsPerChunk));
    const end = k.min(k.index(rows), k.add(first, k.index(rowsPerChunk)));
    k.loop(first, end, 1, (row) => {
      const from = { hi: k.offset(xHi!, row, columns * 8), lo: k.offset(xLo!, row, columns * 8) };
      const total =
        format === undefined
          ? rowSum(k, from, columns, scratch, Math.min(context.lanes / 2, PARTIAL_SUMS))
          : wideRowSum(k, from, columns, format);
      k.store(total.hi, k.offset(yHi!, row, 8));
      k.store(total.lo, k.offset(yLo!, row, 8));
    });
  });
}

/** Whole blocks of eight in vectors; the partial sums then lie in scratch memory for the rest of the row. */
function rowSum(
  k: KernelBuilder,
  from: Pair<LoopValue>,
  columns: number,
  scratch: LoopValue,
  lanes: number,
): Pair<LoopValue> {
  const type = loopType("f64", lanes);
  const wide = new DoubleDouble(loopArithmetic(k, lanes));
  const vectors = PARTIAL_SUMS / lanes;
  const whole = columns - (columns % PARTIAL_SUMS);
  const zero = k.constant(type, 0);
  const sums = k.for(0, whole, PARTIAL_SUMS, new Array<LoopValue>(2 * vectors).fill(zero), (i, carried) =>
    Array.from({ length: vectors }, (_, v) => {
      const load = (base: LoopValue): LoopValue => k.load(type, k.offset(base, i, 8), v * lanes * 8);
      const next = wide.add({ hi: carried[2 * v]!, lo: carried[2 * v + 1]! }, { hi: load(from.hi), lo: load(from.lo) });
      return [next.hi, next.lo];
    }).flat(),
  );
  for (let v = 0; v < vectors; v++) {
    k.store(sums[2 * v]!, scratch, v * lanes * 8);
    k.store(sums[2 * v + 1]!, scratch, (PARTIAL_SUMS + v * lanes) * 8);
  }
  const single = loopType("f64");
  const narrow = new DoubleDouble(loopArithmetic(k, 1));
  const partial = (i: number): Pair<LoopValue> => {
    return { hi: k.load(single, scratch, i * 8), lo: k.load(single, scratch, (PARTIAL_SUMS + i) * 8) };
  };
  let total: Pair<LoopValue> | undefined;
  for (let i = 0; i < PARTIAL_SUMS; i++) {
    let sum = partial(i);
    if (i < columns % PARTIAL_SUMS) {
      const offset = (whole + i) * 8;
      sum = narrow.add(sum, { hi: k.load(single, from.hi, offset), lo: k.load(single, from.lo, offset) });
    }
    total = total === undefined ? sum : narrow.add(total, sum);
  }
  return total!;
}

function wideRowSum(k: KernelBuilder, from: Pair<LoopValue>, columns: number, format: WideFloat): Pair<LoopValue> {
  const on = new WideFunctions(k, format);
  const load = (base: LoopValue, i: LoopValue): LoopValue => k.load(loopType("f64"), k.offset(base, i, 8));
  const [sum] = k.for(0, columns, 1, [on.constant(0)], (i, [before]) => {
    return [on.add(before!, on.fromPair({ hi: load(from.hi, i), lo: load(from.lo, i) }))];
  });
  return on.toPair(sum!);
}

/**
 * The sum of a pair of float64 tensors along the last axis, which stays with size 1. In f80 or f128 on targets that
 * have them; elsewhere, and by the interpreter, in double-double.
 */
export function doubleDoubleSum({ hi, lo }: TensorPair, format: ExtendedFormat = "double-double"): TensorPair {
  const [sumHi, sumLo] = emit(doubleDoubleSumOp, [hi, lo], wideAttrs(format));
  return { hi: sumHi!, lo: sumLo! };
}
