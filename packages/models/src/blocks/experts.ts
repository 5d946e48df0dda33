// A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538) as DeepSeek-V2 and V3 have it (arXiv 2405.04434, section
// 2.2; 2412.19437, section 2.1.2): a router scores all experts, each token goes to the best few, SwiGLU layers, whose
// outputs are weighted by their scores, and to shared experts besides. A bias an expert may enter the choice, and not
// the weights; experts may come in groups of which only the best few are looked at.
//
// Leaves out: losses that balance the load, and the rule that moves the biases, which is not a gradient.

import type { Tensor } from "@fidelity/core";
import {
  add,
  cast,
  div,
  eq,
  expertLinear,
  iota,
  lt,
  max,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  select,
  sigmoid,
  silu,
  softmax,
  stopGradient,
  takeAlongRows,
  topK,
} from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { ParameterSpec, TensorsOf } from "../parameters.ts";
import { channels, matrices } from "../parameters.ts";
import type { GatedFeedForwardParameters } from "./feed_forward.ts";
import { gatedFeedForward, gatedFeedForwardParameters } from "./feed_forward.ts";
import type { LinearParameters } from "./linear.ts";
import { linear, linearParameters } from "./linear.ts";

type Matrices = { readonly weight: ParameterSpec<"dense"> };

export type ExpertsParameters = {
  /** [experts, dim]. */
  readonly router: LinearParameters;
  /** [experts]; added to the scores before the choice. */
  readonly selectionBias?: ParameterSpec<"norm">;
  /** [experts, hidden, dim], and [experts, dim, hidden]. */
  readonly gate: Matrices;
  readonly up: Matrices;
  readonly down: Matrices;
  /** One layer as wide as all shared experts. */
  readonly shared?: GatedFeedForwardParameters;
};

/** Sizes of a mixture and how experts are chosen. A type, so that it is a record of plain values. */
export type ExpertsSizes = {
  readonly dim: number;
  readonly expertCount: number;
  /** Experts that a token goes to. */
  readonly expertsPerToken: number;
  readonly expertHiddenDim: number;
  readonly sharedExpertCount: number;
  readonly expertScore: "softmax" | "sigmoid";
  readonly selectionBias: boolean;
  /** Equal groups of experts, and how many of them a token may choose from. */
  readonly expertGroupCount: number;
  readonly groupsPerToken: number;
  /** What a group is judged by: its two best experts together, or its best one. */
  readonly groupScore: "top2" | "max";
  /** Whether the weights of the chosen experts are divided by their sum. */
  readonly normalisedWeights: boolean;
  /** Factor of the weights. */
  readonly expertScale: number;
  readonly normEpsilon: number;
};

/** The SwiGLU layer of shared experts. */
function sharedSizes({ dim, expertHiddenDim, sharedExpertCount, normEpsilon }: ExpertsSizes) {
  const parts = { weights: "dense", activation: "silu", feedForwardBias: false, subNorms: false } as const;
  return { ...parts, dim, hiddenDim: sharedExpertCount * expertHiddenDim, normEpsilon };
}

/** @param downStd standard deviation of the first weights of the projections to the residual stream */
export function expertsParameters(sizes: ExpertsSizes, downStd: number): ExpertsParameters {
  const { dim, expertCount, expertHiddenDim } = sizes;
  return {
    router: linearParameters(expertCount, dim),
    ...(sizes.selectionBias && { selectionBias: channels([expertCount]) }),
    gate: { weight: matrices(expertCount, expertHiddenDim, dim) },
    up: { weight: matrices(expertCount, expertHiddenDim, dim) },
    down: { weight: matrices(expertCount, dim, expertHiddenDim, downStd) },
    ...(sizes.sharedExpertCount > 0 && { shared: gatedFeedForwardParameters(sharedSizes(sizes), downStd) }),
  };
}

type Floats = Tensor<Shape, "f32">;
type Integers = Tensor<Shape, "i32">;

/** `x` [batch, time, dim] mixed along its channels by the experts of each token. */
export function experts(parameters: TensorsOf<ExpertsParameters>, x: Floats, sizes: ExpertsSizes): Floats {
  const { dim, expertsPerToken } = sizes;
  const [batch, time] = x.shape as readonly [number, number];
  const rows = reshape(x, [batch * time, dim]) as Floats;
  const { ids, weights } = route(parameters, rows, sizes);
  const by = (matrix: { readonly weight: Floats }, input: Floats): Floats =>
    expertLinear(input, matrix.weight as never, ids) as Floats;
  const hidden = mul(silu(by(parameters.gate, rows)), by(parameters.up, rows)) as Floats; // [tokens, chosen, hidden]
  const weighted = mul(by(parameters.down, hidden), reshape(weights, [batch * time, expertsPerToken, 1]) as never);
  const routed = reshape(reduceSum(weighted as Floats, [1]), [batch, time, dim]) as Floats;
  const { shared } = parameters;
  return shared === undefined ? routed : (add(routed, gatedFeedForward(shared, x, sharedSizes(sizes))) as Floats);
}

/** Below the sums of weights that count; such a sum is not divided by (half precision's smallest normal number). */
const SMALLEST_SUM = 2 ** -14;

/** The experts of each token, [tokens, chosen], the best first, and their weights. */
function route(
  { router, selectionBias }: TensorsOf<ExpertsParameters>,
  rows: Floats,
  sizes: ExpertsSizes,
): { readonly ids: Integers; readonly weights: Floats } {
  const { expertsPerToken, expertScore, normalisedWeights, expertScale } = sizes;
  const logits = linear(router, rows);
  const scores = expertScore === "softmax" ? softmax(logits) : sigmoid(logits);
  const biased = selectionBias === undefined ? scores : (add(scores, selectionBias as never) as Floats);
  const eligible = withinGroups(stopGradient(biased) as Floats, sizes);
  const ids = topK(eligible, expertsPerToken).indices;
  let weights = takeAlongRows(scores, ids) as Floats;
  if (normalisedWeights) weights = div(weights, max(reduceSum(weights, [1], true), SMALLEST_SUM) as never) as Floats;
  return { ids, weights: mul(weights, expertScale) as Floats };
}

/** Below every score. */
const EXCLUDED = -1e30;

/** Scores [tokens, experts], those outside of each token's best groups replaced by a number below all others. */
function withinGroups(scores: Floats, sizes: ExpertsSizes): Floats {
  const { expertCount, expertGroupCount: groups, groupsPerToken, groupScore } = sizes;
  if (groups === 1 || groupsPerToken === groups) return scores;
  const tokens = scores.shape[0]!;
  const size = expertCount / groups;
  const grouped = reshape(scores, [tokens, groups, size]) as Floats;
  const best =
    groupScore === "max" || size === 1 ? reduceMax(grouped, [2]) : reduceSum(topK(grouped, 2).values as Floats, [2]);
  const chosen = reshape(topK(best as Floats, groupsPerToken).indices, [tokens, groupsPerToken, 1]);
  const isChosen = eq(chosen as Integers, reshape(iota([groups]), [1, 1, groups]) as never);
  const kept = reduceMax(cast(isChosen as Tensor, "f32") as Floats, [1]); // [tokens, groups]
  const keeps = lt(0.5, reshape(kept, [tokens, groups, 1]) as never) as Tensor<Shape, "bool">;
  return reshape(select(keeps, grouped, EXCLUDED as never) as Floats, [tokens, expertCount]) as Floats;
}
