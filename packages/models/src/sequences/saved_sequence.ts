// What a session has read, in the form in which a pool takes it in: rows of a cache become pages.

import { storageBytes } from "@fidelity/core";
import type { Model } from "../model.ts";
import { stateLeaves } from "./forward_program.ts";
import type { SavedSequence } from "./pool_options.ts";
import type { StateFormat } from "./state_format.ts";

/** Where a session is, and what pages its rows become. */
export interface SequencePlace extends Pick<SavedSequence, "tokens" | "position"> {
  readonly format: StateFormat;
  readonly pageSize: number;
}

/** @param state the bytes of the leaves of a model's state, [1, capacity, ...] or [1, ...]; they are copied */
export function saveSequence(
  model: Model,
  state: readonly Uint8Array[],
  { format, tokens, position, pageSize }: SequencePlace,
): SavedSequence {
  const rows = Math.ceil(position / pageSize) * pageSize;
  const [pages, states]: Uint8Array[][] = [[], []];
  for (const [i, { isCache, type }] of stateLeaves(model, format.cacheDtype).entries()) {
    if (!isCache) {
      states.push(state[i].slice());
      continue;
    }
    const rowBytes = storageBytes(type);
    const copy = new Uint8Array(rows * rowBytes);
    copy.set(state[i].subarray(0, position * rowBytes));
    pages.push(copy);
  }
  return { format, tokens: [...tokens], position, pages, state: position === 0 ? undefined : states };
}
