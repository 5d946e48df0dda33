// Locally typical sampling (Meister and others, arXiv 2202.00666): of the tokens whose surprise, -log p, is nearest to
// the entropy of the distribution, the fewest that are as likely as `share` together.

import type { Candidates } from "./candidates.ts";

/** Keeps the most typical candidates that weigh `share` of all. The weights must be those of temperature 1. */
export function keepTypical(candidates: Candidates, share: number): void {
  const { tokens, weights, keys, count } = candidates;
  const total = candidates.total();
  let entropy = 0;
  for (let rank = 0; rank < count; rank++) {
    const probability = weights[tokens[rank]] / total;
    if (probability > 0) entropy -= probability * Math.log(probability);
  }
  for (let rank = 0; rank < count; rank++) {
    keys[tokens[rank]] = -Math.abs(-Math.log(weights[tokens[rank]] / total) - entropy);
  }
  candidates.keepKeysUntil(share * total);
}
