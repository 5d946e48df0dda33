// What a saved state is a state of. The bytes of caches in f16 and in bf16 are as many, and so are those of two models
// that differ in how positions turn only, so that sizes do not tell them apart. Leaves out the values of the weights:
// whoever keeps states beyond a process keeps them beside the file that they belong to.

import type { CacheDtype } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import type { PlainConfig } from "../config.ts";
import type { Model } from "../model.ts";
import { stateLeaves } from "./forward_program.ts";

/** A saved state is not one of this model, with caches of this dtype, at this capacity. */
export class SessionStateError extends FidelityError {}

/** Who can read a saved state. Plain values, which JSON can hold. */
export interface StateFormat {
  readonly config: PlainConfig;
  /** What keys and values of attention are stored as; absent where the model has no caches. */
  readonly cacheDtype?: CacheDtype;
}

export function stateFormat(model: Model, cacheDtype: CacheDtype = "f32"): StateFormat {
  const hasCaches = stateLeaves(model).some(({ isCache }) => isCache);
  return { config: model.config, ...(hasCaches && { cacheDtype }) };
}

/** Throws `SessionStateError` for a state of another format, with the first thing that differs. */
export function requireFormat(saved: StateFormat | undefined, own: StateFormat, where: string): void {
  if (saved === own) return;
  const [theirs, ours] = [fieldsOf(saved), fieldsOf(own)];
  for (const name of Object.keys({ ...ours, ...theirs })) {
    const [expected, got] = [describe(name, ours[name]), describe(name, theirs[name])];
    if (expected === got) continue;
    throw new SessionStateError("a saved state is one of another model, or of caches of another dtype", {
      where,
      expected,
      got,
      hint: "restore it where model and cacheDtype are those that it was saved with",
    });
  }
}

function fieldsOf(format: StateFormat | undefined): PlainConfig {
  const { config, cacheDtype } = format ?? {};
  return { ...config, ...(cacheDtype !== undefined && { cacheDtype }) };
}

function describe(name: string, value: PlainConfig[string] | undefined): string {
  return `${name} ${value === undefined ? "absent" : JSON.stringify(value)}`;
}
