// llama.cpp as node-llama-cpp brings it, in this process: prompts read in one batch, and tokens of greedy decoding.

import { setTimeout as pause } from "node:timers/promises";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import type { Llama, LlamaContext, LlamaContextSequence, LlamaModel, Token } from "node-llama-cpp";
import type { GenerationSource } from "./generation-own.ts";

/** What is built into the package, or why it cannot be used. */
export async function loadLlama(threads: number): Promise<Llama | string> {
  const options = { gpu: false, build: "never", logLevel: LlamaLogLevel.error, progressLogs: false } as const;
  try {
    return await getLlama({ ...options, maxThreads: threads });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Its threads spin on after their work, at the cost of whoever is measured next. */
const SPIN_MS = 300;

/** A model of the peer, and a sequence of it. */
export class PeerModel implements GenerationSource {
  readonly #model: LlamaModel;
  readonly #context: LlamaContext;
  readonly #sequence: LlamaContextSequence;

  private constructor(model: LlamaModel, context: LlamaContext) {
    this.#model = model;
    this.#context = context;
    this.#sequence = context.getSequence();
  }

  /** @param capacity tokens of the sequence, all of which may come in one batch */
  static async open(llama: Llama, modelPath: string, threads: number, capacity: number): Promise<PeerModel> {
    const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
    const context = await model.createContext({ contextSize: capacity, batchSize: capacity, threads });
    return new PeerModel(model, context);
  }

  async prefill(tokens: readonly number[]): Promise<number> {
    await this.#sequence.clearHistory();
    const started = performance.now();
    await this.#sequence.evaluateWithoutGeneratingNewTokens(tokens as Token[]);
    const rate = (tokens.length * 1000) / (performance.now() - started);
    await pause(SPIN_MS);
    return rate;
  }

  async decode(prompt: readonly number[], count: number): Promise<number> {
    await this.#sequence.clearHistory();
    let [tokens, started] = [0, 0];
    // The first token comes with the prompt; the clock runs from there.
    for await (const _ of this.#sequence.evaluate(prompt as Token[], { temperature: 0, yieldEogToken: true })) {
      if (tokens === 0) started = performance.now();
      if (++tokens > count) break;
    }
    const rate = (count * 1000) / (performance.now() - started);
    await pause(SPIN_MS);
    return rate;
  }

  async close(): Promise<void> {
    await this.#context.dispose();
    await this.#model.dispose();
  }
}
