// What a session has read, in the form in which a pool takes it in: rows of a cache become pages.

import { storageBytes } from "@fidelity/core";
import type { CacheDtype } from "@fidelity/core";
import type { Model } from "../model.ts";
import { stateLeaves } from "./forward_program.ts";
import type { SavedSequence } from "./pool_options.ts";

/** @param state the bytes of the leaves of a model's state, [1, capacity, ...] or [1, ...]; they are copied */
export function saveSequence(
  model: Model,
  state: readonly Uint8Array[],
  {
    tokens,
    position,
    pageSize,
    cacheDtype,
  }: Pick<SavedSequence, "tokens" | "position"> & { readonly pageSize: number; readonly cacheDtype?: CacheDtype },
): SavedSequence {
  const rows = Math.ceil(position / pageSize) * pageSize;
  const [pages, states]: Uint8Array[][] = [[], []];
  for (const [i, { isCache, type }] of stateLeaves(model, cacheDtype).entries()) {
    if (!isCache) {
      states.push(state[i].slice());
      continue;
    }
    const rowBytes = storageBytes(type);
    const copy = new Uint8Array(rows * rowBytes);
    copy.set(state[i].subarray(0, position * rowBytes));
    pages.push(copy);
  }
  return { tokens: [...tokens], position, pages, state: position === 0 ? undefined : states };
}
