// Ternary accumulation: a matrix times a vector without a multiplication. Each weight is -1, 0 or 1, so a row of the
// product is a sum of some elements less a sum of others (MatMul-free LM, arXiv 2406.02528). As TypeScript it is the
// two loops below; compiled, sixteen rows run side by side over weights packed in two bits.
// Run it: node examples/ternary-accumulate.ts

import { kernel, ternary, vector } from "@fidelity/alex/kernels";
import type { Ternary, Vector } from "@fidelity/alex/kernels";
import { compare, fill, fillTernary } from "./compare.ts";

const ROWS = 96;
const COLUMNS = 160;

/** out = scale * (weights x). */
export const ternaryAccumulate = kernel(function ternaryAccumulate(
  weights: Ternary<[typeof ROWS, typeof COLUMNS]>,
  x: Vector<typeof COLUMNS>,
  out: Vector<typeof ROWS>,
): void {
  for (let row = 0; row < ROWS; row++) {
    let sum = 0;
    for (let column = 0; column < COLUMNS; column++) {
      switch (weights[row][column]) {
        case 1:
          sum += x[column];
          break;
        case -1:
          sum -= x[column];
          break;
        default: // A weight of 0 costs nothing.
          break;
      }
    }
    out[row] = sum * weights.scale;
  }
});

/** Arguments for a run. */
export function inputs(): Parameters<typeof ternaryAccumulate> {
  const weights = ternary([ROWS, COLUMNS], fillTernary(ROWS * COLUMNS, 1), 0.05);
  return [weights, fill(vector(COLUMNS), 2), vector(ROWS)];
}

if (import.meta.main) await compare(import.meta.url, ternaryAccumulate, inputs);
