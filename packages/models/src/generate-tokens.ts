// From logits to tokens and back: the loop of every text, whatever reads its tokens.

import type { Constraint } from "./constraints/index.ts";
import type { Model } from "./model.ts";
import type { Sampler } from "./sampling.ts";

export interface GenerateOptions {
  readonly sampler: Pick<Sampler, "observe" | "sample">;
  /** The most tokens to generate. */
  readonly maxTokens: number;
  /** Ends the text at a token for which it is true; that token is not given out. */
  readonly stop?: (token: number) => boolean;
  /** What the text must be. It ends where nothing more may come. Every generation needs one at its start. */
  readonly constraint?: Constraint;
  /** Whether the sampler looks at logits of tokens that the constraint forbids. They mean nothing unless it is so. */
  readonly allLogits?: boolean;
}

/**
 * Reads tokens and gives the logits [vocabulary] after the last one: a view that is good until more is read. Those of
 * tokens that are not `allowed` (`Sampler.sample`) may be anything but NaN.
 */
export interface TokenReader {
  readonly model: Model;
  prefill(tokens: ArrayLike<number>, allowed?: Uint32Array): Promise<Float32Array>;
  step(token: number, allowed?: Uint32Array): Float32Array | Promise<Float32Array>;
  /** Those of the logits (`Session.peaks`), where there are any. */
  readonly peaks?: Float32Array | undefined;
}

/**
 * Reads a prompt and gives out tokens, one by one, until `maxTokens` or `stop`. The last token given out has not been
 * read. Throws what the reader throws.
 */
export async function* generateTokens(
  reader: TokenReader,
  prompt: ArrayLike<number>,
  { sampler, maxTokens, stop, constraint, allLogits = false }: GenerateOptions,
): AsyncGenerator<number, void, undefined> {
  const mask = constraint && new Uint32Array((reader.model.vocabSize + 31) >>> 5);
  const isFinished = (): boolean => constraint?.isFinished === true;
  /** Finds what may come next, and gives which logits to ask for. */
  const wanted = (): Uint32Array | undefined => {
    if (mask !== undefined && !isFinished()) constraint?.allowed(mask);
    return allLogits ? undefined : mask;
  };
  let logits = await reader.prefill(prompt, wanted());
  for (let i = 0; i < prompt.length; i++) sampler.observe(prompt[i]);
  for (let count = 0; count < maxTokens && !isFinished(); count++) {
    const token = sampler.sample(logits, mask, reader.peaks);
    constraint?.accept(token);
    if (stop?.(token) === true) return;
    yield token;
    if (count + 1 >= maxTokens || isFinished()) return;
    const next = reader.step(token, wanted());
    logits = next instanceof Promise ? await next : next;
  }
}
