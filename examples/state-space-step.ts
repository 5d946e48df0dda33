// One step of a diagonal state-space model: state = a state + b u, y = c . state (S4D, arXiv 2206.11893; Mamba makes a
// and b depend on the input). The state is updated in place and the output is returned: a kernel may write to its
// arguments and return one number.
// Run it: node examples/state-space-step.ts

import { kernel, vector } from "@fidelity/alex/kernels";
import type { f32, Vector } from "@fidelity/alex/kernels";
import { compare, fill } from "./compare.ts";

const STATE = 72;

/** The output of one step; `state` becomes the next state. */
export const stateSpaceStep = kernel(function stateSpaceStep(
  state: Vector<typeof STATE>,
  input: f32,
  a: Vector<typeof STATE>,
  b: Vector<typeof STATE>,
  c: Vector<typeof STATE>,
): number {
  let output = 0;
  for (let n = 0; n < STATE; n++) {
    state[n] = a[n] * state[n] + b[n] * input;
    output += c[n] * state[n];
  }
  return output;
});

/** Arguments for a run. */
export function inputs(): Parameters<typeof stateSpaceStep> {
  const decay = vector(STATE);
  fill(vector(STATE), 2).forEach((value, i) => (decay[i] = 0.9 + 0.05 * value));
  return [fill(vector(STATE), 1), 0.7, decay, fill(vector(STATE), 3), fill(vector(STATE), 4)];
}

if (import.meta.main) await compare(import.meta.url, stateSpaceStep, inputs);
