// The two language models of the study, small, in ordinary ops that work in every float dtype: what has a kernel of
// its own in the product (packed ternary products, the recurrence, attention) is written out here, so that one graph
// runs in float32, float64, or with some of its ops in more precision. MatMul-free: Zhu et al. 2024, arXiv
// 2406.02528, with BitLinear's straight-through rounding of weights to -1, 0, 1 and of activations to 8 bits.
// Transformer: pre-normalised, causal attention, SwiGLU. Normalisation has no gains.

import {
  abs,
  add,
  cast,
  crossEntropy,
  div,
  gather,
  iota,
  le,
  matmul,
  max,
  mean,
  min,
  mul,
  reduceMax,
  reshape,
  rmsNorm,
  round,
  scan,
  select,
  sigmoid,
  silu,
  softmax,
  splat,
  sub,
  tensorType,
  transpose,
} from "@fidelity/core";
import type { FloatDtype, Tensor, TypedTensorType } from "@fidelity/core";
import { customJvp } from "@fidelity/furnace";
import { RandomStream, randomPurpose } from "@fidelity/models";
import type { Shape } from "@fidelity/units";

/** Typed as float32; its dtype at run time is the study's. */
export type Float = Tensor<Shape, "f32">;
export type Tokens = Tensor<Shape, "i32">;
export type Parameters = { readonly [name: string]: Float };

export interface Sizes {
  readonly width: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocabulary: number;
}

/** A parameter's shape, and the stream of random numbers that its first values come from. */
interface Spec {
  readonly shape: readonly number[];
  readonly stream: number;
}

export interface LanguageModel {
  readonly name: string;
  readonly specs: Readonly<Record<string, Spec>>;
  /** Mean cross-entropy of the targets, a scalar; tokens and targets are [batch, time]. */
  loss(parameters: Parameters, tokens: Tokens, targets: Tokens): Float;
}

/** The types of a model's parameters in a dtype. */
export function typesIn<D extends FloatDtype | "bf16">(
  { specs }: LanguageModel,
  dtype: D,
): Record<string, TypedTensorType<Shape, D>> {
  return Object.fromEntries(Object.entries(specs).map(([name, { shape }]) => [name, tensorType(dtype, shape)]));
}

/** First values, the same for a seed whatever the dtype: normal with deviation 0.02. */
export function firstValues({ specs }: LanguageModel, seed: number): Map<string, Float32Array> {
  return new Map(
    Object.entries(specs).map(([name, { shape, stream }]) => {
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
      new RandomStream(seed, stream, randomPurpose.initialisation).fillNormal(values, 0, 0.02);
      return [name, values];
    }),
  );
}

/** Streams of a layer. */
const STREAMS = 9;

/** The embedding and what stands beside it, the matrices of all layers, and the head. */
function specsOf(
  { width, hidden, layers, vocabulary }: Sizes,
  tables: Record<string, number>,
  mixer: readonly string[],
) {
  const specs: Record<string, Spec> = {};
  for (const [name, rows] of Object.entries(tables)) {
    specs[name] = { shape: [rows, width], stream: Object.keys(specs).length };
  }
  const first = Object.keys(specs).length;
  for (let i = 0; i < layers; i++) {
    const shapes: Record<string, readonly number[]> = {
      ...Object.fromEntries(mixer.map((name) => [name, [width, width]])),
      up: [hidden, width],
      gate: [hidden, width],
      down: [width, hidden],
    };
    Object.entries(shapes).forEach(([name, shape], k) => {
      specs[`${i}.${name}`] = { shape, stream: first + STREAMS * i + k };
    });
  }
  specs["head"] = { shape: [vocabulary, width], stream: first + STREAMS * layers + 1 };
  return specs;
}

/** Rounded in the forward pass, and differentiated as if it were not. */
const throughRounding = (fn: (x: Float) => Float): ((x: Float) => Float) =>
  customJvp(fn, (_primals: readonly [Float], [tangent]: readonly [Float]) => tangent) as (x: Float) => Float;

const eightBits = throughRounding((x) => {
  const scale = div(127, max(reduceMax(abs(x), -1, true) as Float, 1e-5) as Float) as Float;
  return div(round(mul(x, scale) as Float), scale) as Float;
});

const ternary = throughRounding((w) => {
  const scale = max(mean(abs(w)) as Float, 1e-5) as Float;
  return mul(max(min(round(div(w, scale) as Float), 1), -1), scale) as Float;
});

const linear = (x: Float, w: Float): Float => matmul(x, w, { transposeB: true } as never) as Float;
const bitLinear = (x: Float, w: Float): Float => linear(eightBits(rmsNorm(x) as Float), ternary(w));

/** h_t = f_t h_{t-1} + (1 - f_t) c_t along axis 1. */
function recurrence(f: Float, c: Float): Float {
  const timeFirst = (x: Float): Float => transpose(x, [1, 0, 2] as never) as Float;
  const step = (h: Float, at: { f: Float; c: Float }): { carry: Float; y: Float } => {
    const next = add(h, mul(sub(1, at.f), sub(at.c, h)) as Float) as Float;
    return { carry: next, y: next };
  };
  const first = splat(0, [f.shape[0], f.shape[2]], f.dtype as "f32") as Float;
  const { ys } = scan(step as never, first, { f: timeFirst(f), c: timeFirst(c) }) as unknown as { ys: Float };
  return timeFirst(ys);
}

export function matmulFree(sizes: Sizes): LanguageModel {
  const { layers, vocabulary } = sizes;
  return {
    name: "MatMul-free",
    specs: specsOf(sizes, { embedding: vocabulary }, ["f", "c", "g", "o"]),
    loss(p, tokens, targets) {
      let x = gather(p["embedding"], tokens) as Float;
      for (let i = 0; i < layers; i++) {
        const of = (name: string): Float => p[`${i}.${name}`];
        const a = rmsNorm(x);
        const f = sigmoid(bitLinear(a, of("f"))) as Float;
        const h = recurrence(f, silu(bitLinear(a, of("c"))) as Float);
        const mixed = mul(h, sigmoid(bitLinear(a, of("g"))) as Float) as Float;
        x = add(x, bitLinear(mixed, of("o"))) as Float;
        const b = rmsNorm(x);
        const gated = mul(silu(bitLinear(b, of("gate"))) as Float, bitLinear(b, of("up"))) as Float;
        x = add(x, bitLinear(gated, of("down"))) as Float;
      }
      return meanLoss(bitLinear(rmsNorm(x), p["head"]), targets);
    },
  };
}

export function transformer(sizes: Sizes): LanguageModel {
  const { layers, heads, vocabulary } = sizes;
  return {
    name: "transformer",
    specs: specsOf(sizes, { embedding: vocabulary, position: 256 }, ["q", "k", "v", "o"]),
    loss(p, tokens, targets) {
      const places = gather(p["position"], iota([tokens.shape[1]]) as Tokens) as Float;
      let x = add(gather(p["embedding"], tokens) as Float, places) as Float;
      for (let i = 0; i < layers; i++) {
        const of = (name: string): Float => p[`${i}.${name}`];
        const a = rmsNorm(x);
        const [q, k, v] = ["q", "k", "v"].map((name) => intoHeads(linear(a, of(name)), heads));
        x = add(x, linear(outOfHeads(attend(q, k, v)), of("o"))) as Float;
        const b = rmsNorm(x);
        const gated = mul(silu(linear(b, of("gate"))) as Float, linear(b, of("up"))) as Float;
        x = add(x, linear(gated, of("down"))) as Float;
      }
      return meanLoss(linear(rmsNorm(x), p["head"]), targets);
    },
  };
}

/** [batch, time, width] to [batch, heads, time, size]. */
function intoHeads(x: Float, heads: number): Float {
  const [batch, time, width] = x.shape as [number, number, number];
  return transpose(reshape(x, [batch, time, heads, width / heads]), [0, 2, 1, 3] as never) as Float;
}

function outOfHeads(x: Float): Float {
  const [batch, heads, time, size] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [0, 2, 1, 3] as never) as Float, [batch, time, heads * size]) as Float;
}

function attend(q: Float, k: Float, v: Float): Float {
  const [, , time, size] = q.shape as [number, number, number, number];
  const scores = mul(matmul(q, k, { transposeB: true } as never) as Float, 1 / Math.sqrt(size)) as Float;
  const column = reshape(iota([time]) as Tokens, [1, 1, 1, time]) as Tokens;
  const row = reshape(iota([time]) as Tokens, [1, 1, time, 1]) as Tokens;
  const earlier = le(column, row) as Tensor<Shape, "bool">;
  const masked = select(earlier as never, scores, splat(-1e9, scores.shape, scores.dtype as "f32") as never) as Float;
  return matmul(softmax(masked) as Float, v as never) as Float;
}

function meanLoss(logits: Float, targets: Tokens): Float {
  const vocabulary = logits.shape.at(-1)!;
  const rows = reshape(logits, [logits.shape[0] * logits.shape[1], vocabulary]) as Float;
  return mean(crossEntropy(rows as never, reshape(targets, [rows.shape[0]]) as never) as Float) as Float;
}

/** The parameters as float32, for models whose parameters are stored in bf16. */
export function inFloat32(parameters: Parameters): Parameters {
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, cast(value, "f32")]));
}
