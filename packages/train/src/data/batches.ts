// Training windows drawn at random, as in karpathy/nanoGPT, whose first nine tenths of the tokens train and the rest
// validate, and validation windows spread evenly. A batch is a function of (seed, step) alone, so a resumed run sees
// exactly what an uninterrupted one would have seen, and nothing about the data needs a place in the checkpoint.

import { RandomStream, randomPurpose } from "@fidelity/models";
import { invariant } from "@fidelity/units";
import type { TokenArray } from "./corpus.ts";
import { checkPositiveInteger, CorpusTooShortError } from "./errors.ts";

const trainShare = 0.9;
const validationShare = 0.1;
const largestBatchTokens = 1 << 28;

export interface BatchOptions {
  readonly batchSize: number;
  readonly contextLength: number;
  /** An integer from 0 to 2^53 - 1. */
  readonly seed: number;
}

/** The first nine tenths and the rest, as views. */
export function splitTokens(tokens: TokenArray): { train: TokenArray; validation: TokenArray } {
  const trainLength = Math.floor(tokens.length * trainShare);
  return { train: tokens.subarray(0, trainLength), validation: tokens.subarray(trainLength) };
}

export class Batches {
  readonly batchSize: number;
  readonly contextLength: number;
  readonly train: TokenArray;
  readonly validation: TokenArray;
  /** How many validation batches see every validation token. */
  readonly validationBatchCount: number;
  readonly #random: RandomStream;

  /** Throws `CorpusTooShortError` when a split has no room for one window, and `DataSettingError` for odd sizes. */
  constructor(tokens: TokenArray, options: BatchOptions) {
    const { batchSize, contextLength, seed } = options;
    checkBatchSizes(batchSize, contextLength);
    const { train, validation } = splitTokens(tokens);
    checkLength(tokens.length, Math.min(train.length, validation.length), contextLength);
    this.batchSize = batchSize;
    this.contextLength = contextLength;
    this.train = train;
    this.validation = validation;
    const windowCount = 1 + Math.ceil((validation.length - 1 - contextLength) / contextLength);
    this.validationBatchCount = Math.ceil(windowCount / batchSize);
    this.#random = new RandomStream(seed, 0, randomPurpose.batches);
  }

  /**
   * Fills the batch of a training step. `inputs` and `targets` are [batchSize, contextLength], row-major; targets are
   * the inputs moved on by one token.
   */
  batch(step: number, inputs: Int32Array, targets: Int32Array): void {
    this.#checkShapes(inputs, targets);
    this.#random.seek(step);
    const startCount = this.train.length - this.contextLength;
    for (let row = 0; row < this.batchSize; row++) {
      this.#copyWindow(this.train, this.#random.below(startCount), row, inputs, targets);
    }
  }

  /**
   * Fills the validation batch `index` of `count` whose windows lie evenly over the validation tokens, first and last
   * included. With the default count every token is seen; a smaller count is a quicker estimate from the whole range.
   */
  validationBatch(index: number, inputs: Int32Array, targets: Int32Array, count = this.validationBatchCount): void {
    this.#checkShapes(inputs, targets);
    invariant(Number.isInteger(index) && index >= 0 && index < count, `validation batch ${index} of ${count}`);
    const lastStart = this.validation.length - 1 - this.contextLength;
    const lastWindow = count * this.batchSize - 1;
    for (let row = 0; row < this.batchSize; row++) {
      const window = index * this.batchSize + row;
      const start = lastWindow === 0 ? 0 : Math.floor((window * lastStart) / lastWindow);
      this.#copyWindow(this.validation, start, row, inputs, targets);
    }
  }

  #copyWindow(tokens: TokenArray, start: number, row: number, inputs: Int32Array, targets: Int32Array): void {
    const rowStart = row * this.contextLength;
    for (let time = 0; time < this.contextLength; time++) {
      inputs[rowStart + time] = tokens[start + time];
      targets[rowStart + time] = tokens[start + time + 1];
    }
  }

  #checkShapes(inputs: Int32Array, targets: Int32Array): void {
    const elementCount = this.batchSize * this.contextLength;
    invariant(inputs.length === elementCount && targets.length === elementCount, `a batch has ${elementCount} tokens`);
  }
}

/** Throws `DataSettingError` for batches that no memory holds. */
export function checkBatchSizes(batchSize: number, contextLength: number): void {
  checkPositiveInteger("the context length", contextLength, largestBatchTokens);
  checkPositiveInteger("the batch size", batchSize, Math.floor(largestBatchTokens / contextLength));
}

function checkLength(tokenCount: number, shorterSplit: number, contextLength: number): void {
  if (shorterSplit >= contextLength + 1) return;
  const neededCount = Math.ceil((contextLength + 1) / validationShare);
  const largestContext = shorterSplit - 1;
  throw new CorpusTooShortError(`the text is too short for a context of ${contextLength} tokens`, {
    expected: `about ${neededCount} tokens, a tenth of which are kept for validation`,
    got: `${tokenCount} tokens`,
    hint: largestContext >= 1 ? `use more text, or a context of at most ${largestContext}` : "use more text",
  });
}
