// Caches of attention, which keep something of every token so far: how the tokens of a call are written to one, and how
// queries see it. A cache is one run of memory a sequence, or lies in pages that sequences of any length share
// (`Pages` in model.ts), and holds numbers of the dtype that its types say.

import type { AttentionOptions, CacheDtype, Tensor } from "@fidelity/core";
import { attention, cast, dynamicUpdateSlice, pagedAttention, reshape, scatterRows } from "@fidelity/core";
import type { Standing } from "../model.ts";

/** Queries, keys, values and what comes out: [batch, time, heads, head size]. */
export type Heads = Tensor<readonly [number, number, number, number], "f32">;

/** What a cache holds of the tokens so far: [batch, capacity, key heads, head size], or [pages, page size, ...]. */
export type CacheTensor = Tensor<readonly [number, number, number, number], CacheDtype>;

/** The cache with `rows` [batch, time, key heads, head size] of the tokens of this call; without one, these are it. */
export function writeCache(before: CacheTensor | undefined, rows: Heads, { position, pages }: Standing): CacheTensor {
  if (before === undefined) return rows;
  const stored = before.dtype === "f32" ? rows : cast(rows, before.dtype);
  if (pages === undefined) return dynamicUpdateSlice(before, stored, position, 1);
  const [count, pageSize, heads, size] = before.shape;
  const [batch, time] = rows.shape;
  const table = reshape(before, [count * pageSize, heads * size]);
  const written = scatterRows(table, pages.rows, reshape(stored, [batch, time, heads * size]));
  return reshape(written, [count, pageSize, heads, size]);
}

/** What a cache holds, as float32. */
export function readCache(cache: CacheTensor): Heads {
  return cache.dtype === "f32" ? (cache as Heads) : cast(cache, "f32");
}

/** Attention of the queries of this call over a cache that holds its tokens. */
export function attendCache(
  queries: Heads,
  keys: CacheTensor,
  values: CacheTensor,
  { position, pages }: Standing,
  options: AttentionOptions,
): Heads {
  if (pages !== undefined) return pagedAttention(queries, keys, values, position, pages.table, options) as Heads;
  return attention(queries, keys, values, position as Tensor<readonly [], "i32">, options).output as Heads;
}
