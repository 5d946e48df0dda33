// A kernel whose parameters' types are imported and computed.

import { kernel } from "../index.ts";
import type { Channels, Shapes, Weights } from "./shared-types.ts";

/** Weighted sums of rows, and how many weights are not zero. */
export const imported = kernel(function imported(
  weights: Weights,
  x: Channels,
  table: Shapes["table"],
  counts: Shapes["counts"],
  gain: Parameters<typeof Math.abs>[0],
): void {
  for (let row = 0; row < weights.length; row++) {
    let count = 0;
    for (let column = 0; column < x.length; column++) {
      table[row][column] = weights[row][column] * x[column] * gain;
      if (weights[row][column] !== 0) count += 1;
    }
    counts[row] = count;
  }
});
