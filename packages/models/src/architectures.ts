// The architectures that a configuration can name. Adding one is one file and one line here.

import { FidelityError } from "@fidelity/units";
import { showValue } from "./config.ts";
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
  const where = "field architecture of a model's configuration";
  if (typeof name !== "string") {
    throw new ArchitectureError("the configuration names no architecture", {
      where,
      expected: known.join(", "),
      got: showValue(name),
      hint: `add architecture: "${known[0]}"`,
    });
  }
  if (known.includes(name)) return architectures[name].create(config);
  throw new ArchitectureError("unknown architecture", {
    where,
    expected: known.join(", "),
    got: showValue(name),
    hint: `did you mean "${nearestName(name, known)}"?`,
  });
}
