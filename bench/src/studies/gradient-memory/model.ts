// The model of the study of gradient memory: an embedding, two gated linear recurrences of small width, and one of
// three heads over a large vocabulary:
//
// - "sampled": a softmax over the target and shared negatives drawn from a log-uniform distribution, logits corrected
//   by the expected count (Jean et al. 2015, arXiv 1412.2007). Both tables are read by rows.
// - "full": a softmax over the vocabulary, with a table of its own.
// - "tied": the same, with the embedding for a table.
//
// Tokens are synthetic: log-uniform (Zipf's law), each followed half of the time by its fixed successor.

import type { Tensor, TensorType } from "@fidelity/core";
import {
  add,
  concat,
  crossEntropy,
  gather,
  linearRecurrence,
  matmul,
  mean,
  mul,
  reduceSum,
  reshape,
  rmsNorm,
  sigmoid,
  silu,
  splat,
  sub,
  tensorType,
} from "@fidelity/core";
import type { Shape } from "@fidelity/units";

export type Head = "sampled" | "full" | "tied";

/** What is trained on what. */
export interface Setting {
  readonly head: Head;
  readonly vocabSize: number;
  readonly width: number;
  /** Sequences and tokens of one. */
  readonly batchSize: number;
  readonly contextLength: number;
  /** Of a sampled head. */
  readonly negatives: number;
}

type F32 = Tensor<Shape, "f32">;
type I32 = Tensor<Shape, "i32">;

interface Layer<T> {
  readonly forget: T;
  readonly candidate: T;
  readonly output: T;
}

export interface Parameters<T> {
  readonly embedding: T;
  readonly head: readonly T[];
  readonly layers: readonly Layer<T>[];
}

/** What a step reads. `correction` is minus the logarithm of how often a row is expected among the negatives. */
export interface Batch<I, F> {
  readonly tokens: I;
  readonly targets: I;
  readonly negatives: readonly I[];
  readonly correction: readonly F[];
}

const LAYERS = 2;

export function parameterTypes({ head, vocabSize, width }: Setting): Parameters<TensorType> {
  const table = tensorType("f32", [vocabSize, width]);
  const square = tensorType("f32", [width, width]);
  return {
    embedding: table,
    head: head === "tied" ? [] : [table],
    layers: Array.from({ length: LAYERS }, () => ({ forget: square, candidate: square, output: square })),
  };
}

export function batchTypes({ head, batchSize, contextLength, negatives }: Setting): Batch<TensorType, TensorType> {
  const tokens = tensorType("i32", [batchSize, contextLength]);
  const counts = [batchSize * contextLength, negatives];
  const isSampled = head === "sampled";
  return {
    tokens,
    targets: tokens,
    negatives: isSampled ? [tensorType("i32", [negatives])] : [],
    correction: isSampled ? counts.map((count) => tensorType("f32", [count])) : [],
  };
}

/** The mean loss in nats a token. */
export function lossOf(setting: Setting, parameters: Parameters<F32>, batch: Batch<I32, F32>): F32 {
  const count = setting.batchSize * setting.contextLength;
  const hidden = reshape(hiddenOf(parameters, batch.tokens), [count, setting.width]) as F32;
  const targets = reshape(batch.targets, [count]) as I32;
  const table = parameters.head[0] ?? parameters.embedding;
  if (setting.head !== "sampled") return mean(crossEntropy(product(hidden, table), targets)) as F32;
  const [ofTargets, ofNegatives] = batch.correction as readonly [F32, F32];
  const own = add(reduceSum(mul(hidden, gather(table, targets) as never) as F32, 1) as F32, ofTargets) as F32;
  const others = add(product(hidden, gather(table, batch.negatives[0]) as F32), ofNegatives as never) as F32;
  const logits = concat([reshape(own, [count, 1]), others] as readonly F32[], 1) as F32;
  return mean(crossEntropy(logits, splat(0, [count], "i32"))) as F32;
}

function hiddenOf({ embedding, layers }: Parameters<F32>, tokens: I32): F32 {
  let x = gather(embedding, tokens) as F32;
  for (const { forget, candidate, output } of layers) {
    const normal = rmsNorm(x);
    const keep = sigmoid(matmul(normal, forget as never) as F32);
    const drive = mul(sub(1, keep) as F32, silu(matmul(normal, candidate as never) as F32));
    x = add(x, matmul(linearRecurrence(keep, drive), output as never) as never) as F32;
  }
  return rmsNorm(x);
}

/** x [n, width] times the transpose of a table [rows, width]. */
function product(x: F32, table: F32): F32 {
  return matmul(x, table, { transposeA: false, transposeB: true });
}

/** Random numbers of one seed: mulberry32, by Tommy Ettinger (public domain). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A token of the log-uniform distribution: p(i) = ln((i + 2) / (i + 1)) / ln(size + 1). */
export function drawToken(random: () => number, vocabSize: number): number {
  return Math.min(vocabSize - 1, Math.floor(Math.exp(random() * Math.log(vocabSize + 1))) - 1);
}

/** Fills a batch; `random` is what makes one differ from the next. */
export function fillBatch(setting: Setting, random: () => number, batch: Batch<Int32Array, Float32Array>): void {
  const { vocabSize, contextLength, negatives } = setting;
  const { tokens, targets, correction } = batch;
  for (let i = 0; i < tokens.length; i++) {
    tokens[i] = i % contextLength === 0 ? drawToken(random, vocabSize) : targets[i - 1];
    targets[i] = random() < 0.5 ? successor(tokens[i], vocabSize) : drawToken(random, vocabSize);
  }
  if (batch.negatives.length === 0) return;
  const [drawn] = batch.negatives;
  for (let i = 0; i < negatives; i++) drawn[i] = drawToken(random, vocabSize);
  const probability = (token: number): number => Math.log((token + 2) / (token + 1)) / Math.log(vocabSize + 1);
  const correct = (ids: Int32Array, out: Float32Array): void => {
    for (let i = 0; i < out.length; i++) out[i] = -Math.log(negatives * probability(ids[i]));
  };
  correct(targets, correction[0]);
  correct(drawn, correction[1]);
}

/** An odd factor and a power of two are coprime: each token has one successor, and is that of one. */
function successor(token: number, vocabSize: number): number {
  return (token * 40503 + 12345) % vocabSize;
}
