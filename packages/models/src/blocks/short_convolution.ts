// A short causal convolution along time, channel by channel, as recurrent mixers have it before their recurrence (Fu et
// al. 2022, H3, arXiv 2212.14052; Gu and Dao 2023, arXiv 2312.00752): y_t = bias + sum_j weight_j x_{t - size + 1 + j}.
// Its state is the last size - 1 inputs; before the sequence they are 0.

import { add, causalConvolution } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { FieldRule } from "../config.ts";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { channels } from "../parameters.ts";

export type ShortConvolutionParameters = {
  /** [channels, size]; the last column belongs to the token itself. */
  readonly weight: ParameterSpec<"norm">;
  readonly bias?: ParameterSpec<"norm">;
};

/** A field that says how many tokens a convolution sees, the newest included. */
export function convolutionField(fallback: number): FieldRule<number> {
  return {
    expected: "an integer from 2 to 64",
    accepts: (value): value is number => Number.isInteger(value) && Number(value) >= 2 && Number(value) <= 64,
    fallback: () => fallback,
  };
}

/** First weights are uniform, +-1 / sqrt(size), as PyTorch's are. */
export function shortConvolutionParameters(
  channelCount: number,
  size: number,
  { bias = true }: { readonly bias?: boolean } = {},
): ShortConvolutionParameters {
  const init = { kind: "uniform", low: -(size ** -0.5), high: size ** -0.5 } as const;
  return { weight: channels([channelCount, size], init), ...(bias && { bias: channels([channelCount]) }) };
}

/**
 * `x` [batch, time, channels] convolved along time, and the last inputs, [batch, size - 1, channels].
 * @param state the inputs before the first token of `x`; zeros where absent
 */
export function shortConvolution(
  { weight, bias }: TensorsOf<ShortConvolutionParameters>,
  x: Tensor<Shape, "f32">,
  state: Tensor<Shape, "f32"> | undefined,
): { readonly output: Tensor<Shape, "f32">; readonly state: Tensor<Shape, "f32"> } {
  const { output, state: last } = causalConvolution(x, weight, state);
  return { output: bias === undefined ? output : add(output, bias), state: last };
}
