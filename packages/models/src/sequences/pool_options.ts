// What a pool of sequences is configured with, what it gives, and its errors.

import { CACHE_DTYPES, PAGE_SIZE_MIN, storageBytes } from "@fidelity/core";
import type { CacheDtype } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import type { Model } from "../model.ts";
import { stateLeaves } from "./forward_program.ts";
import type { StateFormat } from "./state_format.ts";

/** A pool with these options cannot be. */
export class PoolOptionError extends FidelityError {}

/** All pages are held by sequences. */
export class OutOfPagesError extends FidelityError {}

/** A sequence that cannot take part: freed, of another pool, twice in a step, or with nothing to read. */
export class SequenceError extends FidelityError {}

export interface PoolOptions {
  /** The most sequences of a step. Default 8. */
  readonly lanes?: number;
  /** Tokens that the pages of all sequences together have room for; the model's limit by default. */
  readonly capacity?: number;
  /**
   * The most tokens of one sequence; what the model and the pages allow by default. Steps look at as many pages of each
   * sequence as this takes, if only to see that nothing is there.
   */
  readonly limit?: number;
  /** Tokens of a page: a power of two from 32 on. Default 64. */
  readonly pageSize?: number;
  /** Tokens of a prompt that are read at once, and eighths of them where fewer are left: a power of two. Default 64. */
  readonly chunkLength?: number;
  /**
   * What keys and values of attention are stored as. Default f32. The others take half of its memory, and half of the
   * time to read: f16 keeps 11 bits of each number, up to 65,504, and bf16 8 bits.
   */
  readonly cacheDtype?: CacheDtype;
  /** The most bytes of recurrent states that are kept for texts that begin alike. Default 64 MiB. */
  readonly keptStateBytes?: number;
}

/** One sequence of a pool. */
export interface Sequence {
  /** All of its tokens, read or not. */
  readonly tokens: readonly number[];
  /** How many of them were read. */
  readonly position: number;
}

/** A sequence outside of any pool: copies, to be restored in a pool of the same model, page size and cache dtype. */
export interface SavedSequence {
  /** Of pages and states; of no account where nothing was read. */
  readonly format?: StateFormat;
  readonly tokens: readonly number[];
  readonly position: number;
  /** Whole pages, one array a cache. */
  readonly pages: readonly Uint8Array[];
  /** One array a recurrent state; undefined at the start. */
  readonly state: readonly Uint8Array[] | undefined;
}

/** What a pool has, in bytes and pages. */
export interface PoolMemory {
  /** All pages, taken when the pool was opened. */
  readonly pageBytes: number;
  /** Recurrent states of the lanes, taken when the pool was opened. */
  readonly laneBytes: number;
  /** Recurrent states kept for texts that begin alike, at most `keptStateBytes`. */
  readonly keptStateBytes: number;
  readonly pages: number;
  /** Pages that sequences can take, those that are kept for texts that begin alike included. */
  readonly freePages: number;
}

/** Options with the defaults filled in. */
export type PoolSettings = Required<PoolOptions>;

/** The settings of a pool of this model. Throws `PoolOptionError`. */
export function poolSettings(model: Model, options: PoolOptions): PoolSettings {
  const settings: PoolSettings = {
    lanes: options.lanes ?? 8,
    capacity: options.capacity ?? model.contextLimit ?? 0,
    limit: options.limit ?? Infinity,
    pageSize: options.pageSize ?? 64,
    chunkLength: options.chunkLength ?? 64,
    cacheDtype: options.cacheDtype ?? "f32",
    keptStateBytes: options.keptStateBytes ?? 2 ** 26,
  };
  const hasCaches = stateLeaves(model).some(({ isCache }) => isCache);
  checkSettings(settings, hasCaches);
  return settings;
}

/** What a pool with these options takes on the device when it is opened. Throws `PoolOptionError`. */
export function poolBytes(model: Model, options: PoolOptions): number {
  const { lanes, capacity, pageSize, cacheDtype } = poolSettings(model, options);
  const rows = pageSize * (1 + Math.ceil(capacity / pageSize));
  const states = lanes + 1; // and one for prompts
  return stateLeaves(model, cacheDtype).reduce(
    (sum, { isCache, type }) => sum + storageBytes(type) * (isCache ? rows : states),
    0,
  );
}

function checkSettings(
  { lanes, capacity, limit, pageSize, chunkLength, cacheDtype, keptStateBytes }: PoolSettings,
  hasPages: boolean,
): void {
  const check = (holds: boolean, name: string, expected: string, got: number | string): void => {
    if (!holds) throw new PoolOptionError(`${name} is impossible`, { expected, got: String(got) });
  };
  const isPower = (value: number): boolean => Number.isInteger(Math.log2(value));
  check(Number.isInteger(lanes) && lanes >= 1 && lanes <= 1024, "lanes", "a whole number from 1 to 1024", lanes);
  const limitFits = limit === Infinity || (Number.isInteger(limit) && limit >= 1);
  check(limitFits, "limit", "a number of tokens from 1 on", limit);
  const pageFits = isPower(pageSize) && pageSize >= PAGE_SIZE_MIN && pageSize <= 65536;
  check(pageFits, "pageSize", `a power of two from ${PAGE_SIZE_MIN} to 65536`, pageSize);
  check(
    isPower(chunkLength) && chunkLength >= 1 && chunkLength <= 65536,
    "chunkLength",
    "a power of two up to 65536",
    chunkLength,
  );
  check(CACHE_DTYPES.includes(cacheDtype), "cacheDtype", `one of ${CACHE_DTYPES.join(", ")}`, cacheDtype);
  check(keptStateBytes >= 0, "keptStateBytes", "a number of bytes", keptStateBytes);
  const roomFits = !hasPages || (Number.isInteger(capacity) && capacity >= 1 && capacity <= 2 ** 30);
  check(roomFits, "capacity", "a number of tokens from 1 on", capacity);
}
