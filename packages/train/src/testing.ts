// A run of a few kilobytes for tests, the same in every process.

import { readFileSync } from "node:fs";
import { createModel, CharacterTokenizer } from "@fidelity/models";
import type { Model, Tokenizer } from "@fidelity/models";
import type { TokenData } from "./data/index.ts";
import type { MetricsRow } from "./metrics.ts";
import type { trainSettings } from "./settings.ts";

const text = "she sells sea shells by the sea shore; the shells she sells are sea shells. ".repeat(12);

export interface TinyRun {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly data: TokenData;
  readonly settings: Parameters<typeof trainSettings>[0];
}

/** Model, vocabulary, data and settings of a run that takes milliseconds a step even when it is interpreted. */
export function tinyRun(architecture: "matmul-free" | "llama" = "matmul-free", steps = 12): TinyRun {
  const tokenizer = CharacterTokenizer.fromTexts([text]);
  const { vocabSize } = tokenizer;
  const extra = architecture === "llama" ? { headCount: 2, contextLength: 16 } : {};
  const model = createModel({ architecture, dim: 16, hiddenDim: 32, layerCount: 2, vocabSize, ...extra });
  const tokens = Uint8Array.from(tokenizer.encode(text));
  const data = { tokens, vocabSize, fingerprint: "she sells shells" };
  return { model, tokenizer, data, settings: { steps, batchSize: 2, contextLength: 8, seed: 7, learningRate: 0.02 } };
}

/** The rows of a metrics file without what depends on the clock. */
export function readLosses(path: string): Pick<MetricsRow, "step" | "loss" | "gradientNorm" | "validationLoss">[] {
  const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => {
    const { step, loss, gradientNorm, validationLoss } = JSON.parse(line) as MetricsRow;
    return { step, loss, gradientNorm, ...(validationLoss !== undefined && { validationLoss }) };
  });
}
