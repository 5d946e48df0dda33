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
import type { AttentionAttrs } from "./attention.ts";
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
  /** Size of a value, D unless said. */
  readonly E?: number;
  readonly options?: Partial<AttentionAttrs>;
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
  // Windows: within a block and over several, of one key and wider than what there is, few queries and many.
  { B: 2, T: 37, H: 2, D: 7, S: 171, G: 1, position: 130, options: { window: 9 } },
  { B: 1, T: 45, H: 1, D: 3, S: 300, G: 1, position: 250, options: { window: 150, softcap: 2 } },
  { B: 1, T: 70, H: 2, D: 6, S: 70, G: 2, position: 0, E: 3, options: { window: 1 } },
  { B: 1, T: 20, H: 1, D: 5, S: 30, G: 1, position: 3, options: { window: 100 } },
  { B: 1, T: 3, H: 3, D: 9, S: 40, G: 1, position: 20, E: 20, options: { window: 5 } },
  // More blocks of queries than there are parts of the reverse pass, and no parts.
  { B: 1, T: 70, H: 6, D: 3, S: 75, G: 2, position: 5, options: { window: 60 } },
  { B: 2, T: 70, H: 4, D: 3, S: 70, G: 4, position: 0, options: { softcap: 2 } },
  // Positions behind the cache count as its last one.
  { B: 1, T: 9, H: 1, D: 5, S: 12, G: 1, position: 8, options: { window: 4 } },
  { B: 1, T: 2, H: 1, D: 5, S: 12, G: 1, position: 30, options: { window: 4 } },
  // Values of another size, capped scores, queries that see what comes after them.
  { B: 1, T: 19, H: 4, D: 7, S: 23, G: 2, position: 2, E: 12, options: { softcap: 0.7 } },
  { B: 2, T: 40, H: 2, D: 5, S: 50, G: 1, position: 6, E: 8, options: { causal: false } },
  { B: 1, T: 3, H: 2, D: 20, S: 9, G: 1, position: 1, E: 35, options: { causal: false, softcap: 3 } },
];

/** Few queries over a cache of several blocks: the last query sees one more of them than the first, and one nobody. */
const LONG: readonly Sizes[] = [
  { B: 1, T: 2, H: 2, D: 3, S: 600, G: 1, position: 255 },
  { B: 2, T: 1, H: 3, D: 20, S: 270, G: 3, position: 269 },
  { B: 1, T: 1, H: 2, D: 5, S: 700, G: 1, position: 620, options: { window: 300 } },
  { B: 1, T: 3, H: 1, D: 5, S: 800, G: 1, position: 511, E: 17, options: { window: 2, softcap: 1 } },
  { B: 1, T: 2, H: 4, D: 9, S: 600, G: 2, position: 254, options: { causal: false } },
  { B: 1, T: 3, H: 10, D: 18, S: 330, G: 2, position: 300, E: 20 },
  // Long enough for longer blocks, the last one cut off.
  { B: 1, T: 1, H: 3, D: 5, S: 8200, G: 1, position: 8195, options: { window: 8100 } },
];

/** Vectors of kernels: of every width, and of one width a case where there are options. */
function widthsOf({ options, B, T, S }: Sizes): readonly number[] {
  const widths = [4, 8, 16];
  return options === undefined ? widths : [widths[(B + T + S) % 3]!];
}

function inputsOf({ B, T, H, D, S, G, position, E = D }: Sizes, seed: number): HostTensor[] {
  const random = seededRandom(seed);
  const [q, k, v] = [type(B, T, H, D), type(B, S, G, D), type(B, S, G, E)].map((one) => randomHost(one, random));
  return [q!, k!, v!, at(position)];
}

/** softmax of the scores of the visible keys: [B, H, T, S], zero elsewhere; their slopes; and log sum exp. */
function weights(
  { B, T, H, D, S, G, position, options = {} }: Sizes,
  [q, k]: readonly HostTensor[],
  scale: number,
): { p: number[][][][]; lse: number[]; slopes: Map<string, number> } {
  const lse: number[] = [];
  const slopes = new Map<string, number>();
  const { window = Infinity, softcap, causal = true } = options;
  const p = Array.from({ length: B }, (_, b) =>
    Array.from({ length: H }, (_, h) =>
      Array.from({ length: T }, (_, t) => {
        const row = Array.from({ length: S }, (_, s) => {
          const last = Math.min(position + (causal ? t : T - 1), S - 1);
          if (s > last || s <= last - window) return 0;
          let sum = 0;
          for (let d = 0; d < D; d++) {
            sum +=
              q!.data[((b * T + t) * H + h) * D + d]! * k!.data[((b * S + s) * G + Math.floor((h * G) / H)) * D + d]!;
          }
          const bounded = softcap === undefined ? 0 : Math.tanh((scale * sum) / softcap);
          slopes.set([b, h, t, s].join(), scale * (1 - bounded ** 2));
          return Math.exp(softcap === undefined ? scale * sum : softcap * bounded);
        });
        const total = row.reduce((a, b) => a + b, 0);
        lse.push(Math.log(total));
        return row.map((weight) => weight / total);
      }),
    ),
  );
  return { p, lse, slopes };
}

void test("attention: weighted sums of visible values, and the log of the normaliser", () => {
  for (const sizes of [...SIZES, ...LONG]) {
    const { B, T, H, D, S, G, E = D } = sizes;
    const inputs = inputsOf(sizes, 1);
    const scale = 1 / Math.sqrt(D);
    const attrs = { scale, ...sizes.options };
    const { p, lse } = weights(sizes, inputs, scale);
    const expected = new Float64Array(B * T * H * E).map((_zero, i) => {
      const [d, h, t, b] = [i % E, Math.floor(i / E) % H, Math.floor(i / E / H) % T, Math.floor(i / E / H / T)];
      return p[b]![h]![t]!.reduce(
        (sum, weight, s) => sum + weight * inputs[2]!.data[((b * S + s) * G + Math.floor((h * G) / H)) * E + d]!,
        0,
      );
    });
    const ways = [
      interpret(
        graphOf(
          op,
          inputs.map((x) => x.type),
          attrs,
        ),
        inputs,
      ),
      ...widthsOf(sizes).map((lanes) => runKernels(op, inputs, attrs, lanes)),
    ];
    for (const [way, [o, normaliser]] of ways.entries()) {
      assert.ok(relativeError(o!.data, expected) < 2e-6, `${JSON.stringify(sizes)}, way ${way}`);
      assert.ok(relativeError(normaliser!.data, lse) < 2e-6);
    }
  }
});

void test("attention_grad: the derivative of softmax attention", () => {
  for (const sizes of SIZES) {
    const { B, T, H, D, S, G, E = D } = sizes;
    const [q, k, v, position] = inputsOf(sizes, 2) as [HostTensor, HostTensor, HostTensor, HostTensor];
    const random = seededRandom(9);
    const dO = randomHost(type(B, T, H, E), random);
    const delta = randomHost(type(B, T, H), random);
    const scale = 0.3;
    const attrs = { scale, ...sizes.options };
    const { p, lse, slopes } = weights(sizes, [q, k], scale);
    const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x.data.length)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    for (let b = 0; b < B; b++)
      for (let h = 0; h < H; h++)
        for (let t = 0; t < T; t++)
          for (let s = 0; s < S; s++) {
            const [queryRow, keyRow] = [(b * T + t) * H + h, (b * S + s) * G + Math.floor((h * G) / H)];
            const [query, output, key, value] = [queryRow * D, queryRow * E, keyRow * D, keyRow * E];
            const slope = slopes.get([b, h, t, s].join()) ?? 0;
            const weight = p[b]![h]![t]![s]!;
            let dp = -delta.data[(b * T + t) * H + h]!;
            for (let d = 0; d < E; d++) dp += dO.data[output + d]! * v.data[value + d]!;
            for (let d = 0; d < D; d++) {
              dq[query + d]! += slope * weight * dp * k.data[key + d]!;
              dk[key + d]! += slope * weight * dp * q.data[query + d]!;
            }
            for (let d = 0; d < E; d++) dv[value + d]! += weight * dO.data[output + d]!;
          }
    const normaliser: HostTensor = { type: type(B, H, T), data: Float64Array.from(lse) };
    const inputs = [q, k, v, normaliser, dO, delta, position];
    const ways = [
      interpret(
        graphOf(
          gradOp,
          inputs.map((x) => x.type),
          attrs,
        ),
        inputs,
      ),
      ...widthsOf(sizes).map((lanes) => runKernels(gradOp, inputs, attrs, lanes)),
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
  for (const window of [undefined, 3]) {
    const attrs = { scale: 0.4, ...(window !== undefined && { window }) };
    const [whole] = runKernels(op, [q, k, v, at(0)], attrs);
    for (let t = 0; t < sizes.T; t++) {
      const row = sizes.H * sizes.D;
      const one: HostTensor = { type: type(1, 1, sizes.H, sizes.D), data: q.data.slice(t * row, (t + 1) * row) };
      const first = (t + 1 - (window ?? Infinity)) * sizes.D;
      const hidden = (x: HostTensor): HostTensor => ({
        type: x.type,
        data: x.data.map((value, i) => (i >= (t + 1) * sizes.D || i < first ? NaN : value)),
      });
      const [step] = runKernels(op, [one, hidden(k), hidden(v), at(t)], attrs);
      assert.ok(relativeError(step!.data, whole!.data.slice(t * row, (t + 1) * row)) < 1e-6);
    }
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
  const refuse = (types: readonly TensorType[], problem: RegExp, options: Partial<AttentionAttrs> = {}): void => {
    assert.throws(
      () => graphOf(op, types, { scale: 1, ...options }),
      (error) => error instanceof ShapeMismatchError && problem.test(error.message),
    );
  };
  refuse([type(2, 3, 4, 8), type(2, 7, 3, 8), type(2, 7, 3, 8), at(0).type], /do not divide the heads/);
  refuse([type(2, 3, 4, 8), type(2, 7, 2, 6), type(2, 7, 2, 6), at(0).type], /head sizes differ/);
  refuse([type(2, 3, 4, 8), type(2, 7, 2, 8), type(2, 6, 2, 8), at(0).type], /keys and values differ/);
  refuse([type(2, 3, 4, 8), type(2, 7, 2, 8), type(2, 7, 2, 8), type()], /position/);
  const fitting = [type(2, 3, 4, 8), type(2, 7, 2, 8), type(2, 7, 2, 5), at(0).type];
  for (const window of [0, 1.5, -1]) refuse(fitting, /the window is/, { window });
  refuse(fitting, /the window is/, { window: 2, causal: false });
  for (const softcap of [0, NaN]) refuse(fitting, /scores are capped at/, { softcap });
});
