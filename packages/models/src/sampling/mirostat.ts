// Mirostat (Basu and others, arXiv 2007.14966): keeps the surprise of the text near a target. Its bound mu rises when
// a token was less surprising than that, and falls when it was more. Version 2 leaves out tokens whose surprise is
// above mu; version 1 keeps a number of tokens that follows from mu and from how the likeliest fall off (equation 30
// and algorithm 1). The surprise of a choice is that among the tokens that were kept, as in llama.cpp.

import type { Candidates } from "./candidates.ts";

/** How many of the likeliest tokens version 1 estimates the fall-off from. */
const ESTIMATED = 100;

export class Mirostat {
  readonly #version: number;
  readonly #target: number;
  readonly #rate: number;
  #bound: number;

  /** @param target bits a token; @param rate of learning */
  constructor(version: number, target: number, rate: number) {
    this.#version = version;
    this.#target = target;
    this.#rate = rate;
    this.#bound = 2 * target;
  }

  reset(): void {
    this.#bound = 2 * this.#target;
  }

  /** Keeps the candidates that are to be drawn from. Their weights are those of the temperature. */
  keep(candidates: Candidates): void {
    if (this.#version === 2) candidates.keepAtLeast(2 ** -this.#bound * candidates.total());
    else candidates.keepHeaviest(this.#countFor(candidates));
  }

  /** Learns from the token that was drawn from the candidates. */
  learn(candidates: Candidates, token: number): void {
    const surprise = -Math.log2(candidates.weights[token] / candidates.total());
    this.#bound -= this.#rate * (surprise - this.#target);
  }

  #countFor(candidates: Candidates): number {
    const all = candidates.count;
    if (all < 3) return all;
    candidates.keepHeaviest(Math.min(ESTIMATED, all));
    const estimated = candidates.count;
    candidates.count = all; // the others still stand behind them
    const { tokens, weights } = candidates;
    let [products, squares] = [0, 0];
    for (let rank = 0; rank < estimated - 1; rank++) {
      if (weights[tokens[rank + 1]] === 0) break;
      const distance = Math.log((rank + 2) / (rank + 1));
      products += distance * Math.log(weights[tokens[rank]] / weights[tokens[rank + 1]]);
      squares += distance * distance;
    }
    const exponent = products / squares;
    const excess = exponent - 1;
    const count = ((excess * 2 ** this.#bound) / (1 - all ** -excess)) ** (1 / exponent);
    return Number.isFinite(count) ? Math.max(1, Math.min(all, Math.round(count))) : all;
  }
}
