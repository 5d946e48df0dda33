// Random numbers without hidden state. Philox 4x32 with ten rounds turns a key and a counter into four words (Salmon,
// Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), so the numbers of step 1000 are had
// without the 999 steps before it, and a resumed run draws exactly what an uninterrupted one draws.
//
// Leaves out: cryptographic strength; identical normal deviates on engines whose Math.log and Math.cos round otherwise.

import { FidelityError, invariant } from "@fidelity/units";

/** Streams of one seed that must not meet: the same seed and step give unrelated numbers for each purpose. */
export const randomPurpose = { initialisation: 0, batches: 1, sampling: 2, estimation: 3 } as const;

/** A seed outside the integers from 0 to 2^53 - 1. */
export class SeedError extends FidelityError {}

const multiplierA = 0xd2511f53;
const multiplierB = 0xcd9e8d57;
const weylA = 0x9e3779b9;
const weylB = 0xbb67ae85;
const roundCount = 10;

/**
 * The block function: enciphers `counter` [4] under the key and writes four words to `out` [4], which may be `counter`.
 */
export function philox4x32(counter: Uint32Array, keyLow: number, keyHigh: number, out: Uint32Array): void {
  let c0 = counter[0];
  let c1 = counter[1];
  let c2 = counter[2];
  let c3 = counter[3];
  let k0 = keyLow | 0;
  let k1 = keyHigh | 0;
  for (let round = 0; round < roundCount; round++) {
    const highA = multiplyHigh(multiplierA, c0);
    const lowA = Math.imul(multiplierA, c0);
    const highB = multiplyHigh(multiplierB, c2);
    const lowB = Math.imul(multiplierB, c2);
    c0 = (highB ^ c1 ^ k0) >>> 0;
    c1 = lowB >>> 0;
    c2 = (highA ^ c3 ^ k1) >>> 0;
    c3 = lowA >>> 0;
    k0 = (k0 + weylA) | 0;
    k1 = (k1 + weylB) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/**
 * The random numbers that belong to (seed, step, purpose). Two streams of the same three are the same; any other
 * combination is unrelated. `seek` aims an existing stream elsewhere without making garbage.
 */
export class RandomStream {
  readonly seed: number;
  readonly #purpose: number;
  // [block, step low, step high, purpose]
  readonly #counter = new Uint32Array(4);
  readonly #words = new Uint32Array(4);
  #used = 4;

  /**
   * @param seed an integer from 0 to 2^53 - 1; throws `SeedError` otherwise
   * @param step an integer from 0 to 2^53 - 1: a training step, a token, the index of a tensor
   * @param purpose one of `randomPurpose`
   */
  constructor(seed: number, step = 0, purpose: number = randomPurpose.initialisation) {
    if (!isSeed(seed)) {
      throw new SeedError(`${seed} cannot be a seed`, { expected: "an integer from 0 to 2^53 - 1", got: String(seed) });
    }
    this.seed = seed;
    this.#purpose = purpose;
    this.seek(step);
  }

  /** Moves to the first number of another step of the same seed and purpose. */
  seek(step: number): void {
    invariant(isSeed(step), `a step must be an integer from 0 to 2^53 - 1, got ${step}`);
    this.#counter[0] = 0;
    this.#counter[1] = step >>> 0;
    this.#counter[2] = Math.floor(step / 2 ** 32);
    this.#counter[3] = this.#purpose;
    this.#used = 4;
  }

  /** The next 32 random bits, from 0 to 2^32 - 1. */
  word(): number {
    if (this.#used === 4) {
      philox4x32(this.#counter, this.seed >>> 0, Math.floor(this.seed / 2 ** 32), this.#words);
      this.#counter[0]++;
      this.#used = 0;
    }
    return this.#words[this.#used++];
  }

  /** A float64 from 0 (included) to 1 (excluded) on the grid of 2^-53. */
  uniform(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** An integer from 0 to `limit` - 1, each equally likely; `limit` is from 1 to 2^32. */
  below(limit: number): number {
    invariant(Number.isInteger(limit) && limit >= 1 && limit <= 2 ** 32, `no integer lies below ${limit}`);
    // Words past the last whole multiple of the limit would favour the small numbers, so they are drawn again.
    const accepted = 2 ** 32 - (2 ** 32 % limit);
    let word = this.word();
    while (word >= accepted) word = this.word();
    return word % limit;
  }

  /** A standard normal deviate, by Box and Muller (1958). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Fills `out` with normal deviates of the given mean and standard deviation. */
  fillNormal(out: Float32Array | Float64Array, mean = 0, standardDeviation = 1): void {
    for (let index = 0; index < out.length; index++) out[index] = mean + standardDeviation * this.normal();
  }

  /** Fills `out` with uniform numbers from `low` (included) to `high`. */
  fillUniform(out: Float32Array | Float64Array, low = 0, high = 1): void {
    for (let index = 0; index < out.length; index++) out[index] = low + (high - low) * this.uniform();
  }
}

/** Whether a number can be a seed or a step: an integer from 0 to 2^53 - 1. */
export function isSeed(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** The upper 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536);
}
