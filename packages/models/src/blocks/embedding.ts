// The table of a vocabulary: a row for each token. Where a model's embeddings are tied, `linear` reads it as the head.

import type { Tensor } from "@fidelity/core";
import { cast, gather } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { NarrowSpec, TensorsOf } from "../parameters.ts";
import { matrix, narrow } from "../parameters.ts";

export type EmbeddingParameters = { readonly weight: NarrowSpec<"embedding"> };

export function embeddingParameters(vocabSize: number, dim: number): EmbeddingParameters {
  return { weight: narrow(matrix("embedding", vocabSize, dim)) };
}

/** The rows of some tokens [batch, time], in float32: [batch, time, dim]. */
export function embedTokens(
  { weight }: TensorsOf<EmbeddingParameters>,
  tokens: Tensor<Shape, "i32">,
): Tensor<Shape, "f32"> {
  return cast(gather(weight as Tensor, tokens), "f32");
}
