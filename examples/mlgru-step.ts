// The token mixer of the MatMul-free LM (arXiv 2406.02528, section 3.3), one token: three ternary projections of the
// input, a forget gate, a candidate, and the gated recurrence h = f h + (1 - f) c with its output gate.
// Run it: node examples/mlgru-step.ts

import { kernel, ternary, vector } from "@fidelity/alex/kernels";
import type { Ternary, Vector } from "@fidelity/alex/kernels";
import { compare, fill, fillTernary } from "./compare.ts";

const WIDTH = 80;

type Weights = Ternary<[typeof WIDTH, typeof WIDTH]>;
type Channels = Vector<typeof WIDTH>;

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const silu = (x: number): number => x * sigmoid(x);

/** `hidden` becomes the next state, `out` the gated output. */
export const mlgruStep = kernel(function mlgruStep(
  forgetWeights: Weights,
  candidateWeights: Weights,
  gateWeights: Weights,
  x: Channels,
  hidden: Channels,
  out: Channels,
): void {
  for (let i = 0; i < WIDTH; i++) {
    let forget = 0;
    let candidate = 0;
    let gate = 0;
    for (let j = 0; j < WIDTH; j++) {
      switch (forgetWeights[i][j]) {
        case 1:
          forget += x[j];
          break;
        case -1:
          forget -= x[j];
          break;
        default:
          break;
      }
      switch (candidateWeights[i][j]) {
        case 1:
          candidate += x[j];
          break;
        case -1:
          candidate -= x[j];
          break;
        default:
          break;
      }
      switch (gateWeights[i][j]) {
        case 1:
          gate += x[j];
          break;
        case -1:
          gate -= x[j];
          break;
        default:
          break;
      }
    }
    const f = sigmoid(forget * forgetWeights.scale);
    const c = silu(candidate * candidateWeights.scale);
    hidden[i] = f * hidden[i] + (1 - f) * c;
    out[i] = sigmoid(gate * gateWeights.scale) * hidden[i];
  }
});

/** Arguments for a run. */
export function inputs(): Parameters<typeof mlgruStep> {
  const weights = (seed: number): Weights => ternary([WIDTH, WIDTH], fillTernary(WIDTH * WIDTH, seed), 0.1);
  const channels = (seed: number): Channels => fill(vector(WIDTH), seed);
  return [weights(1), weights(2), weights(3), channels(4), channels(5), vector(WIDTH)];
}

if (import.meta.main) await compare(import.meta.url, mlgruStep, inputs);
