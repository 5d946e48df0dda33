// Llama and Mistral in files. GGUF: architecture "llama", whose query and key rows are permuted so that rotary pairs are
// adjacent, and whose windows llama.cpp does not look at. Hugging Face: model types "llama" and "mistral", with pairs in
// halves.

import { decoderFromHuggingFace, ggufDecoder, huggingFaceOrigin } from "./decoder.ts";
import type { FileNaming, ForeignModel, Naming } from "./naming.ts";
import { flagOf, integerOf } from "./naming.ts";

const gguf = ggufDecoder(["llama"], (file) => ({
  architecture: "llama",
  ropePairing: "adjacent",
  queryKeyValueBias: file.shape("blk.0.attn_q.bias") !== undefined,
  outputBias: file.shape("blk.0.attn_output.bias") !== undefined,
  feedForwardBias: file.shape("blk.0.ffn_up.bias") !== undefined,
}));

const huggingFace: FileNaming = {
  names: ["llama", "mistral"],
  config(file: ForeignModel) {
    const attentionBias = flagOf(file, "attention_bias", false);
    const window = integerOf(file, "sliding_window", 0);
    return {
      ...decoderFromHuggingFace(file, { tiedEmbeddings: false }),
      architecture: "llama",
      ropePairing: "halves",
      queryKeyValueBias: attentionBias,
      outputBias: attentionBias,
      feedForwardBias: flagOf(file, "mlp_bias", false),
      ...(window > 0 && { attention: "window", window }),
    };
  },
  origin: huggingFaceOrigin,
};

export const llamaNaming: Naming = { gguf, huggingFace };
