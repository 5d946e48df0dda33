// selectiveScan, generalizedDeltaRule and causalConvolution by what they are for: published recurrences written as
// loops, sequences in parts, and inputs that do not fit.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import { ShapeMismatchError } from "../op.ts";
import { randomHost, relativeError, seededRandom } from "../testing.ts";
import { tensorType, trace } from "../trace.ts";
import { causalConvolution } from "./causal_convolution.ts";
import { generalizedDeltaRule } from "./generalized_delta_rule.ts";
import { selectiveScan } from "./selective_scan.ts";

type Floats = Tensor<Shape, "f32">;
type Compute = (...inputs: readonly Floats[]) => readonly Floats[];

const f32 = (...shape: number[]): TensorType => tensorType("f32", shape);

/** The results of a function of tensors. */
function run(compute: Compute, inputs: readonly HostTensor[]): HostTensor[] {
  const types = inputs.map(({ type }) => type);
  const { graph } = trace("recurrence", (tensors: readonly Tensor[]) => compute(...(tensors as Floats[])), [types]);
  return [...interpret(graph, inputs)];
}

/** Steps `from` to `to` of a sequence [1, time, ...]. */
function steps({ type, data }: HostTensor, from: number, to: number): HostTensor {
  const size = data.length / type.shape[1]!;
  return { type: f32(1, to - from, ...type.shape.slice(2)), data: data.slice(from * size, to * size) };
}

/** A sequence in two parts, the state handed on, gives what it gives in one; `fixed` inputs have no time. */
function checkParts(
  compute: (inputs: readonly Floats[], state?: Floats) => readonly Floats[],
  all: HostTensor[],
): void {
  const time = all[0]!.type.shape[1]!;
  const part = (from: number, to: number): HostTensor[] => {
    return all.map((x) => (x.type.shape[0] === 1 && x.type.shape[1] === time ? steps(x, from, to) : x));
  };
  const [whole, last] = run((...x) => compute(x), all);
  const [first, state] = run((...x) => compute(x), part(0, 3));
  const [second, end] = run((...x) => compute(x.slice(0, -1), x.at(-1)), [...part(3, time), state!]);
  assert.deepEqual([...first!.data, ...second!.data], [...whole!.data]);
  assert.deepEqual([...end!.data], [...last!.data]);
}

test("a sequence in two parts, the state handed on, is the sequence in one", () => {
  const random = seededRandom(2);
  const draw = (range: readonly [number, number], ...shape: number[]): HostTensor =>
    randomHost(f32(...shape), random, range);
  const one = [-1, 1] as const;
  checkParts(
    ([delta, a, b, c, x], state) => {
      const { y, state: last } = selectiveScan({ delta: delta!, a: a!, b: b!, c: c!, x: x!, state });
      return [y, last];
    },
    [draw([0, 1], 1, 7, 5), draw([-2, 0], 5, 3), draw(one, 1, 7, 3), draw(one, 1, 7, 3), draw(one, 1, 7, 5)],
  );
  checkParts(
    ([q, k, v, logDecay, a, b], state) => {
      const result = generalizedDeltaRule({ q: q!, k: k!, v: v!, logDecay: logDecay!, a, b, state });
      return [result.output, result.state];
    },
    [
      ...[1, 2].map(() => draw(one, 1, 7, 1, 4)),
      draw(one, 1, 7, 2, 3),
      draw([-1, 0], 1, 7, 2, 1),
      ...[1, 2].map(() => draw([-0.5, 0.5], 1, 7, 2, 4)),
    ],
  );
  checkParts(
    ([x, weight], state) => {
      const result = causalConvolution(x!, weight!, state);
      return [result.output, result.state];
    },
    [draw(one, 1, 7, 5), draw(one, 5, 6)],
  );
});

test("Gated DeltaNet: S_t = alpha S_{t-1} (I - beta k k^T) + beta v k^T, equation 10 of arXiv 2412.06464", () => {
  const random = seededRandom(3);
  const [time, size] = [6, 4];
  const [q, k, v] = [1, 2, 3].map(() => randomHost(f32(1, time, 1, size), random, [-1, 1])) as HostTensor[];
  const [alpha, beta] = [1, 2].map(() => randomHost(f32(1, time, 1, 1), random, [0.5, 1])) as HostTensor[];
  const logAlpha = { ...alpha!, data: alpha!.data.map(Math.log) };
  const scaled = (x: HostTensor, factor: (t: number) => number): HostTensor => ({
    ...x,
    data: x.data.map((value, at) => value * factor(Math.floor(at / size))),
  });
  const found = run(
    (q1, k1, v1, logDecay, a) => {
      const { output, state } = generalizedDeltaRule({ q: q1!, k: k1!, v: v1!, logDecay: logDecay!, a, b: k1! });
      return [output, state];
    },
    [q!, k!, scaled(v!, (t) => beta!.data[t]!), logAlpha, scaled(k!, (t) => -alpha!.data[t]! * beta!.data[t]!)],
  );
  let s = Array.from({ length: size }, () => new Array<number>(size).fill(0));
  const outputs: number[] = [];
  for (let t = 0; t < time; t++) {
    const row = (x: HostTensor): number[] => [...x.data.subarray(t * size, (t + 1) * size)];
    const [kt, vt, qt] = [row(k!), row(v!), row(q!)];
    s = s.map((values, i) => {
      const read = values.reduce((sum, value, j) => sum + value * kt[j]!, 0);
      return values.map((value, j) => {
        return alpha!.data[t]! * (value - beta!.data[t]! * read * kt[j]!) + beta!.data[t]! * vt[i]! * kt[j]!;
      });
    });
    outputs.push(...s.map((values) => values.reduce((sum, value, j) => sum + value * qt[j]!, 0)));
  }
  assert.ok(relativeError(found[0]!.data, outputs) < 1e-12);
  assert.ok(relativeError(found[1]!.data, s.flat()) < 1e-12);
});

test("heads read the queries and keys of their group", () => {
  const random = seededRandom(4);
  const [q, k] = [1, 2].map(() => randomHost(f32(1, 3, 2, 4), random)) as HostTensor[];
  const v = randomHost(f32(1, 3, 4, 2), random);
  const logDecay = randomHost(f32(1, 3, 4, 4), random, [-1, 0]);
  // Each group twice, side by side.
  const repeated = (x: HostTensor): HostTensor => {
    const rows = Array.from({ length: 6 }, (_, row) => [...x.data.subarray(row * 4, row * 4 + 4)]);
    return { type: f32(1, 3, 4, 4), data: Float64Array.from(rows.flatMap((row) => [...row, ...row])) };
  };
  const rule: Compute = (q1, k1, v1, decay) => [
    generalizedDeltaRule({ q: q1!, k: k1!, v: v1!, logDecay: decay! }).output,
  ];
  const [grouped] = run(rule, [q!, k!, v, logDecay]);
  const [own] = run(rule, [repeated(q!), repeated(k!), v, logDecay]);
  assert.deepEqual([...grouped!.data], [...own!.data]);
});

test("inputs that do not fit are refused by name", () => {
  const refused = (compute: Compute, types: readonly TensorType[], message: RegExp): void => {
    const traced = (): unknown =>
      trace("refused", (tensors: readonly Tensor[]) => compute(...(tensors as Floats[])), [types]);
    assert.throws(traced, (error) => error instanceof ShapeMismatchError && message.test(error.message));
  };
  const scan: Compute = (delta, a, b, c, x) => [selectiveScan({ delta: delta!, a: a!, b: b!, c: c!, x: x! }).y];
  const gates = f32(1, 4, 2);
  refused(scan, [f32(1, 4, 3), f32(3, 2), gates, f32(1, 4, 5), f32(1, 4, 3)], /delta, a, b, c, x and state should be/);
  refused(scan, [f32(4, 3), f32(3, 2), gates, gates, f32(1, 4, 3)], /takes delta \[batch, time, channels\]/);
  const rule: Compute = (q, k, v, logDecay, a) => [
    generalizedDeltaRule({ q: q!, k: k!, v: v!, logDecay: logDecay!, a }).output,
  ];
  const [keys, values] = [f32(1, 4, 2, 3), f32(1, 4, 3, 5)];
  refused(rule, [keys, keys, values, f32(1, 4, 3, 1)], /2 groups of keys do not divide 3 heads/);
  refused(rule, [f32(1, 4, 1, 3), f32(1, 4, 1, 3), values, f32(1, 4, 3, 2)], /the decay is neither of size 1 nor 3/);
  refused(rule, [keys, keys, values, f32(1, 4, 3, 1), f32(1, 4, 3, 3)], /takes a and b together/);
  const convolution: Compute = (x, weight) => [causalConvolution(x!, weight!).output];
  refused(convolution, [f32(1, 4, 3), f32(2, 4)], /the weight or the state/);
  refused(convolution, [f32(1, 4, 3), f32(3, 1)], /size of 2 or more/);
});
