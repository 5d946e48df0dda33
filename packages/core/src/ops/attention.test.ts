// attention and its reverse pass against loops written here, and the properties of a causal cache.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { ShapeMismatchError } from "../op.ts";
import { graphOf, randomHost, relativeError, seededRandom } from "../testing.ts";
import { tensorType, trace } from "../trace.ts";
import { attention, attentionOp } from "./attention.ts";
import { attentionGradOp } from "./attention_grad.ts";
import { runKernels } from "./kernels/testing.ts";

const op = attentionOp as unknown as OpDef;
const gradOp = attentionGradOp as unknown as OpDef;
const type = (...shape: number[]): TensorType => ({ dtype: "f32", shape });
const at = (position: number): HostTensor => ({ type: { dtype: "i32", shape: [] }, data: Float64Array.of(position) });

interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly D: number;
  readonly S: number;
  readonly G: number;
  readonly position: number;
}

/** Odd sizes, one query, a head size below a vector, groups, a cache longer than what is seen, blocks of queries. */
const SIZES: readonly Sizes[] = [
  { B: 2, T: 5, H: 4, D: 6, S: 9, G: 2, position: 3 },
  { B: 1, T: 1, H: 2, D: 8, S: 13, G: 1, position: 10 },
  { B: 1, T: 17, H: 1, D: 35, S: 17, G: 1, position: 0 },
  { B: 1, T: 3, H: 3, D: 3, S: 4, G: 3, position: 0 },
  { B: 1, T: 2, H: 1, D: 144, S: 3, G: 1, position: 1 },
  // Several blocks of queries and of keys, the last ones cut off, and keys that nobody sees.
  { B: 1, T: 37, H: 2, D: 7, S: 71, G: 1, position: 29 },
  { B: 1, T: 11, H: 1, D: 5, S: 150, G: 1, position: 133 },
  // More heads to a group than go together, and a cache that is full.
  { B: 1, T: 2, H: 7, D: 5, S: 37, G: 1, position: 36 },
];

/** Few queries over a cache of several blocks: the last query sees one more of them than the first, and one nobody. */
const LONG: readonly Sizes[] = [
  { B: 1, T: 2, H: 2, D: 3, S: 600, G: 1, position: 255 },
  { B: 2, T: 1, H: 3, D: 20, S: 270, G: 3, position: 269 },
];

function inputsOf({ B, T, H, D, S, G, position }: Sizes, seed: number): HostTensor[] {
  const random = seededRandom(seed);
  const [q, k, v] = [type(B, T, H, D), type(B, S, G, D), type(B, S, G, D)].map((one) => randomHost(one, random));
  return [q!, k!, v!, at(position)];
}

/** softmax(scale q k^T) of the visible keys: [B, H, T, S], zero elsewhere; and log sum exp. */
function weights(
  { B, T, H, D, S, G, position }: Sizes,
  [q, k]: readonly HostTensor[],
  scale: number,
): { p: number[][][][]; lse: number[] } {
  const lse: number[] = [];
  const p = Array.from({ length: B }, (_, b) =>
    Array.from({ length: H }, (_, h) =>
      Array.from({ length: T }, (_, t) => {
        const row = Array.from({ length: S }, (_, s) => {
          if (s > position + t) return 0;
          let sum = 0;
          for (let d = 0; d < D; d++) {
            sum +=
              q!.data[((b * T + t) * H + h) * D + d]! * k!.data[((b * S + s) * G + Math.floor((h * G) / H)) * D + d]!;
          }
          return Math.exp(scale * sum);
        });
        const total = row.reduce((a, b) => a + b, 0);
        lse.push(Math.log(total));
        return row.map((weight) => weight / total);
      }),
    ),
  );
  return { p, lse };
}

void test("attention: weighted sums of visible values, and the log of the normaliser", () => {
  for (const sizes of [...SIZES, ...LONG]) {
    const { B, T, H, D, S, G } = sizes;
    const inputs = inputsOf(sizes, 1);
    const scale = 1 / Math.sqrt(D);
    const { p, lse } = weights(sizes, inputs, scale);
    const expected = new Float64Array(B * T * H * D).map((_zero, i) => {
      const [d, h, t, b] = [i % D, Math.floor(i / D) % H, Math.floor(i / D / H) % T, Math.floor(i / D / H / T)];
      return p[b]![h]![t]!.reduce(
        (sum, weight, s) => sum + weight * inputs[2]!.data[((b * S + s) * G + Math.floor((h * G) / H)) * D + d]!,
        0,
      );
    });
    const ways = [
      interpret(
        graphOf(
          op,
          inputs.map((x) => x.type),
          { scale },
        ),
        inputs,
      ),
      runKernels(op, inputs, { scale }, 4),
      runKernels(op, inputs, { scale }, 8),
      runKernels(op, inputs, { scale }, 16),
    ];
    for (const [way, [o, normaliser]] of ways.entries()) {
      assert.ok(relativeError(o!.data, expected) < 2e-6, `${JSON.stringify(sizes)}, way ${way}`);
      assert.ok(relativeError(normaliser!.data, lse) < 2e-6);
    }
  }
});

void test("attention_grad: the derivative of softmax attention", () => {
  for (const sizes of SIZES) {
    const { B, T, H, D, S, G } = sizes;
    const [q, k, v, position] = inputsOf(sizes, 2) as [HostTensor, HostTensor, HostTensor, HostTensor];
    const random = seededRandom(9);
    const dO = randomHost(q.type, random);
    const delta = randomHost(type(B, T, H), random);
    const scale = 0.3;
    const { p, lse } = weights(sizes, [q, k], scale);
    const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x.data.length)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    for (let b = 0; b < B; b++)
      for (let h = 0; h < H; h++)
        for (let t = 0; t < T; t++)
          for (let s = 0; s < S; s++) {
            const query = ((b * T + t) * H + h) * D;
            const key = ((b * S + s) * G + Math.floor((h * G) / H)) * D;
            const weight = p[b]![h]![t]![s]!;
            let dp = -delta.data[(b * T + t) * H + h]!;
            for (let d = 0; d < D; d++) dp += dO.data[query + d]! * v.data[key + d]!;
            for (let d = 0; d < D; d++) {
              dq[query + d]! += scale * weight * dp * k.data[key + d]!;
              dk[key + d]! += scale * weight * dp * q.data[query + d]!;
              dv[key + d]! += weight * dO.data[query + d]!;
            }
          }
    const normaliser: HostTensor = { type: type(B, H, T), data: Float64Array.from(lse) };
    const inputs = [q, k, v, normaliser, dO, delta, position];
    const ways = [
      interpret(
        graphOf(
          gradOp,
          inputs.map((x) => x.type),
          { scale },
        ),
        inputs,
      ),
      runKernels(gradOp, inputs, { scale }, 4),
      runKernels(gradOp, inputs, { scale }, 8),
      runKernels(gradOp, inputs, { scale }, 16),
    ];
    for (const results of ways) {
      [dq, dk, dv].forEach((expected, i) =>
        assert.ok(relativeError(results[i]!.data, expected) < 1e-5, `${JSON.stringify(sizes)} ${i}`),
      );
    }
  }
});

void test("a sequence token by token over a cache is the sequence at once, and later keys do not matter", () => {
  const sizes: Sizes = { B: 1, T: 6, H: 2, D: 5, S: 8, G: 1, position: 0 };
  const [q, k, v] = inputsOf(sizes, 3) as [HostTensor, HostTensor, HostTensor];
  const [whole] = runKernels(op, [q, k, v, at(0)], { scale: 0.4 });
  for (let t = 0; t < sizes.T; t++) {
    const row = sizes.H * sizes.D;
    const one: HostTensor = { type: type(1, 1, sizes.H, sizes.D), data: q.data.slice(t * row, (t + 1) * row) };
    const hidden = (x: HostTensor): HostTensor => ({
      type: x.type,
      data: x.data.map((value, i) => (i >= (t + 1) * sizes.D ? NaN : value)),
    });
    const [step] = runKernels(op, [one, hidden(k), hidden(v), at(t)], { scale: 0.4 });
    assert.ok(relativeError(step!.data, whole!.data.slice(t * row, (t + 1) * row)) < 1e-6);
  }
});

void test("large scores do not overflow", () => {
  const sizes: Sizes = { B: 1, T: 2, H: 1, D: 4, S: 2, G: 1, position: 0 };
  const [q, k, v] = inputsOf(sizes, 4) as [HostTensor, HostTensor, HostTensor];
  const loud: HostTensor = { type: q.type, data: q.data.map((value) => 1e4 * value) };
  for (const result of runKernels(op, [loud, k, v, at(0)], { scale: 1 })) assert.ok(result.data.every(Number.isFinite));
});

void test("the front end keeps the shape of the queries and refuses what does not fit", () => {
  const { graph } = trace("attend", (q, k, v, position) => attention(q, k, v, position).output, [
    tensorType("f32", [2, 3, 4, 8]),
    tensorType("f32", [2, 7, 2, 8]),
    tensorType("f32", [2, 7, 2, 8]),
    tensorType("i32", []),
  ]);
  assert.deepEqual(graph.results[0]!.shape, [2, 3, 4, 8]);
  assert.equal(graph.results[0]!.node.attrs["scale"], 1 / Math.sqrt(8));
  const refuse = (types: readonly TensorType[], problem: RegExp): void => {
    assert.throws(
      () => graphOf(op, types, { scale: 1 }),
      (error) => error instanceof ShapeMismatchError && problem.test(error.message),
    );
  };
  refuse([type(2, 3, 4, 8), type(2, 7, 3, 8), type(2, 7, 3, 8), at(0).type], /do not divide the heads/);
  refuse([type(2, 3, 4, 8), type(2, 7, 2, 6), type(2, 7, 2, 6), at(0).type], /head sizes differ/);
  refuse([type(2, 3, 4, 8), type(2, 7, 2, 8), type(2, 6, 2, 8), at(0).type], /keys and values differ/);
  refuse([type(2, 3, 4, 8), type(2, 7, 2, 8), type(2, 7, 2, 8), type()], /position/);
});
