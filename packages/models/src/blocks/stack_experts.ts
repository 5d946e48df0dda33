// The mixture of experts that stands in for the channel mixer in layers of hybrids: experts chosen by a softmax, and a
// shared channel mixer that all tokens go through, whose output may be gated by a sigmoid of the token as in
// Qwen3-Next.

import type { Tensor } from "@fidelity/core";
import { add, mul, sigmoid } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { TensorsOf } from "../parameters.ts";
import type { ChannelMixerParameters } from "./channel_mixer.ts";
import { channelMixer, channelMixerParameters } from "./channel_mixer.ts";
import type { ExpertsParameters, ExpertsSizes } from "./experts.ts";
import { experts, expertsParameters } from "./experts.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";

export type StackExpertsParameters = {
  readonly routed: ExpertsParameters;
  readonly shared?: ChannelMixerParameters;
  readonly sharedGate?: LinearParameters;
};

/** The fields of a configuration that describe experts; see `StackConfig`. */
export interface StackExpertsSizes {
  readonly dim: number;
  readonly expertCount: number;
  readonly expertsPerToken: number;
  readonly expertDim: number;
  readonly sharedExpertDim: number;
  readonly sharedExpertGate: boolean;
  readonly normalisedExperts: boolean;
  readonly normEpsilon: number;
}

function routedSizes({ normalisedExperts, expertDim, ...sizes }: StackExpertsSizes): ExpertsSizes {
  return {
    ...sizes,
    expertHiddenDim: expertDim,
    sharedExpertCount: 0,
    expertScore: "softmax",
    selectionBias: false,
    expertGroupCount: 1,
    groupsPerToken: 1,
    groupScore: "max",
    normalisedWeights: normalisedExperts,
    expertScale: 1,
  };
}

/** @param downStd standard deviation of the first weights of the projections to the residual stream */
export function stackExpertsParameters(sizes: StackExpertsSizes, downStd: number): StackExpertsParameters {
  const { dim, sharedExpertDim: hiddenDim, sharedExpertGate } = sizes;
  return {
    routed: expertsParameters(routedSizes(sizes), downStd),
    ...(hiddenDim > 0 && { shared: channelMixerParameters({ dim, hiddenDim, weights: "dense" }, downStd) }),
    ...(hiddenDim > 0 && sharedExpertGate && { sharedGate: linearParameters(1, dim) }),
  };
}

/** `x` [batch, time, dim] mixed along its channels by the experts of each token. */
export function stackExperts(
  { routed, shared, sharedGate }: TensorsOf<StackExpertsParameters>,
  x: Tensor<Shape, "f32">,
  sizes: StackExpertsSizes,
): Tensor<Shape, "f32"> {
  const mixed = experts(routed, x, routedSizes(sizes));
  if (shared === undefined) return mixed;
  const all = channelMixer(shared, x, "dense");
  return add(mixed, sharedGate === undefined ? all : mul(all, sigmoid(linear(sharedGate, x))));
}
