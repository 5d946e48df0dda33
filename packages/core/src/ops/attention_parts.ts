// What attention's derivatives are made of when they are rewritten to products: heads before time, key heads repeated
// for the heads of their group, scores with their slopes, and the weights of what is seen.

import type { Shape } from "@fidelity/units";
import type { Tensor } from "../graph.ts";
import type { AttentionAttrs } from "./attention.ts";
import { add } from "./add.ts";
import { broadcastTo } from "./broadcast.ts";
import { exp } from "./exp.ts";
import { iota } from "./iota.ts";
import { le } from "./le.ts";
import { logicalAnd } from "./logical_and.ts";
import { lt } from "./lt.ts";
import { min } from "./min.ts";
import { mul } from "./mul.ts";
import { reduceSum } from "./reduce_sum.ts";
import { reshape } from "./reshape.ts";
import { select } from "./select.ts";
import { sub } from "./sub.ts";
import { tanh } from "./tanh.ts";
import { transpose } from "./transpose.ts";

/** [B, T, H, D] to [B, H, T, D]. */
export function headsFirst(x: Tensor): Tensor<Shape, "f32"> {
  return transpose(x as Tensor<Shape, "f32">, [0, 2, 1, 3]);
}

/** [B, H, T, D] to [B, T, H, D]. */
export function headsLast(x: Tensor): Tensor<Shape, "f32"> {
  return transpose(x as Tensor<Shape, "f32">, [0, 2, 1, 3]);
}

/** [B, G, S, D] to [B, heads, S, D]: each key head for the heads of its group. */
export function repeatHeads(x: Tensor, heads: number): Tensor<Shape, "f32"> {
  const [batch, keyHeads, capacity, size] = x.shape as [number, number, number, number];
  const grouped = reshape(x as Tensor<Shape, "f32">, [batch, keyHeads, 1, capacity, size]);
  const repeated = broadcastTo(grouped, [batch, keyHeads, heads / keyHeads, capacity, size]);
  return reshape(repeated, [batch, heads, capacity, size]);
}

/** [B, H, S, D] to [B, keyHeads, S, D]: sums over the heads of a group, the transpose of `repeatHeads`. */
export function sumHeads(x: Tensor, keyHeads: number): Tensor<Shape, "f32"> {
  const [batch, heads, capacity, size] = x.shape as [number, number, number, number];
  const grouped = reshape(x as Tensor<Shape, "f32">, [batch, keyHeads, heads / keyHeads, capacity, size]);
  return reduceSum(grouped, [2]);
}

/** What attention does with the products of queries and keys. */
export interface AttentionScores {
  readonly scores: Tensor<Shape, "f32">;
  /** Something times the slopes of the scores by the products. */
  bySlope(x: Tensor): Tensor<Shape, "f32">;
  /** tanh(scale product / cap), where scores are capped. */
  readonly bounded: Tensor<Shape, "f32"> | undefined;
}

export function attentionScores(products: Tensor<Shape, "f32">, { scale, softcap }: AttentionAttrs): AttentionScores {
  const scaled = (x: Tensor): Tensor<Shape, "f32"> => mul(x as Tensor<Shape, "f32">, scale);
  if (softcap === undefined) return { scores: scaled(products), bySlope: scaled, bounded: undefined };
  const bounded = tanh(mul(products, scale / softcap));
  const slope = scaled(sub(1, mul(bounded, bounded)));
  return { scores: mul(bounded, softcap), bySlope: (x) => mul(x as Tensor<Shape, "f32">, slope), bounded };
}

/** An exponent whose exponential is zero in float32. */
const NOWHERE = -1e4;

/**
 * exp(scores - lse) of the keys that each query sees, and 0 of the others: scores [B, H, T, S], lse [B, H, T]. The mask
 * lies inside the exponential, so that masked scores, however large, have neither weight nor derivative.
 */
export function attentionWeights(
  scores: Tensor,
  lse: Tensor,
  position: Tensor,
  { window, causal = true }: AttentionAttrs,
): Tensor<Shape, "f32"> {
  const [, , time, capacity] = scores.shape as [number, number, number, number];
  const at = position as Tensor<Shape, "i32">;
  const last = causal ? add(reshape(iota([time]), [time, 1]), at) : add(at, time - 1);
  const keys = iota([time, capacity]) as Tensor<Shape, "i32">;
  const visible = le(keys, last as Tensor<Shape, "i32">) as Tensor<Shape, "bool">;
  const seen = window === undefined ? visible : logicalAnd(visible, lt(sub(min(last, capacity - 1), window), keys));
  const exponent = sub(scores as Tensor<Shape, "f32">, reshape(lse as Tensor<Shape, "f32">, [...lse.shape, 1]));
  return exp(select(seen as Tensor<Shape, "bool">, exponent, NOWHERE));
}
