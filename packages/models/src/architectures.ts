// The architectures that a configuration can name. Adding one is one file and one line here.

import { FidelityError } from "@fidelity/units";
import { createLlama } from "./llama.ts";
import { createMatmulFree } from "./matmul_free.ts";
import type { Model } from "./model.ts";
import { nearestName } from "./nearest.ts";

/** A configuration names an architecture that does not exist here. */
export class ArchitectureError extends FidelityError {}

/** One way to build a model. */
export interface Architecture {
  readonly summary: string;
  /** Checks a configuration, fills in its defaults and builds the model. Throws `ModelConfigError`. */
  create(config: unknown): Model;
}

/** Every architecture by its name. */
export const architectures: Readonly<Record<string, Architecture>> = {
  "matmul-free": {
    summary: "MatMul-free ternary language model: MLGRU and gated channel mixers, constant state",
    create: createMatmulFree,
  },
  llama: {
    summary: "Llama-style transformer: rotary grouped-query attention and SwiGLU",
    create: createLlama,
  },
};

/**
 * The model of a configuration whose field `architecture` names what it is, as model files keep it. Throws
 * `ArchitectureError` for a name that is not known, and `ModelConfigError` for sizes that are impossible.
 */
export function createModel(config: unknown): Model {
  const named = typeof config === "object" && config !== null && "architecture" in config;
  const name = named ? config.architecture : undefined;
  const known = Object.keys(architectures);
  if (typeof name === "string" && known.includes(name)) return architectures[name].create(config);
  throw new ArchitectureError(name === undefined ? "the configuration names no architecture" : "unknown architecture", {
    where: "field architecture of a model's configuration",
    expected: known.join(", "),
    got: name === undefined ? "nothing" : String(name),
    hint: name === undefined ? `add architecture: "${known[0]}"` : `did you mean "${nearestName(String(name), known)}"?`,
  });
}
