// The architectures that a configuration can name. Adding one is one file and one line here.

import { FidelityError } from "@fidelity/units";
import { createBert } from "./bert.ts";
import { createBitnet } from "./bitnet.ts";
import { showValue } from "./config.ts";
import { createDeepseek2 } from "./deepseek2.ts";
import { createGatedDeltanet } from "./gated_deltanet.ts";
import { createGemma2 } from "./gemma2.ts";
import { createGemma3 } from "./gemma3.ts";
import { createGla } from "./gla.ts";
import { createLlama } from "./llama.ts";
import { createMamba } from "./mamba.ts";
import { createMamba2 } from "./mamba2.ts";
import { createMatmulFree } from "./matmul_free.ts";
import { createMega } from "./mega.ts";
import { madeOfConfig } from "./model.ts";
import type { Model } from "./model.ts";
import { nearestName } from "./nearest.ts";
import { createQwen2 } from "./qwen2.ts";
import { createQwen3 } from "./qwen3.ts";
import { createRetnet } from "./retnet.ts";
import { createRwkv7 } from "./rwkv7.ts";
import { createS4d } from "./s4d.ts";
import { createS5 } from "./s5.ts";
import { createXlstm } from "./xlstm.ts";

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
    summary: "Llama-style transformer, Mistral included: rotary grouped-query attention and SwiGLU",
    create: createLlama,
  },
  qwen2: {
    summary: "Qwen 2: Llama with biases on queries, keys and values",
    create: createQwen2,
  },
  qwen3: {
    summary: "Qwen 3: Llama with norms over each query and key",
    create: createQwen3,
  },
  gemma2: {
    summary: "Gemma 2: norms before and after, GeGLU, capped scores, a window in every second layer",
    create: createGemma2,
  },
  gemma3: {
    summary: "Gemma 3: norms over each query and key, five layers with a window to one without",
    create: createGemma3,
  },
  bitnet: {
    summary: "BitNet b1.58: ternary Llama with sub-norms and SiLU or squared ReLU",
    create: createBitnet,
  },
  deepseek2: {
    summary: "DeepSeek-V2 and V3: latent attention over a compressed cache, mixtures of experts",
    create: createDeepseek2,
  },
  bert: {
    summary: "BERT: an encoder with learned positions, and heads for words, classes and pooling",
    create: createBert,
  },
  mamba: {
    summary: "Mamba: a selective state space a layer, constant state; hybrids such as Jamba by a pattern",
    create: createMamba,
  },
  mamba2: {
    summary: "Mamba-2: matrix states with one decay a head; hybrids such as Granite 4 by a pattern",
    create: createMamba2,
  },
  rwkv7: {
    summary: "RWKV-7: generalised delta rule, token shift and squared ReLU, constant state",
    create: createRwkv7,
  },
  "gated-deltanet": {
    summary: "Gated DeltaNet: linear attention that decays and unlearns; hybrids such as Qwen3-Next by a pattern",
    create: createGatedDeltanet,
  },
  xlstm: {
    summary: "xLSTM: exponential gates over a matrix memory (mLSTM) or a scalar one (sLSTM), by a pattern",
    create: createXlstm,
  },
  gla: {
    summary: "Gated linear attention: a matrix state that decays by a gate for each key",
    create: createGla,
  },
  retnet: {
    summary: "RetNet: linear attention with one fixed decay a head",
    create: createRetnet,
  },
  s4d: {
    summary: "S4D: a diagonal complex state space for each channel, the same for every token, constant state",
    create: createS4d,
  },
  s5: {
    summary: "S5: one diagonal complex state space a layer that all channels share, constant state",
    create: createS5,
  },
  mega: {
    summary: "MEGA: gated attention with one head that reads moving averages, and a rotary relative bias",
    create: createMega,
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
  if (known.includes(name)) return madeOfConfig(architectures[name].create(config));
  throw new ArchitectureError("unknown architecture", {
    where,
    expected: known.join(", "),
    got: showValue(name),
    hint: `did you mean "${nearestName(name, known)}"?`,
  });
}
