// Which keys the queries of an attention see, as loops need to know it. Keys are numbered, and `limit` is the number of
// the last key that a query sees, were the cache endless.

import type { KernelBuilder } from "../../loop/builder.ts";
import { I32 } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { tanhOf } from "../../loop/math.ts";
import type { AttentionAttrs, AttentionDims } from "../attention.ts";

/** Below every score; its exponential is 0. A score that is NaN makes its row's sum NaN, whatever the largest is. */
export const MASKED = -1e30;
/** What the largest score is before the first one: above those that are masked, so that they count as 0 beside it. */
export const LEAST = -1e29;

/** What there is besides queries, keys and values. */
export interface AttentionMask {
  readonly scale: number;
  readonly softcap: number | undefined;
  readonly window: number | undefined;
  readonly causal: boolean;
  readonly time: number;
  readonly capacity: number;
}

export function attentionMask(attrs: AttentionAttrs, { time, capacity }: AttentionDims): AttentionMask {
  const { scale, softcap, window, causal = true } = attrs;
  // A window as long as the cache hides nothing.
  const hides = window !== undefined && window < capacity;
  return { scale, softcap, window: hides ? window : undefined, causal, time, capacity };
}

/** The keys of a query, at most. */
export function keysOfQuery({ window, capacity }: AttentionMask): number {
  return window ?? capacity;
}

/** The limit of query `t`. */
export function limitOf(k: KernelBuilder, mask: AttentionMask, position: LoopValue, t: LoopValue): LoopValue {
  return k.add(position, mask.causal ? t : k.index(mask.time - 1));
}

/** The limit of the query that comes `row` after one with this limit. */
export function laterLimit(k: KernelBuilder, mask: AttentionMask, limit: LoopValue, row: LoopValue): LoopValue {
  return mask.causal ? k.add(limit, row) : limit;
}

/** One behind the last key that `rows` queries see, the first of them with this limit. */
export function endOfKeys(
  k: KernelBuilder,
  { causal, capacity }: AttentionMask,
  limit: LoopValue,
  rows: LoopValue,
): LoopValue {
  return k.min(k.add(limit, causal ? rows : k.index(1)), k.index(capacity));
}

/** The first key that a query with this limit sees. */
export function firstOfKeys(k: KernelBuilder, { window, capacity }: AttentionMask, limit: LoopValue): LoopValue {
  if (window === undefined) return k.index(0);
  const before = k.index(window - 1);
  return k.sub(k.max(k.min(limit, k.index(capacity - 1)), before), before);
}

/** The largest multiple of `step` up to there. */
export function alignDown(k: KernelBuilder, value: LoopValue, step: number): LoopValue {
  return k.sub(value, k.rem(value, k.index(step)));
}

/**
 * Which of the keys numbered in `keys` the query sees that comes `row` after one with this limit. `width` keys are
 * looked at together, so that there may be some behind the cache.
 */
export function visibleKeys(
  k: KernelBuilder,
  mask: AttentionMask,
  keys: LoopValue,
  limit: LoopValue,
  row: number,
  width: number,
): LoopValue {
  const { type } = keys;
  const lanesOf = (number: LoopValue): LoopValue => k.splat(k.convert(I32, number), type.lanes);
  const moved = row === 0 || !mask.causal ? keys : k.sub(keys, k.constant(type, row));
  let seen = k.compare("le", moved, lanesOf(limit));
  if (mask.window !== undefined) {
    const first = firstOfKeys(k, mask, laterLimit(k, mask, limit, k.index(row)));
    seen = k.binary("and", seen, k.compare("ge", keys, lanesOf(first)));
  }
  if (mask.capacity % width === 0) return seen;
  return k.binary("and", seen, k.compare("lt", keys, k.constant(type, mask.capacity)));
}

/** tanh(scale product / softcap), of which a capped score is `softcap` times as much. */
export function boundedProduct(k: KernelBuilder, { scale, softcap }: AttentionMask, product: LoopValue): LoopValue {
  return tanhOf(k, k.mul(product, k.constant(product.type, scale / softcap!)));
}

/** The score of a product of a query and a key by log2 e, so that its exponential is a power of two. */
export function scoreOfProduct(
  k: KernelBuilder,
  mask: AttentionMask,
  type: LoopType,
): (product: LoopValue) => LoopValue {
  const { scale, softcap } = mask;
  const factor = k.constant(type, (softcap ?? scale) * Math.LOG2E);
  return (product) => k.mul(softcap === undefined ? product : boundedProduct(k, mask, product), factor);
}
