// How attention of few queries is cut up: vectors of products over some heads and neighbouring keys, tiles and blocks
// of positions, and what is kept of each set of heads between tiles.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import { roundUp } from "../../storage.ts";
import type { AttentionDims } from "../attention.ts";
import { headStrides, keysWithinPage } from "./attention_blocks.ts";
import type { AttentionMask } from "./attention_mask.ts";
import { endOfKeys, firstOfKeys, limitOf } from "./attention_mask.ts";

/** Heads that share a reading of keys and values. */
const HEADS = 4;
/** Bytes of all keys of a tile, about, where several sets of heads or queries read it; the least positions of one. */
const [TILE_BYTES, TILE_MIN] = [800 * 1024, 16];
/** Positions of a tile whose keys are read in the order in which they lie, whatever reads them: scores take little. */
const ORDERED_TILE = 64;
/**
 * How far ahead of its use something is asked for: in the order of memory so many bytes, up to the next page, into the
 * first cache or the second; else keys by so many bytes, and values by so many rows of a head. What the second cache
 * cannot take note of is forgotten, and so asked for again (measured on Zen 4: 1.16 times as fast with one thread).
 */
const ORDERED_BYTES: Readonly<Record<1 | 2, readonly number[]>> = { 1: [10240], 2: [20480, 10240] };
const [AHEAD_BYTES, ROWS_AHEAD] = [65536, 32];
/** Bytes of the positions whose values a head adds before others take turns, and the most of those. */
const [TURN_BYTES, TURN_MAX] = [10240, 8];
/** Positions of a block: more where more heads share a key, as each block writes sums for all heads. */
const [BLOCK, BLOCK_PER_HEAD] = [256, 32];
/** Positions of a block of a cache that is long enough for so many blocks of them. */
const [BLOCK_MAX, BLOCKS_OF_LONG] = [1024, 16];

/**
 * How the work is cut up. Products come as one vector for some heads and neighbouring keys: head i and key j in lane
 * i * `keys` + j.
 */
export interface Cut {
  readonly dims: AttentionDims;
  readonly type: LoopType;
  readonly mask: AttentionMask;
  /** Sets of heads of a group, the first ones of `height` and the last one of `lastHeight`. */
  readonly sets: number;
  readonly height: number;
  readonly lastHeight: number;
  readonly keys: number;
  /** Vectors of sums that stay in registers, and vectors of products that are found at a time. */
  readonly accumulators: number;
  readonly together: number;
  /** Positions of a tile, positions of a block, and blocks. */
  readonly tile: number;
  readonly block: number;
  readonly blocks: number;
  /** Whether all heads take turns at a few positions at a time: memory is read in the order of its addresses. */
  readonly inOrder: boolean;
  /** Positions whose values a turn adds: all of a tile where heads do not take turns. */
  readonly turn: number;
  /** How many positions ahead keys and values are asked for, once or more often; the furthest first. */
  readonly keysAhead: readonly number[];
  readonly valuesAhead: readonly number[];
  /** The cache that they are asked into. */
  readonly askedCache: 1 | 2;
}

export function cutOf(dims: AttentionDims, mask: AttentionMask, context: LowerContext): Cut {
  const { lanes, registers, joinsVectors, prefetchCache: askedCache } = context;
  const { groupSize, capacity, time } = dims;
  const sets = Math.ceil(groupSize / HEADS);
  const height = Math.ceil(groupSize / sets);
  const lastHeight = groupSize - (sets - 1) * height;
  const keys = lanes / 2 ** Math.ceil(Math.log2(height));
  const positions = Math.max(BLOCK, Math.min(BLOCK_MAX, 2 ** Math.floor(Math.log2(capacity / BLOCKS_OF_LONG))));
  const least = Math.max(positions, BLOCK_PER_HEAD * groupSize);
  // The one block of a short cache is read by each key head on its own; in a window, queries begin at different keys.
  const inOrder = mask.window === undefined && capacity > roundUp(least, ORDERED_TILE);
  const { key, value } = headStrides(dims);
  // What is read once need not stay near: then fewer tiles are better, as each begins with what nobody has asked for.
  const once = sets * time === 1 ? positions : 2 ** Math.floor(Math.log2(TILE_BYTES / key));
  const fitting = inOrder ? ORDERED_TILE : once;
  const tile = keysWithinPage(dims, Math.max(TILE_MIN, Math.min(fitting, positions)), TILE_MIN);
  const block = roundUp(least, tile);
  const blocks = Math.ceil(capacity / block);
  const type = loopType("f32", lanes);
  const accumulators = registers / 2;
  const together = joinsVectors ? 1 : Math.max(1, accumulators / lanes);
  const step = keys * together;
  const turn = inOrder ? 2 ** Math.floor(Math.log2(Math.min(TURN_MAX, Math.max(1, TURN_BYTES / value)))) : tile;
  const ahead = ORDERED_BYTES[askedCache];
  const keyBytes = inOrder ? ahead.map((bytes) => Math.min(bytes, tile * key)) : [AHEAD_BYTES];
  const keysAhead = distinct(keyBytes.map((bytes) => Math.ceil(bytes / (step * key)) * step));
  const valuesAhead = distinct(inOrder ? ahead.map((bytes) => Math.min(tile, Math.ceil(bytes / value))) : [ROWS_AHEAD]);
  return {
    dims,
    type,
    mask,
    sets,
    height,
    lastHeight,
    keys,
    accumulators,
    together,
    tile,
    block,
    blocks,
    inOrder,
    turn,
    keysAhead,
    valuesAhead,
    askedCache,
  };
}

const distinct = (numbers: readonly number[]): number[] => [...new Set(numbers)];

/** The bytes of what is kept of a set of heads: vectors of the largest scores and of the sums of exponentials. */
export const stateBytes = ({ type }: Cut): number => 2 * type.lanes * 4;

/** The state of set `set` of key head `keyHead` for query `t`, in [key heads, time, sets]. */
export function stateOf(
  k: KernelBuilder,
  cut: Cut,
  states: LoopValue,
  keyHead: LoopValue,
  t: LoopValue,
  set: LoopValue,
) {
  const row = k.add(k.mul(keyHead, k.index(cut.dims.time)), t);
  return k.offset(states, k.add(k.mul(row, k.index(cut.sets)), set), stateBytes(cut));
}

/** The first key that query `t` sees, and one behind the last one. */
export function seenBy(
  k: KernelBuilder,
  { mask }: Cut,
  position: LoopValue,
  t: LoopValue,
): readonly [LoopValue, LoopValue] {
  const limit = limitOf(k, mask, position, t);
  return [firstOfKeys(k, mask, limit), endOfKeys(k, mask, limit, k.index(1))];
}

/** The lanes of every head combined, in all of them. */
export function foldKeys(
  k: KernelBuilder,
  vector: LoopValue,
  keys: number,
  combine: (a: LoopValue, b: LoopValue) => LoopValue,
): LoopValue {
  let folded = vector;
  for (let half = keys / 2; half >= 1; half /= 2) {
    const lanes = Array.from({ length: vector.type.lanes }, (_, lane) => lane - (lane % keys) + ((lane + half) % keys));
    folded = combine(folded, k.shuffle(folded, folded, lanes));
  }
  return folded;
}
