import { createQwen2 } from "./qwen2.ts";
import { silu, softmaxSimilarity, testDecoder, usualFrequency } from "./testing-transformer.node.ts";

const sizes = { dim: 12, hiddenDim: 10, layerCount: 2, headCount: 2, keyValueHeadCount: 1, headDim: 6, vocabSize: 7 };

testDecoder("Qwen 2", createQwen2({ architecture: "qwen2", ...sizes, contextLength: 16 }), {
  ...sizes,
  epsilon: 1e-6,
  activation: silu,
  frequency: usualFrequency(1e6, 6),
  pairing: "halves",
  similarity: softmaxSimilarity(6 ** -0.5),
});
