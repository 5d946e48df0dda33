// Chance that is the same for the same seed and case, so that any case can be run again alone.

/** Whole numbers from 0 to below `limit`, which is at most 2^32 (mulberry32). */
export type Random = (limit: number) => number;

/** The numbers of one case of a seed. */
export function randomFor(seed: number, index: number): Random {
  let state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35)) >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

/** One of some things. */
export function pick<T>(random: Random, items: ArrayLike<T>): T {
  return items[random(items.length)];
}

/** A number up to about `most`; small ones are as likely as large ones. */
export function randomSize(random: Random, most: number): number {
  return Math.floor(2 ** ((Math.log2(most + 1) * random(2 ** 16)) / 2 ** 16)) - 1;
}
