// Which tokens of a prompt are read in chunks, and which by steps. Both round differently, by a bit of a float32, or by
// more where activations are rounded to 8 bits. So sessions and pools have one rule, however long their chunks are: a
// prompt then has the same logits, to the bit, with either.

/** What is left of a prompt is read by programs of so many times fewer tokens, and the rest by steps. */
export const SHORTER = 8;

/** Tokens of the programs that read prompts, from the longest to the shortest; none where steps read all. */
export function chunkLengths(longest: number): number[] {
  const lengths: number[] = [];
  for (let length = longest; length > 1; length = Math.floor(length / SHORTER)) lengths.push(length);
  return lengths;
}

/**
 * How many tokens at the end of `count` are read by steps: what whole chunks leave, unless it fills more than half of
 * one and `canFill`, where the rest of a chunk may be filled up. Chunks are multiples of the shortest.
 */
export function leftToSteps(count: number, lengths: readonly number[], canFill: boolean): number {
  const shortest = lengths.at(-1) ?? 1;
  const rest = count % shortest;
  return canFill && rest > shortest / 2 ? 0 : rest;
}
