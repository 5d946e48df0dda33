// Linear attention: with a feature map phi in place of the softmax, attention is phi(Q) (phi(K)^T V), which costs time
// linear in the length (Katharopoulos et al. 2020, arXiv 2006.16236; phi(x) = elu(x) + 1). The kernel has memory of its
// own for the sums over keys, and a helper for phi that is inlined.
// Run it: node examples/linear-attention.ts

import { kernel, matrix, vector } from "@fidelity/alex/kernels";
import type { Matrix } from "@fidelity/alex/kernels";
import { compare, fill } from "./compare.ts";

const TOKENS = 40;
const WIDTH = 24;

type Sequence = Matrix<typeof TOKENS, typeof WIDTH>;

/** elu(x) + 1: positive everywhere. */
function feature(x: number): number {
  return x > 0 ? x + 1 : Math.exp(x);
}

/** out[t] = phi(q[t]) . sum over s of phi(k[s]) v[s]^T, normalised. */
export const linearAttention = kernel(function linearAttention(
  queries: Sequence,
  keys: Sequence,
  values: Sequence,
  out: Sequence,
): void {
  const products = matrix(WIDTH, WIDTH);
  const sums = vector(WIDTH);
  for (let t = 0; t < TOKENS; t++) {
    for (let i = 0; i < WIDTH; i++) {
      const key = feature(keys[t][i]);
      sums[i] += key;
      for (let j = 0; j < WIDTH; j++) products[i][j] += key * values[t][j];
    }
  }
  for (let t = 0; t < TOKENS; t++) {
    let norm = 0;
    for (let i = 0; i < WIDTH; i++) norm += feature(queries[t][i]) * sums[i];
    for (let j = 0; j < WIDTH; j++) out[t][j] = 0;
    for (let i = 0; i < WIDTH; i++) {
      const query = feature(queries[t][i]) / norm;
      for (let j = 0; j < WIDTH; j++) out[t][j] += query * products[i][j];
    }
  }
});

/** Arguments for a run. */
export function inputs(): Parameters<typeof linearAttention> {
  const sequence = (seed: number): Sequence => fill(matrix(TOKENS, WIDTH), seed);
  return [sequence(1), sequence(2), sequence(3), matrix(TOKENS, WIDTH)];
}

if (import.meta.main) await compare(import.meta.url, linearAttention, inputs);
