import { createGemma2 } from "./gemma2.ts";
import { geluTanh, softmaxSimilarity, testDecoder, usualFrequency } from "./testing-transformer.node.ts";

const sizes = { dim: 10, hiddenDim: 8, layerCount: 3, headCount: 2, keyValueHeadCount: 1, headDim: 4, vocabSize: 7 };
const config = {
  architecture: "gemma2",
  ...sizes,
  contextLength: 16,
  window: 3,
  attentionSoftcap: 1.5,
  logitSoftcap: 4,
};

testDecoder("Gemma 2", createGemma2({ ...config, attentionScale: 0.7 }), {
  ...sizes,
  epsilon: 1e-6,
  activation: geluTanh,
  frequency: usualFrequency(10000, 4),
  pairing: "halves",
  similarity: softmaxSimilarity(0.7, 1.5),
  window: (layer) => (layer === 1 ? Infinity : 3),
  embeddingScale: Math.sqrt(10),
  logit: (x) => 4 * Math.tanh(x / 4),
});
