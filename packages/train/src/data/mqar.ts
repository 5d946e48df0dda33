// Multi-query associative recall (Arora et al. 2023, "Zoology", arXiv 2312.04927, section 3 and appendix): a sequence
// starts with pairs of a key and a value, and asks later for the value of every key once. A model that keeps what it
// read in a state of fixed size must keep all pairs in it; attention looks them up.
//
// The generator is that of the published code with fillers of one kind: keys are drawn from the lower half of the
// vocabulary but 0, values from the upper half, both without repetition; behind the pairs, queries lie at even
// offsets whose gaps follow a power law, p(i) ~ i^(power - 1) for i = 1, 2, ..., and 0 fills what is left. The answer
// to a query is the target of its position, and no input.
//
// Left out: fillers that are random tokens, which among few symbols would be keys by chance.

import { createHash } from "node:crypto";
import { CharacterTokenizer, NO_TARGET, RandomStream, randomPurpose } from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";
import { invariant } from "@fidelity/units";
import type { BatchOptions } from "./batches.ts";
import { checkBatchSizes } from "./batches.ts";
import { checkPositiveInteger, DataSettingError } from "./errors.ts";
import type { BatchSource, SequenceTask } from "./task.ts";

export interface MqarOptions {
  /** Symbols: the filler 0, keys, and values. */
  readonly vocabSize: number;
  /** How many pairs a sequence may have; each sequence draws one of these. */
  readonly pairs: readonly number[];
  /** The exponent of the gaps, above 0; 1 draws them evenly. 0.01, as published, by default. */
  readonly power?: number;
}

const DEFAULT_POWER = 0.01;
const LARGEST_VOCABULARY = 1 << 24;
const VALIDATION_BATCHES = 64;
/** What validation is drawn from, whatever the seed of a run: all runs answer the same questions. */
const VALIDATION_SEED = 0;

/** The task. Throws `DataSettingError` where there are fewer symbols than the pairs need. */
export function mqarTask({ vocabSize, pairs, power = DEFAULT_POWER }: MqarOptions): SequenceTask {
  checkPositiveInteger("the vocabulary of MQAR", vocabSize, LARGEST_VOCABULARY);
  if (pairs.length === 0) throw new DataSettingError("MQAR needs at least one number of pairs", { got: "none" });
  for (const count of pairs) checkPositiveInteger("the number of pairs", count, LARGEST_VOCABULARY);
  const most = Math.max(...pairs);
  const { keyCount } = symbolsOf(vocabSize);
  if (most > keyCount) {
    throw new DataSettingError(`${most} pairs need more symbols than there are`, {
      expected: `a vocabulary of at least ${2 * most + 2}: a filler, and ${most} keys and values that differ`,
      got: String(vocabSize),
      hint: "use a larger vocabulary, or fewer pairs",
    });
  }
  if (!(power > 0 && power <= 100)) {
    throw new DataSettingError("the power of the gaps is impossible", {
      expected: "a number above 0 and up to 100",
      got: String(power),
    });
  }
  const identity = JSON.stringify({ task: "mqar", vocabSize, pairs, power });
  const fingerprint = createHash("sha256").update(identity).digest("hex").slice(0, 16);
  return {
    vocabSize,
    fingerprint,
    batches: (options) => new MqarBatches({ vocabSize, pairs, power }, options),
  };
}

/** A block of signs for symbols to be printed as: the unified ideographs of Unicode. */
const SIGNS = { first: 0x4e00, count: 20_992 } as const;

/** A vocabulary of `count` symbols that mean nothing. Throws `DataSettingError` for more than there are signs. */
export function symbolTokenizer(count: number): Tokenizer {
  checkPositiveInteger("the number of symbols", count, SIGNS.count);
  return new CharacterTokenizer(
    Array.from({ length: count }, (_, i) => String.fromCodePoint(SIGNS.first + i)).join(""),
  );
}

/** The batches of MQAR: those of step n follow from seed and n. */
class MqarBatches implements BatchSource {
  readonly batchSize: number;
  readonly contextLength: number;
  readonly validationBatchCount = VALIDATION_BATCHES;
  readonly #task: Required<MqarOptions>;
  readonly #training: RandomStream;
  readonly #validation = new RandomStream(VALIDATION_SEED, 0, randomPurpose.validation);

  constructor(task: Required<MqarOptions>, { batchSize, contextLength, seed }: BatchOptions) {
    checkBatchSizes(batchSize, contextLength);
    const most = Math.max(...task.pairs);
    if (contextLength < 4 * most) {
      throw new DataSettingError(`sequences of ${contextLength} tokens are too short for ${most} pairs`, {
        expected: `at least ${4 * most} tokens: two for each pair, and two for each query`,
        got: String(contextLength),
        hint: "use a longer context, or fewer pairs",
      });
    }
    this.batchSize = batchSize;
    this.contextLength = contextLength;
    this.#task = task;
    this.#training = new RandomStream(seed, 0, randomPurpose.batches);
  }

  batch(step: number, inputs: Int32Array, targets: Int32Array): void {
    this.#training.seek(step);
    this.#fill(this.#training, inputs, targets);
  }

  validationBatch(index: number, inputs: Int32Array, targets: Int32Array): void {
    this.#validation.seek(index);
    this.#fill(this.#validation, inputs, targets);
  }

  #fill(random: RandomStream, inputs: Int32Array, targets: Int32Array): void {
    const { batchSize, contextLength } = this;
    const { vocabSize, pairs, power } = this.#task;
    const tokenCount = batchSize * contextLength;
    invariant(inputs.length === tokenCount && targets.length === tokenCount, `a batch has ${tokenCount} tokens`);
    for (let row = 0; row < batchSize; row++) {
      const [from, to] = [row * contextLength, (row + 1) * contextLength];
      const count = pairs[random.below(pairs.length)];
      fillSequence(random, { vocabSize, count, power }, inputs.subarray(from, to), targets.subarray(from, to));
    }
  }
}

interface SequenceSizes {
  readonly vocabSize: number;
  /** Pairs of this sequence. */
  readonly count: number;
  readonly power: number;
}

/** One sequence: `inputs` and `targets` are [time], with at least four tokens a pair. */
function fillSequence(
  random: RandomStream,
  { vocabSize, count, power }: SequenceSizes,
  inputs: Int32Array,
  targets: Int32Array,
): void {
  const { keyCount, firstValue } = symbolsOf(vocabSize);
  const keys = drawDistinct(random, keyCount, count).map((key) => key + 1);
  const values = drawDistinct(random, vocabSize - firstValue, count).map((value) => value + firstValue);
  inputs.fill(0);
  targets.fill(NO_TARGET);
  for (let pair = 0; pair < count; pair++) {
    inputs[2 * pair] = keys[pair];
    inputs[2 * pair + 1] = values[pair];
  }
  const gaps = drawGaps(random, Math.floor((inputs.length - 2 * count) / 2), count, power);
  for (let pair = 0; pair < count; pair++) {
    const at = 2 * count + 2 * gaps[pair];
    inputs[at] = keys[pair];
    targets[at] = values[pair];
  }
}

/** Keys are 1 to keyCount, values from firstValue on. */
function symbolsOf(vocabSize: number): { keyCount: number; firstValue: number } {
  const firstValue = vocabSize >> 1;
  return { keyCount: firstValue - 1, firstValue };
}

/** `count` different integers below `limit`, all orders equally likely (Floyd's draw would sort them in part). */
function drawDistinct(random: RandomStream, limit: number, count: number): number[] {
  const moved = new Map<number, number>();
  return Array.from({ length: count }, (_, i) => {
    const at = i + random.below(limit - i);
    const drawn = moved.get(at) ?? at;
    moved.set(at, moved.get(i) ?? i);
    return drawn;
  });
}

/**
 * `count` different gaps below `space`, drawn one after another with weights (gap + 1)^(power - 1): the largest of
 * log(u) / weight (Efraimidis and Spirakis 2006), in the order drawn.
 */
function drawGaps(random: RandomStream, space: number, count: number, power: number): number[] {
  const ranked = Array.from({ length: space }, (_, gap) => ({
    gap,
    rank: Math.log(1 - random.uniform()) / (gap + 1) ** (power - 1),
  }));
  return ranked
    .sort((a, b) => b.rank - a.rank)
    .slice(0, count)
    .map(({ gap }) => gap);
}
