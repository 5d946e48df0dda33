// Log-probabilities of tokens, as reports on generated text give them: of the model's own distribution, before biases,
// penalties and filters.

export interface TokenLogprob {
  readonly token: number;
  /** The natural logarithm of the probability. */
  readonly logprob: number;
}

/** The log-probability of one token. */
export function logprobOf(logits: ArrayLike<number>, token: number): number {
  return logits[token] - logSumExp(logits);
}

/** The natural logarithm of the sum of exp over `logits`; terms that are -Infinity add nothing. */
function logSumExp(logits: ArrayLike<number>): number {
  let most = -Infinity;
  for (let token = 0; token < logits.length; token++) if (logits[token] > most) most = logits[token];
  let sum = 0;
  for (let token = 0; token < logits.length; token++) sum += Math.exp(logits[token] - most);
  return most + Math.log(sum);
}

/**
 * The `count` likeliest tokens of `logits` [vocabSize], likeliest first, the lower id first among equals. `allowed` has
 * a bit for each token that may be among them; the probabilities stay those of the whole distribution.
 */
export function topLogprobs(logits: ArrayLike<number>, count: number, allowed?: Uint32Array): TokenLogprob[] {
  const normaliser = logSumExp(logits);
  const top: TokenLogprob[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (allowed !== undefined && ((allowed[token >>> 5] >>> (token & 31)) & 1) === 0) continue;
    const logprob = logits[token] - normaliser;
    if (top.length === count && (count === 0 || logprob <= top[count - 1].logprob)) continue;
    let rank = top.length;
    while (rank > 0 && top[rank - 1].logprob < logprob) rank--;
    top.splice(rank, 0, { token, logprob });
    if (top.length > count) top.pop();
  }
  return top;
}
