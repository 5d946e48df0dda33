import { createQwen3 } from "./qwen3.ts";
import { silu, softmaxSimilarity, testDecoder, usualFrequency } from "./testing-transformer.node.ts";

const sizes = { dim: 10, hiddenDim: 8, layerCount: 2, headCount: 4, keyValueHeadCount: 2, headDim: 4, vocabSize: 7 };

testDecoder("Qwen 3", createQwen3({ architecture: "qwen3", ...sizes, contextLength: 16 }), {
  ...sizes,
  epsilon: 1e-6,
  activation: silu,
  frequency: usualFrequency(1e6, 4),
  pairing: "halves",
  similarity: softmaxSimilarity(0.5),
});
