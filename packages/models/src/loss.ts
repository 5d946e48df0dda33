// The loss of a language model: the mean over all tokens of the negative log-probability of the next one, in nats.

import type { Tensor, Tree } from "@fidelity/core";
import { crossEntropy, div, lt, max, mean, mul, reduceSum, select } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Model } from "./model.ts";
import { requireCausal } from "./model.ts";

/** The target of a token after which nothing is asked; all targets below 0 say so. */
export const NO_TARGET = -1;

/** A scalar loss of parameters, tokens and targets, both i32 [batch, time]; targets[t] is the token after tokens[t]. */
export type LanguageModelLoss = (
  parameters: Tree<Tensor>,
  tokens: Tensor<Shape, "i32">,
  targets: Tensor<Shape, "i32">,
) => Tensor<readonly [], "f32">;

export interface LossOptions {
  /** Whether some targets are `NO_TARGET`: the mean is then over the others. False by default. */
  readonly hasGaps?: boolean;
}

/**
 * The loss of `model` over whole sequences, each from its start. To be traced or differentiated. Throws
 * `ModelKindError` for an encoder.
 */
export function languageModelLoss(model: Model, { hasGaps = false }: LossOptions = {}): LanguageModelLoss {
  requireCausal(model, "the loss of a language model");
  return (parameters, tokens, targets) => {
    const { logits } = model.forward(parameters, tokens);
    if (!hasGaps) return mean(crossEntropy(logits, targets));
    const asked: Floats = select(lt(targets, 0), 0, 1);
    const losses = crossEntropy(logits, max(targets, 0) as Tensor<Shape, "i32">);
    return div(reduceSum(mul(losses, asked)), max(reduceSum(asked), 1));
  };
}

type Floats = Tensor<Shape, "f32">;
