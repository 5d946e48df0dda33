// From the last vectors of a language model to the logits of its tokens: the rows of the head, which may be those of
// the embedding. It is a large part of the weights where a model is small or packed, and only a few of its rows are
// needed where a grammar lets few tokens come.

import type { BlockDtype, HalfDtype, Tensor } from "@fidelity/core";
import { add, chosenLinear, eq, pad, reduceMax, reshape, select } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import { PEAK_TOKENS } from "../sampling/peaks.ts";
import type { EmbeddingParameters } from "./embedding.ts";
import type { LinearParameters } from "./linear.ts";
import { linear } from "./linear.ts";

/** What a model has of these; without a head, the embedding is it. */
interface HeadParameters {
  readonly embedding: TensorsOf<EmbeddingParameters>;
  readonly head?: TensorsOf<LinearParameters>;
}

/** The logits [..., vocabulary] of vectors [..., dim]; of one token, those that are `chosen` (`Model.forward`). */
export function tokenLogits(
  { embedding, head }: HeadParameters,
  x: Tensor<Shape, "f32">,
  chosen: Tensor<Shape, "i32"> | undefined,
): Tensor<Shape, "f32"> {
  const { weight, bias }: TensorsOf<LinearParameters> = head ?? embedding;
  if (chosen === undefined) return linear({ weight, bias }, x);
  const logits = chosenLinear(x, weight as Tensor<Shape, "f32" | HalfDtype | BlockDtype>, chosen);
  return bias === undefined ? logits : add(logits, bias);
}

/**
 * The highest of each `PEAK_TOKENS` neighbours of the logits [1, 1, vocabulary] of a token, which is what samplers look
 * at first: [groups]. Infinity where one of them is NaN.
 */
export function logitPeaks(logits: Tensor<Shape, "f32">): Tensor<Shape, "f32"> {
  const vocabSize = logits.shape[2]!;
  const groups = Math.ceil(vocabSize / PEAK_TOKENS);
  const missing = groups * PEAK_TOKENS - vocabSize;
  const whole = missing === 0 ? logits : pad(logits, [0, 0, 0], [0, 0, missing], -Infinity);
  const rows = reshape(whole, [groups, PEAK_TOKENS]);
  return reduceMax(select(eq(rows, rows), rows, Infinity), 1);
}
