// The loss of a language model: the mean over all tokens of the negative log-probability of the next one, in nats.

import type { Tensor, Tree } from "@fidelity/core";
import { crossEntropy, mean } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Model } from "./model.ts";
import { requireCausal } from "./model.ts";

/** A scalar loss of parameters, tokens and targets, both i32 [batch, time]; targets[t] is the token after tokens[t]. */
export type LanguageModelLoss = (
  parameters: Tree<Tensor>,
  tokens: Tensor<Shape, "i32">,
  targets: Tensor<Shape, "i32">,
) => Tensor<readonly [], "f32">;

/**
 * The loss of `model` over whole sequences, each from its start. To be traced or differentiated. Throws
 * `ModelKindError` for an encoder.
 */
export function languageModelLoss(model: Model): LanguageModelLoss {
  requireCausal(model, "the loss of a language model");
  return (parameters, tokens, targets) => mean(crossEntropy(model.forward(parameters, tokens).logits, targets));
}
