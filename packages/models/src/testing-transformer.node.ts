// Decoders written as loops over numbers, from their equations, for the tests of every architecture: nothing here is
// shared with the models. What a model has is seen by its parameters; what it computes with them is said by a
// `DecoderReference`.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Model } from "./model.ts";
import type { HostParameters } from "./testing.ts";
import { evaluateModel, largestError, randomParameters, randomTokens, startOf } from "./testing.ts";

/** Sizes and functions of a decoder. */
export interface DecoderReference {
  readonly dim: number;
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly keyValueHeadCount: number;
  readonly headDim: number;
  readonly vocabSize: number;
  readonly epsilon: number;
  readonly activation: (x: number) => number;
  /** Radians by which pair `pair` turns from one position to the next. */
  readonly frequency: (layer: number, pair: number) => number;
  readonly pairing: "adjacent" | "halves";
  /** Factor of turned vectors; 1 where absent. */
  readonly magnitude?: number;
  /** How much a key counts for a query, before all are divided by their sum. */
  readonly similarity: (query: readonly number[], key: readonly number[]) => number;
  /** How many keys a query of a layer sees; all where absent. */
  readonly window?: (layer: number) => number;
  readonly embeddingScale?: number;
  readonly logit?: (x: number) => number;
  /** A projection with weight [outputs, x.length]; the matrix product where absent. */
  readonly project?: (x: readonly number[], weight: Float64Array) => number[];
}

/** exp(q . k scale), the similarity of softmax attention, with scores capped at `cap`. */
export function softmaxSimilarity(scale: number, cap = Infinity): DecoderReference["similarity"] {
  return (query, key) => {
    const score = dot(query, key) * scale;
    return Math.exp(cap === Infinity ? score : cap * Math.tanh(score / cap));
  };
}

/** theta^(-2 pair / headDim), the usual frequency. */
export function usualFrequency(theta: number, headDim: number): (layer: number, pair: number) => number {
  return (_layer, pair) => theta ** ((-2 * pair) / headDim);
}

/** One row of tokens, [time x vocabulary]. */
export function referenceLogits(
  parameters: HostParameters,
  tokens: readonly number[],
  reference: DecoderReference,
): number[] {
  const { dim, layerCount, embeddingScale = 1, logit = (x: number): number => x } = reference;
  const value = (name: string): Float64Array => parameters.get(name)!.data;
  const caches = Array.from({ length: layerCount }, () => ({ keys: [] as number[][], values: [] as number[][] }));
  const logits: number[] = [];
  for (const [position, token] of tokens.entries()) {
    let x = Array.from(value("embedding.weight").subarray(token * dim, (token + 1) * dim), (v) => v * embeddingScale);
    for (let layer = 0; layer < layerCount; layer++) {
      const block = blockOf(parameters, layer);
      const attended = attend(
        block,
        block.norm("attentionNorm", x, reference),
        position,
        layer,
        reference,
        caches[layer],
      );
      x = sum(x, block.norm("attentionPostNorm", attended, reference));
      const fed = feedForward(block, block.norm("feedForwardNorm", x, reference), reference);
      x = sum(x, block.norm("feedForwardPostNorm", fed, reference));
    }
    const last = rms(x, reference.epsilon, value("finalNorm.weight"));
    const head = value(parameters.has("head.weight") ? "head.weight" : "embedding.weight");
    logits.push(...matrixProduct(last, head).map(logit));
  }
  return logits;
}

type Block = ReturnType<typeof blockOf>;

function blockOf(parameters: HostParameters, layer: number) {
  const find = (name: string): Float64Array | undefined => parameters.get(`blocks.${layer}.${name}`)?.data;
  return {
    /** `x` as it is where the block has no such norm. */
    norm(name: string, x: readonly number[], { epsilon }: DecoderReference): number[] {
      const gain = find(`${name}.weight`);
      return gain === undefined ? [...x] : rms(x, epsilon, gain);
    },
    project(name: string, x: readonly number[], { project = matrixProduct }: DecoderReference): number[] {
      const bias = find(`${name}.bias`);
      return project(x, find(`${name}.weight`)!).map((y, i) => y + (bias?.[i] ?? 0));
    },
  };
}

function attend(
  block: Block,
  x: readonly number[],
  position: number,
  layer: number,
  reference: DecoderReference,
  { keys, values }: { readonly keys: number[][]; readonly values: number[][] },
): number[] {
  const { headCount, keyValueHeadCount, headDim, similarity, window = () => Infinity } = reference;
  const turned = (name: string): number[] => {
    const heads = split(block.project(`attention.${name}`, x, reference), headDim);
    return heads.flatMap((head) =>
      turn(block.norm(`attention.${name}Norm`, head, reference), position, layer, reference),
    );
  };
  const queries = split(turned("query"), headDim);
  keys.push(turned("key"));
  values.push(block.project("attention.value", x, reference));
  const first = Math.max(0, keys.length - window(layer));
  const mixed = queries.flatMap((query, head) => {
    const at = Math.floor(head / (headCount / keyValueHeadCount)) * headDim;
    const weights = keys.slice(first).map((key) => similarity(query, key.slice(at, at + headDim)));
    const total = weights.reduce((a, b) => a + b, 0);
    return Array.from({ length: headDim }, (_, i) =>
      weights.reduce((y, weight, t) => y + (weight / total) * values[first + t][at + i], 0),
    );
  });
  return block.project("attention.output", block.norm("attention.subNorm", mixed, reference), reference);
}

function feedForward(block: Block, x: readonly number[], reference: DecoderReference): number[] {
  const up = block.project("feedForward.up", x, reference);
  const gated = block.project("feedForward.gate", x, reference).map((g, i) => reference.activation(g) * up[i]);
  return block.project("feedForward.down", block.norm("feedForward.subNorm", gated, reference), reference);
}

function turn(head: readonly number[], position: number, layer: number, reference: DecoderReference): number[] {
  const { pairing, frequency, magnitude = 1 } = reference;
  const y = [...head];
  for (let pair = 0; pair < head.length / 2; pair++) {
    const a = pairing === "adjacent" ? 2 * pair : pair;
    const b = pairing === "adjacent" ? a + 1 : a + head.length / 2;
    const angle = position * frequency(layer, pair);
    y[a] = magnitude * (head[a] * Math.cos(angle) - head[b] * Math.sin(angle));
    y[b] = magnitude * (head[a] * Math.sin(angle) + head[b] * Math.cos(angle));
  }
  return y;
}

/** `x` times the transpose of a weight [outputs, x.length]. */
export function matrixProduct(x: readonly number[], weight: Float64Array): number[] {
  return Array.from({ length: weight.length / x.length }, (_, o) =>
    x.reduce((y, value, i) => y + value * weight[o * x.length + i], 0),
  );
}

export function rms(x: readonly number[], epsilon: number, gain?: Float64Array): number[] {
  const meanSquare = dot(x, x) / x.length;
  return x.map((value, i) => (value / Math.sqrt(meanSquare + epsilon)) * (gain?.[i] ?? 1));
}

export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

export function geluTanh(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

export function dot(x: readonly number[], y: readonly number[]): number {
  return x.reduce((total, value, i) => total + value * y[i], 0);
}

function sum(x: readonly number[], y: readonly number[]): number[] {
  return x.map((value, i) => value + y[i]);
}

function split(x: readonly number[], size: number): number[][] {
  return Array.from({ length: x.length / size }, (_, i) => x.slice(i * size, (i + 1) * size));
}

/**
 * Tests that a model computes what its reference does, and the same for a sequence as a whole, in pieces and token by
 * token.
 */
export function testDecoder(title: string, model: Model, reference: DecoderReference): void {
  const parameters = randomParameters(model, 3);
  const tokens = randomTokens(model, 2, 9, 1);
  const whole = evaluateModel(model, parameters, tokens);
  void test(`${title}: logits are those of its equations written as loops`, () => {
    const expected = tokens.flatMap((row) => referenceLogits(parameters, row, reference));
    assert.ok(largestError(expected, whole.logits) < 1e-9);
  });
  for (const pieces of [
    [1, 1, 1, 1, 1, 1, 1, 1, 1],
    [4, 5],
  ]) {
    void test(`${title}: pieces of ${pieces.join(", ")} tokens give the logits of the whole`, () => {
      let past = startOf(model, 2, 12);
      let from = 0;
      for (const length of pieces) {
        const step = evaluateModel(
          model,
          parameters,
          tokens.map((row) => row.slice(from, from + length)),
          past,
        );
        const { vocabSize } = model;
        for (const row of [0, 1]) {
          const expected = whole.logits.subarray((row * 9 + from) * vocabSize, (row * 9 + from + length) * vocabSize);
          const got = step.logits.subarray(row * length * vocabSize, (row + 1) * length * vocabSize);
          assert.ok(largestError(expected, got) < 1e-9);
        }
        past = step.past;
        from += length;
      }
    });
  }
}
