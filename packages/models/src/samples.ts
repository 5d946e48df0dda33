// A small configuration of every architecture, for tests that go over the registry and for its page in the
// documentation.

import type { PlainConfig } from "./config.ts";

/** By architecture: sizes that differ from each other where they can, so that a mix-up shows. */
export const sampleConfigs: Readonly<Record<string, PlainConfig>> = {
  "matmul-free": { dim: 32, hiddenDim: 64, layerCount: 2 },
  llama: { dim: 32, hiddenDim: 64, layerCount: 2, headCount: 4, keyValueHeadCount: 2, contextLength: 64 },
  qwen2: { dim: 32, hiddenDim: 64, layerCount: 2, headCount: 4, keyValueHeadCount: 2, contextLength: 64 },
  qwen3: { dim: 32, hiddenDim: 64, layerCount: 2, headCount: 4, keyValueHeadCount: 2, contextLength: 64 },
  gemma2: { dim: 32, hiddenDim: 64, layerCount: 2, headCount: 4, keyValueHeadCount: 2, contextLength: 64, window: 8 },
  gemma3: { dim: 32, hiddenDim: 64, layerCount: 2, headCount: 4, keyValueHeadCount: 2, contextLength: 64, window: 8 },
  bitnet: { dim: 32, hiddenDim: 64, layerCount: 2, headCount: 4, keyValueHeadCount: 2, contextLength: 64 },
  deepseek2: {
    dim: 32,
    hiddenDim: 64,
    layerCount: 2,
    headCount: 4,
    queryRank: 24,
    latentRank: 16,
    keyDim: 8,
    ropeDim: 4,
    valueDim: 6,
    expertCount: 4,
    expertsPerToken: 2,
    expertHiddenDim: 20,
    contextLength: 64,
  },
  bert: { dim: 32, hiddenDim: 64, layerCount: 2, headCount: 4, contextLength: 64, maskedLanguageModel: true },
  mamba: { dim: 32, layerCount: 2 },
  mamba2: { dim: 32, layerCount: 2, headCount: 4 },
  rwkv7: { dim: 32, hiddenDim: 64, layerCount: 2, headSize: 8 },
  "gated-deltanet": { dim: 32, layerCount: 2, headCount: 2 },
  xlstm: { dim: 32, layerCount: 2, headCount: 2, pattern: "MS" },
  gla: { dim: 32, layerCount: 2, headCount: 2 },
  retnet: { dim: 32, layerCount: 2, headCount: 2 },
  s4d: { dim: 32, layerCount: 2, stateSize: 8 },
  s5: { dim: 32, layerCount: 2 },
  mega: { dim: 32, layerCount: 2, averageSize: 4, contextLength: 64 },
};
