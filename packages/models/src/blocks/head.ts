// From the last vectors of a language model to the logits of its tokens: the rows of the head, which may be those of
// the embedding. It is a large part of the weights where a model is small or packed, and only a few of its rows are
// needed where a grammar lets few tokens come.

import type { BlockDtype, HalfDtype, Tensor } from "@fidelity/core";
import { add, chosenLinear } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
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
