// Random numbers without hidden state. Philox 4x32 with ten rounds turns a key and a counter into four words (Salmon,
// Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), so the numbers of step 1000 are had
// without the 999 steps before it, and a resumed run draws exactly what an uninterrupted one draws.
//
// Leaves out: cryptographic strength; identical normal deviates on engines whose Math.log and Math.cos round otherwise.

import { FidelityError, invariant } from "@fidelity/units";

/** Streams of one seed that must not meet: the same seed and step give unrelated numbers for each purpose. */
export const randomPurpose = {
  initialisation: 0,
  batches: 1,
  sampling: 2,
  estimation: 3,
  validation: 4,
  drafting: 5,
} as const;

/** A seed outside the integers from 0 to 2^53 - 1. */
export class SeedError extends FidelityError {}

const multiplierA = 0xd2511f53;
const multiplierB = 0xcd9e8d57;
const weylA = 0x9e3779b9;
const weylB = 0xbb67ae85;
const roundCount = 10;

/**
 * The block function: enciphers `counter` [4], and those that follow from it by counting its first word on, under the
 * key, and writes four words for each to `out` [4 blocks], which may be `counter`. All words are signed on the way, for
 * which engines have registers of 32 bits.
 */
export function philox4x32(counter: Uint32Array, keyLow: number, keyHigh: number, out: Uint32Array): void {
  const [s0, s1, s2, s3] = counter;
  for (let at = 0; at + 4 <= out.length; at += 4) {
    let c0 = (s0 + (at >>> 2)) | 0;
    let c1 = s1 | 0;
    let c2 = s2 | 0;
    let c3 = s3 | 0;
    let k0 = keyLow | 0;
    let k1 = keyHigh | 0;
    for (let round = 0; round < roundCount; round++) {
      const highA = multiplyHigh(multiplierA, c0);
      const lowA = Math.imul(multiplierA, c0);
      const highB = multiplyHigh(multiplierB, c2);
      const lowB = Math.imul(multiplierB, c2);
      c0 = highB ^ c1 ^ k0;
      c1 = lowB;
      c2 = highA ^ c3 ^ k1;
      c3 = lowA;
      k0 = (k0 + weylA) | 0;
      k1 = (k1 + weylB) | 0;
    }
    out[at] = c0;
    out[at + 1] = c1;
    out[at + 2] = c2;
    out[at + 3] = c3;
  }
}

/** Numbers of a batch of `fillNormal` and `fillUniform`, and the words that they are made of, four for each. */
const BATCH = 256;
const batchWords = new Uint32Array(4 * BATCH);

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

  /** The next words, written to `out`. */
  #fillWords(out: Uint32Array): void {
    let at = 0;
    while (at < out.length && this.#used < 4) out[at++] = this.#words[this.#used++];
    const blocks = (out.length - at) >>> 2;
    if (blocks > 0) {
      const end = at + 4 * blocks;
      philox4x32(this.#counter, this.seed >>> 0, Math.floor(this.seed / 2 ** 32), out.subarray(at, end));
      this.#counter[0] += blocks;
      at = end;
    }
    while (at < out.length) out[at++] = this.word();
  }

  /** A float64 from 0 (included) to 1 (excluded) on the grid of 2^-53. */
  uniform(): number {
    return uniformOf(this.word(), this.word());
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
    return normalOf(this.uniform(), this.uniform());
  }

  /** Fills `out` with normal deviates of the given mean and standard deviation. */
  fillNormal(out: Float32Array | Float64Array, mean = 0, standardDeviation = 1): void {
    for (let first = 0; first < out.length; first += BATCH) {
      const count = Math.min(BATCH, out.length - first);
      const words = batchWords.subarray(0, 4 * count);
      this.#fillWords(words);
      for (let i = 0; i < count; i++) {
        const u = uniformOf(words[4 * i], words[4 * i + 1]);
        out[first + i] = mean + standardDeviation * normalOf(u, uniformOf(words[4 * i + 2], words[4 * i + 3]));
      }
    }
  }

  /** Fills `out` with uniform numbers from `low` (included) to `high`. */
  fillUniform(out: Float32Array | Float64Array, low = 0, high = 1): void {
    for (let first = 0; first < out.length; first += BATCH) {
      const count = Math.min(BATCH, out.length - first);
      const words = batchWords.subarray(0, 2 * count);
      this.#fillWords(words);
      for (let i = 0; i < count; i++) {
        out[first + i] = low + (high - low) * uniformOf(words[2 * i], words[2 * i + 1]);
      }
    }
  }
}

function uniformOf(high: number, low: number): number {
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}

function normalOf(u: number, v: number): number {
  return Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v);
}

/** Whether a number can be a seed or a step: an integer from 0 to 2^53 - 1. */
export function isSeed(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** The upper 32 bits of the product of two unsigned 32-bit integers, as a signed one. No sum here exceeds 32 bits. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const carry = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (carry >>> 16)) | 0;
}
