// The MatMul-free language model in files. Hugging Face: model type "hgrn_bit" of ridgerchu/matmulfreellm, whose code
// runs the projections' norms fused, with an epsilon of 1e-6 (ops/fusedbitnet.py).

import { roundUpWidth, showValue } from "../config.ts";
import type { FileNaming, ForeignModel, Naming } from "./naming.ts";
import { ForeignModelError, integerOf, numberOf, originsByPattern } from "./naming.ts";

/** What the released models do not use, and this one does not have. */
const EXPECTED: Readonly<Record<string, string | number | boolean>> = {
  use_short_conv: false,
  use_lower_bound: true,
  expand_ratio: 1,
  hidden_act: "swish",
  tie_word_embeddings: false,
};

const huggingFace: FileNaming = {
  names: ["hgrn_bit"],
  config(file: ForeignModel) {
    for (const [key, expected] of Object.entries(EXPECTED)) {
      const got = file.get(key) ?? expected;
      if (got === expected) continue;
      throw new ForeignModelError("this variant of the MatMul-free model is not supported", {
        where: `${file.where}, ${key}`,
        expected: String(expected),
        got: showValue(got),
      });
    }
    const dim = integerOf(file, "hidden_size");
    const ratio = numberOf(file, "hidden_ratio", 4);
    return {
      architecture: "matmul-free",
      form: "released",
      dim,
      hiddenDim: integerOf(file, "intermediate_size", roundUpWidth(Math.floor((dim * ratio * 2) / 3), 256)),
      layerCount: integerOf(file, "num_hidden_layers"),
      vocabSize: integerOf(file, "vocab_size"),
      normEpsilon: numberOf(file, "rms_norm_eps", 1e-6),
      projectionEpsilon: 1e-6,
    };
  },
  origin(path, config) {
    return config.form === "released" ? origins(path) : undefined;
  },
  metadata: (config) => [
    { key: "hidden_size", type: "u32", value: config.dim },
    { key: "intermediate_size", type: "u32", value: config.hiddenDim },
    { key: "num_hidden_layers", type: "u32", value: config.layerCount },
    { key: "vocab_size", type: "u32", value: config.vocabSize },
    { key: "rms_norm_eps", type: "f32", value: config.normEpsilon },
    ...Object.entries(EXPECTED).map(([key, value]) => ({ key, type: "string" as const, value })),
  ],
};

const origins = originsByPattern({
  "embedding.weight": "model.embeddings.weight",
  lowerBounds: "model.lower_bounds",
  "blocks.{i}.mixerNorm.weight": "model.layers.{i}.attn_norm.weight",
  "blocks.{i}.mixer.forget.weight": "model.layers.{i}.attn.f_proj.weight",
  "blocks.{i}.mixer.forget.norm.weight": "model.layers.{i}.attn.f_proj.norm.weight",
  "blocks.{i}.mixer.candidate.weight": "model.layers.{i}.attn.i_proj.weight",
  "blocks.{i}.mixer.candidate.norm.weight": "model.layers.{i}.attn.i_proj.norm.weight",
  "blocks.{i}.mixer.gate.weight": "model.layers.{i}.attn.g_proj.weight",
  "blocks.{i}.mixer.gate.norm.weight": "model.layers.{i}.attn.g_proj.norm.weight",
  "blocks.{i}.mixer.gateNorm.weight": "model.layers.{i}.attn.g_norm.weight",
  "blocks.{i}.mixer.output.weight": "model.layers.{i}.attn.o_proj.weight",
  "blocks.{i}.mixer.output.norm.weight": "model.layers.{i}.attn.o_proj.norm.weight",
  "blocks.{i}.channelNorm.weight": "model.layers.{i}.mlp_norm.weight",
  "blocks.{i}.channel.gate.weight": "model.layers.{i}.mlp.gate_proj.weight",
  "blocks.{i}.channel.gate.norm.weight": "model.layers.{i}.mlp.gate_proj.norm.weight",
  "blocks.{i}.channel.down.weight": "model.layers.{i}.mlp.down_proj.weight",
  "blocks.{i}.channel.down.norm.weight": "model.layers.{i}.mlp.down_proj.norm.weight",
  "finalNorm.weight": "model.norm.weight",
  "ternaryHead.weight": "lm_head.weight",
  "ternaryHead.norm.weight": "lm_head.norm.weight",
});

export const hgrnBitNaming: Naming = { huggingFace };
