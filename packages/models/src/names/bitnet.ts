// BitNet b1.58 in files. GGUF: "bitnet", with SiLU unless it says otherwise, and "bitnet-b1.58" and "bitnet-25" of
// bitnet.cpp, with squared ReLU. A matrix may have a tensor of its own for its scale. Weights stored in ternary types
// are multiplied as such, with int8 activations; stored as floats they are multiplied as floats, which is what
// llama.cpp does with either.
//
// Hugging Face: model type "bitnet"; weights are bfloat16, ternarised when they are used, or codes of two bits, four
// rows to a byte, with a scale.

import {
  decoderFromHuggingFace,
  decoderMetadata,
  ggufDecoder,
  ggufOrigin,
  huggingFaceMetadata,
  huggingFaceOrigin,
} from "./decoder.ts";
import type { FileNaming, ForeignModel, Naming, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, textOf } from "./naming.ts";

const TERNARY_TYPES = ["i2_s", "tq1_0", "tq2_0"];

function activationOf(file: ForeignModel, key: string, usual: "relu2" | "silu"): string {
  const name = textOf(file, key, usual);
  return name === "relu_sqr" ? "relu2" : name;
}

const decoder = ggufDecoder(["bitnet", "bitnet-b1.58", "bitnet-25"], (file, architecture) => ({
  architecture: "bitnet",
  tiedEmbeddings: true,
  activation: activationOf(file, `${architecture}.hidden_activation`, architecture === "bitnet" ? "silu" : "relu2"),
  weights: TERNARY_TYPES.includes(file.dtype("blk.0.attn_q.weight") ?? "") ? "ternary" : "dense",
}));

const gguf: FileNaming = {
  ...decoder,
  origin(path, { weights }, file) {
    const origin = ggufOrigin(path);
    if (origin === undefined) return undefined;
    const isTernary = weights === "ternary" && /\.(query|key|value|output|gate|up|down)\.weight$/.test(path);
    const write = isTernary ? (values: Float32Array) => [ternaryValues(values)] : undefined;
    return { ...scaled(origin, file, origin.names[0].replace(/weight$/, "scale")), write };
  },
  metadata: (config) => decoderMetadata(config["activation"] === "silu" ? "bitnet" : "bitnet-b1.58", config),
};

/** The origin of values that are multiplied by the one number of the tensor `scale`, if the file has it. */
function scaled(origin: ParameterOrigin, file: ForeignModel | undefined, scale: string): ParameterOrigin {
  if (file?.shape(scale) === undefined || origin.names.includes(scale)) return origin;
  return {
    names: [...origin.names, scale],
    read: ([values, [factor]]) => values.map((value) => value * factor),
  };
}

/** The values that ternary weights are used as: -s, 0 and s, as they are, or by their mean magnitude. */
function ternaryValues(values: Float32Array): Float32Array {
  const [largest, sum] = values.reduce(
    ([most, total], value) => {
      return [Math.max(most, Math.abs(value)), total + Math.abs(value)];
    },
    [0, 0],
  );
  if (values.every((value) => value === 0 || Math.abs(value) === largest)) return values;
  const scale = Math.max(sum / values.length, 1e-5);
  return values.map((value) => (Math.abs(value) > scale / 2 ? Math.sign(value) * scale : 0));
}

const huggingFace: FileNaming = {
  names: ["bitnet"],
  config(file) {
    return {
      ...decoderFromHuggingFace(file, { tiedEmbeddings: true, theta: 500000 }),
      architecture: "bitnet",
      activation: activationOf(file, "hidden_act", "relu2"),
      weights: "ternary",
    };
  },
  metadata(config) {
    if (config["weights"] !== "ternary") throw denseWeights();
    return [
      ...huggingFaceMetadata("bitnet", config),
      { key: "hidden_act", type: "string", value: config["activation"] },
    ];
  },
  origin(path, _config, file) {
    const origin = huggingFaceOrigin(path);
    const scale = origin?.names[0].replace(/weight$/, "weight_scale");
    if (origin === undefined || file?.shape(scale!) === undefined) return origin;
    const divides = textOf(file, "quantization_config.linear_class", "bitlinear") === "bitlinear";
    return {
      names: [origin.names[0], scale!],
      read: ([codes, [factor]]) => unpackRows(codes, divides ? 1 / factor : factor),
    };
  },
};

function denseWeights(): ForeignModelError {
  return new ForeignModelError("BitNet models for Hugging Face have ternary weights", {
    where: "a bitnet model",
    expected: "weights ternary",
    got: "weights dense",
    hint: "write GGUF, or Fidelity's own format",
  });
}

/** Bytes [rows / 4, columns], whose bits 2 i are a code 0, 1 or 2 of row quarter i, as -1, 0 and 1 times a scale. */
function unpackRows(bytes: Float32Array, scale: number): Float32Array {
  const values = new Float32Array(4 * bytes.length);
  for (let quarter = 0; quarter < 4; quarter++) {
    for (let i = 0; i < bytes.length; i++) {
      values[quarter * bytes.length + i] = (((bytes[i] >> (2 * quarter)) & 3) - 1) * scale;
    }
  }
  return values;
}

export const bitnetNaming: Naming = { gguf, huggingFace };
