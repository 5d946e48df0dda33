// double_double: elementwise functions of numbers that are the sum of two float64 tensors (hi, lo), about 106 bits;
// see precision/double_double.ts for the arithmetic. One op for all of them, `fn` says which. Inputs are [hi, lo] of
// each operand, results [hi, lo]. The reference and the kernels run the same algorithm, operation by operation, so
// values have the same bits on every target, for every width of vectors. With `format` they are computed in f80 or
// f128 (precision/wide.ts) on a target that has that, and as before where it does not. What is differentiated is the
// function of hi + lo, in float64: for derivatives in double-double, differentiate first and extend the derivative's
// graph (furnace's `doubleDouble`).

import type { Tensor, TensorType } from "../graph.ts";
import { emit, sameShape } from "../graph.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import { loopType } from "../loop/ir.ts";
import type { LoopValue, WideFloat } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { NUMBER_ARITHMETIC, loopArithmetic } from "../precision/arithmetic.ts";
import type { ExtendedFormat } from "../precision/wide.ts";
import { WideFunctions } from "../precision/wide.ts";
import type { Pair } from "../precision/double_double.ts";
import {
  DOUBLE_DOUBLE_BINARY,
  DOUBLE_DOUBLE_UNARY,
  DoubleDoubleFunctions,
} from "../precision/double_double_functions.ts";
import type { DoubleDoubleName } from "../precision/double_double_functions.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import { cos } from "./cos.ts";
import { div } from "./div.ts";
import { sampleShape } from "./elementwise.ts";
import { exp } from "./exp.ts";
import { laneWidths } from "./kernels/lanes.ts";
import { log } from "./log.ts";
import { mul } from "./mul.ts";
import { sin } from "./sin.ts";
import { splat } from "./splat.ts";
import { sqrt } from "./sqrt.ts";
import { sub } from "./sub.ts";
import { tanh } from "./tanh.ts";

/** `format`: in which to compute where the target has it. */
export type WideAttrs = { readonly format?: WideFloat };
export type DoubleDoubleAttrs = WideAttrs & { readonly fn: DoubleDoubleName };

/** The attribute that says how numbers of more digits are computed. */
export function wideAttrs(format: ExtendedFormat): WideAttrs {
  return format === "double-double" ? {} : { format };
}

/** The format to compute in on this target, or undefined for pairs of float64. */
export function wideFormat({ wideFloats }: LowerContext, { format }: WideAttrs): WideFloat | undefined {
  return format !== undefined && wideFloats.includes(format) ? format : undefined;
}

/** Two tensors of one shape that stand for their sum. */
export type TensorPair = Pair<Tensor>;

const isBinary = (fn: DoubleDoubleName): boolean => (DOUBLE_DOUBLE_BINARY as readonly string[]).includes(fn);

/** Float64 operations of a call, for the schedule. */
const WORK: Readonly<Record<DoubleDoubleName, number>> = {
  add: 22,
  sub: 24,
  mul: 30,
  div: 140,
  sqrt: 60,
  exp: 1000,
  log: 1200,
  tanh: 1100,
  sin: 1700,
  cos: 1700,
};

/** The same functions in float64. */
const PLAIN: Readonly<Record<DoubleDoubleName, (a: Tensor, b: Tensor) => Tensor>> = {
  add: (a, b) => add(a, b as never) as Tensor,
  sub: (a, b) => sub(a, b as never) as Tensor,
  mul: (a, b) => mul(a, b as never) as Tensor,
  div: (a, b) => div(a, b as never) as Tensor,
  sqrt: (a) => sqrt(a as never),
  exp: (a) => exp(a as never),
  log: (a) => log(a as never),
  tanh: (a) => tanh(a as never),
  sin: (a) => sin(a as never),
  cos: (a) => cos(a as never),
};

/** Requires float64 tensors, the two parts of each operand of one shape. */
export function requirePairs(op: string, inputs: readonly TensorType[], operands: number): void {
  requireShape(inputs.length === 2 * operands, op, `takes ${2 * operands} tensors, hi and lo of each operand`, inputs);
  const float64 = inputs.every(({ dtype }) => dtype === "f64");
  requireShape(float64, op, "takes pairs of float64 tensors", inputs, "cast them to f64");
  for (let i = 0; i < inputs.length; i += 2) {
    requireShape(sameShape(inputs[i]!.shape, inputs[i + 1]!.shape), op, "hi and lo have different shapes", inputs);
  }
}

/** Normalised pairs from any two numbers, for samples: lo is what float64 cannot hold of their sum. */
export function normalisedPairs(inputs: readonly { readonly data: Float64Array; readonly type: TensorType }[]): {
  type: TensorType;
  data: Float64Array;
}[] {
  return inputs.map(({ type, data }, i) => {
    if (i % 2 === 0) return { type, data };
    const hi = inputs[i - 1]!.data;
    return { type, data: data.map((value, j) => value * 2 ** -55 * Math.abs(hi[j]!)) };
  });
}

export const doubleDoubleOp: OpDef<DoubleDoubleAttrs> = {
  name: "double_double",
  summary: "hi + lo = fn(a_hi + a_lo, b_hi + b_lo) to about 106 bits",
  infer(inputs, { fn }) {
    requirePairs("double_double", inputs, isBinary(fn) ? 2 : 1);
    const same = inputs.every(({ shape }) => sameShape(shape, inputs[0]!.shape));
    requireShape(same, "double_double", "operands have different shapes", inputs, "broadcast one of them");
    return [inputs[0]!, inputs[0]!];
  },
  evaluate([aHi, aLo, bHi, bLo], { fn }, [type]) {
    const functions = new DoubleDoubleFunctions(NUMBER_ARITHMETIC);
    const results = [new Float64Array(aHi!.data.length), new Float64Array(aHi!.data.length)];
    aHi!.data.forEach((hi, i) => {
      const a = { hi, lo: aLo!.data[i]! };
      const y = apply(functions, fn, a, bHi === undefined ? a : { hi: bHi.data[i]!, lo: bLo!.data[i]! });
      results[0]![i] = y.hi;
      results[1]![i] = y.lo;
    });
    return results.map((data) => ({ type: type!, data }));
  },
  derivative: {
    kind: "expand",
    expand([aHi, aLo, bHi, bLo], { fn }) {
      const a = add(aHi!, aLo as never) as Tensor;
      const y = PLAIN[fn](a, bHi === undefined ? a : (add(bHi, bLo as never) as Tensor));
      return [y, splat(0, y.shape, "f64")];
    },
  },
  lowering: { kind: "kernel", lower: lowerDoubleDouble },
  sample(draw) {
    const fn = draw.pick([...DOUBLE_DOUBLE_UNARY, ...DOUBLE_DOUBLE_BINARY]);
    const type: TensorType = { dtype: "f64", shape: sampleShape(draw) };
    const inputs = Array.from({ length: isBinary(fn) ? 4 : 2 }, () => type);
    return { inputs, attrs: { fn }, ranges: inputs.map(() => [0.25, 2]), prepare: normalisedPairs };
  },
};

function apply<T, M>(functions: DoubleDoubleFunctions<T, M>, fn: DoubleDoubleName, a: Pair<T>, b: Pair<T>): Pair<T> {
  return functions[fn](a, b);
}

function lowerDoubleDouble(context: LowerContext, attrs: DoubleDoubleAttrs): void {
  const { fn } = attrs;
  const format = wideFormat(context, attrs);
  const { inputs, results } = context.node;
  const count = elementCount(results[0]!.shape);
  if (count === 0) return;
  const perChunk = context.chunkElements / 8;
  const chunks = Math.ceil(count / perChunk);
  const buffers = [...inputs.map((_x, i) => context.input(i)), context.result(0), context.result(1)];
  context.call(`${format ?? "double_double"}_${fn}`, chunks, count * WORK[fn], buffers, (k, addresses) => {
    const first = k.mul(k.chunk, k.index(perChunk));
    const end = k.min(k.index(count), k.add(first, k.index(perChunk)));
    let at = first;
    for (const lanes of format === undefined ? laneWidths(context.lanes / 2) : [1]) {
      const stop = lanes === 1 ? end : k.sub(end, k.rem(k.sub(end, at), k.index(lanes)));
      const compute = format === undefined ? inPairs(k, lanes, fn) : inFormat(k, format, fn);
      k.loop(at, stop, lanes, (i) => {
        const place = (which: number): LoopValue => k.offset(addresses[which]!, i, 8);
        const load = (which: number): LoopValue => k.load(loopType("f64", lanes), place(which));
        const operands = inputs.map((_x, which) => load(which));
        const a = { hi: operands[0]!, lo: operands[1]! };
        const y = compute(a, operands.length > 2 ? { hi: operands[2]!, lo: operands[3]! } : a);
        k.store(y.hi, place(inputs.length));
        k.store(y.lo, place(inputs.length + 1));
      });
      at = stop;
    }
  });
}

type PairFunction = (a: Pair<LoopValue>, b: Pair<LoopValue>) => Pair<LoopValue>;

function inPairs(k: KernelBuilder, lanes: number, fn: DoubleDoubleName): PairFunction {
  const functions = new DoubleDoubleFunctions(loopArithmetic(k, lanes));
  return (a, b) => apply(functions, fn, a, b);
}

function inFormat(k: KernelBuilder, format: WideFloat, fn: DoubleDoubleName): PairFunction {
  const functions = new WideFunctions(k, format);
  return (a, b) => functions.toPair(functions[fn](functions.fromPair(a), functions.fromPair(b)));
}

/**
 * `fn` of one or two pairs of float64 tensors of one shape. In f80 or f128 on targets that have them; elsewhere, and
 * by the interpreter, in double-double.
 */
export function doubleDoubleMap(
  fn: DoubleDoubleName,
  operands: readonly TensorPair[],
  format: ExtendedFormat = "double-double",
): TensorPair {
  const [hi, lo] = emit(
    doubleDoubleOp,
    operands.flatMap((pair) => [pair.hi, pair.lo]),
    { fn, ...wideAttrs(format) },
  );
  return { hi: hi!, lo: lo! };
}
