import { createGemma3 } from "./gemma3.ts";
import { geluTanh, softmaxSimilarity, testDecoder } from "./testing-transformer.node.ts";

const sizes = { dim: 10, hiddenDim: 8, layerCount: 4, headCount: 2, keyValueHeadCount: 1, headDim: 4, vocabSize: 7 };
const config = { architecture: "gemma3", ...sizes, contextLength: 16, window: 2, windowPeriod: 3 };

testDecoder("Gemma 3", createGemma3({ ...config, localRopeTheta: 20, ropeScaling: "linear", ropeScalingFactor: 8 }), {
  ...sizes,
  epsilon: 1e-6,
  activation: geluTanh,
  frequency: (layer, pair) => (layer === 2 ? 1e6 ** (-pair / 2) / 8 : 20 ** (-pair / 2)),
  pairing: "halves",
  similarity: softmaxSimilarity(0.5),
  window: (layer) => (layer === 2 ? Infinity : 2),
  embeddingScale: Math.sqrt(10),
});
