// What suites over the op table share: random cases from an op's `sample`, random inputs, and graphs of one op. Kept
// out of the package's face; import it as `@fidelity/core/testing`.

import { invariant } from "@fidelity/units";
import type { Attrs, Graph, TensorType } from "./graph.ts";
import { emit, inTrace } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import { blockNumbers } from "./host_blocks.ts";
import { bf16Bits, bf16Value, f16Round } from "./host.ts";
import type { CaseDraw, OpCase, OpDef } from "./op.ts";
import { OPS } from "./ops/index.ts";
import { blockLayout, elementCount, rowCount } from "./storage.ts";
import { parameter } from "./trace.ts";

/** A source of random numbers in [0, 1). */
export type Random = () => number;

/** A small generator with a seed: mulberry32, by Tommy Ettinger (public domain). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Ops that have a value of their own: parameters have none, and neither has the marker that custom rules leave. */
export const SAMPLED_OPS: readonly OpDef[] = Object.values(OPS).filter(
  (op) => op.name !== "parameter" && op.name !== "custom_vjp_tangent",
);

/** Whether there is a derivative to compare with. */
export function hasDerivative({ derivative }: OpDef): boolean {
  return derivative.kind !== "zero" && derivative.kind !== "none";
}

/** A random case of an op, the same for the same seed. */
export function drawCase(op: OpDef, seed: number): OpCase {
  const random = seededRandom(seed);
  const int = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));
  const draw: CaseDraw = { int, pick: (options) => options[int(0, options.length - 1)]! };
  return op.sample(draw);
}

/** Random contents for a tensor, within `range` ([-2, 2] where absent) and exact in the storage of its dtype. */
export function randomHost(
  type: TensorType,
  random: Random,
  range: readonly [low: number, high: number] = [-2, 2],
): HostTensor {
  const [low, high] = range;
  const real = (): number => low + random() * (high - low);
  const int = (from: number, to: number): number => from + Math.floor(random() * (to - from + 1));
  const fill = (next: () => number): Float64Array => Float64Array.from({ length: elementCount(type.shape) }, next);
  switch (type.dtype) {
    case "f64":
      return { type, data: fill(real) };
    case "f32":
      return { type, data: fill(() => Math.fround(real())) };
    case "bf16":
      return { type, data: fill(() => bf16Value(bf16Bits(real()))) };
    case "f16":
      return { type, data: fill(() => f16Round(real())) };
    case "i8":
    case "i32":
      return { type, data: fill(() => int(Math.ceil(low), Math.floor(high))) };
    case "bool":
      return { type, data: fill(() => int(0, 1)) };
    case "ternary":
    case "ternary5":
      return { type, data: fill(() => int(-1, 1)), scales: Float64Array.of(Math.fround(0.5 + random())) };
    case "q8": {
      const scales = Float64Array.from({ length: rowCount(type.shape) }, () => Math.fround((0.5 + random()) / 64));
      return { type, data: fill(() => int(-127, 127)), scales };
    }
    case "q8_0":
    case "q4_0":
    case "q4_k":
    case "q5_k":
    case "q6_k": {
      const layout = blockLayout(type.shape, type.dtype);
      const codes = 1 << layout.planes.reduce((sum, bits) => sum + bits, 0);
      const halves = layout.nested ? (layout.minima ? 2 : 1) : 1;
      const count = blockNumbers(layout);
      const scales = Float64Array.from({ length: layout.rows * layout.blocks * count }, (_, i) => {
        if (i % count >= halves) return int(-64, 63);
        return f16Round((random() - 0.5) / (codes / 2) / (layout.nested ? 64 : 1));
      });
      return { type, data: fill(() => int(-layout.centre, codes - 1 - layout.centre)), scales };
    }
  }
}

/** Random inputs for a case. */
export function randomInputs({ inputs, ranges, prepare }: OpCase, random: Random): HostTensor[] {
  const drawn = inputs.map((type, i) => randomHost(type, random, ranges?.[i]));
  return prepare === undefined ? drawn : [...prepare(drawn)];
}

/** A graph that applies one op to parameters. */
export function graphOf(op: OpDef, types: readonly TensorType[], attrs: Attrs): Graph {
  return inTrace(() => {
    const parameters = types.map((type, i) => parameter(`x${i}`, type));
    return { name: op.name, parameters, results: emit(op, parameters, attrs) };
  });
}

/** The largest difference between two arrays, relative to the largest magnitude in `expected` and at least to 1. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  invariant(actual.length === expected.length, `${actual.length} numbers compared with ${expected.length}`);
  const scale = expected.length === 0 ? 1 : Math.max(1, ...Array.from(expected, Math.abs).filter(Number.isFinite));
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(actual[i], expected[i])) continue;
    const difference = Math.abs(actual[i]! - expected[i]!);
    worst = Math.max(worst, Number.isNaN(difference) ? Infinity : difference);
  }
  return worst / scale;
}
