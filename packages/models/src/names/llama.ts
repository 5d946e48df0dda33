// Llama and Mistral in files. GGUF: architecture "llama", whose query and key rows are permuted so that rotary pairs
// are adjacent, and whose windows llama.cpp does not look at. Hugging Face: model types "llama" and "mistral", with
// pairs in halves. A model with the other pairing is written with its rows permuted.

import type { PlainConfig } from "../config.ts";
import { decoderFromHuggingFace, ggufDecoder, ggufOrigin, huggingFaceMetadata, huggingFaceOrigin } from "./decoder.ts";
import type { FileNaming, ForeignModel, MetadataEntry, Naming, ParameterOrigin } from "./naming.ts";
import { flagOf, ForeignModelError, integerOf } from "./naming.ts";

const decoder = ggufDecoder(
  ["llama"],
  (file) => ({
    architecture: "llama",
    ropePairing: "adjacent",
    queryKeyValueBias: file.shape("blk.0.attn_q.bias") !== undefined,
    outputBias: file.shape("blk.0.attn_output.bias") !== undefined,
    feedForwardBias: file.shape("blk.0.ffn_up.bias") !== undefined,
  }),
  (config) => {
    requireSoftmax(config);
    const { window } = config;
    return window === undefined ? [] : [{ key: "llama.attention.sliding_window", type: "u32", value: window }];
  },
);

const gguf: FileNaming = {
  ...decoder,
  origin: (path, config) => withPairing("adjacent", path, config, ggufOrigin(path)),
};

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
  origin: (path, config) => withPairing("halves", path, config, huggingFaceOrigin(path)),
  metadata(config): MetadataEntry[] {
    requireSoftmax(config);
    const { window, queryKeyValueBias, outputBias, feedForwardBias } = config;
    if (queryKeyValueBias !== outputBias) {
      throw new ForeignModelError("config.json has one field for the biases of queries, keys, values and outputs", {
        where: "a llama model",
        expected: `outputBias ${String(queryKeyValueBias)}`,
        got: `outputBias ${String(outputBias)}`,
        hint: "write GGUF, or Fidelity's own format",
      });
    }
    return [
      ...huggingFaceMetadata(window === undefined ? "llama" : "mistral", config),
      { key: "attention_bias", type: "bool", value: queryKeyValueBias },
      { key: "mlp_bias", type: "bool", value: feedForwardBias },
      ...(window === undefined ? [] : [{ key: "sliding_window", type: "u32", value: window } as const]),
    ];
  },
};

/** Linear attention and Performers are no one else's. */
function requireSoftmax({ attention }: PlainConfig): void {
  if (attention === "full" || attention === "window") return;
  throw new ForeignModelError("a llama model with this attention is written in Fidelity's own format only", {
    expected: "attention full or window",
    got: String(attention),
    hint: "write Fidelity's own format",
  });
}

/** The origin of a parameter in a file with pairs in `pairing`: queries and keys of models with others are permuted. */
function withPairing(
  pairing: "adjacent" | "halves",
  path: string,
  { ropePairing, headDim, dim }: PlainConfig,
  origin: ParameterOrigin | undefined,
): ParameterOrigin | undefined {
  if (origin === undefined || ropePairing === pairing || !/\.attention\.(query|key)\./.test(path)) return origin;
  const columns = path.endsWith(".bias") ? 1 : Number(dim);
  return { ...origin, write: (values) => [permuteRows(values, columns, Number(headDim), pairing)] };
}

/** The rows [heads headDim, columns] of pairs in the other pairing, put in the order of `to`. */
function permuteRows(values: Float32Array, columns: number, headDim: number, to: "adjacent" | "halves"): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++) {
    const [first, channel] = [row - (row % headDim), row % headDim];
    const [pair, part] =
      to === "adjacent"
        ? [channel % (headDim / 2), Math.floor(channel / (headDim / 2))]
        : [Math.floor(channel / 2), channel % 2];
    const target = first + (to === "adjacent" ? 2 * pair + part : part * (headDim / 2) + pair);
    result.set(values.subarray(row * columns, (row + 1) * columns), target * columns);
  }
  return result;
}

export const llamaNaming: Naming = { gguf, huggingFace };
