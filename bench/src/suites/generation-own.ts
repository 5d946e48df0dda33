// A model file of ours in use: prompts read by a session, and tokens of greedy decoding, sampler included.

import { createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import { openSession, Sampler } from "@fidelity/models";
import type { Constraint, Session, SessionState } from "@fidelity/models";
import { openModel } from "@fidelity/run/node";
import type { OpenModel } from "@fidelity/run/node";
import type { BenchTarget } from "../options.ts";

/** Something that reads prompts and writes tokens, and tells how many a second. */
export interface GenerationSource {
  prefill(tokens: readonly number[]): Promise<number>;
  decode(prompt: readonly number[], count: number): Promise<number>;
}

export interface OwnOptions {
  readonly target: BenchTarget;
  readonly threads: number;
  readonly capacity?: number;
}

/** A model on a device, and a session of it. */
export class OwnModel implements GenerationSource {
  readonly device: CpuDevice;
  readonly opened: OpenModel;
  readonly session: Session;
  /** What the device and the file took to open, without the session. */
  readonly openMs: number;

  private constructor(device: CpuDevice, opened: OpenModel, session: Session, openMs: number) {
    this.openMs = openMs;
    this.device = device;
    this.opened = opened;
    this.session = session;
  }

  static async open(path: string, { target, threads, capacity }: OwnOptions): Promise<OwnModel> {
    const started = performance.now();
    const device = createDevice({ threads, target });
    try {
      const opened = await openModel(path, device);
      const openMs = performance.now() - started;
      const session = await openSession(opened.model, opened.parameters, device, { capacity });
      return new OwnModel(device, opened, session, openMs);
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  async prefill(tokens: readonly number[]): Promise<number> {
    this.session.reset();
    const started = performance.now();
    await this.session.prefill(tokens);
    return (tokens.length * 1000) / (performance.now() - started);
  }

  async decode(prompt: readonly number[], count: number): Promise<number> {
    this.session.reset();
    return await this.#generate(prompt, count);
  }

  /** The same where a grammar lets so many tokens of the vocabulary come, anywhere in it. */
  async decodeAmong(allowed: number, prompt: readonly number[], count: number): Promise<number> {
    this.session.reset();
    return await this.#generate(prompt, count, evenlySpread(this.session.model.vocabSize, allowed));
  }

  /** Tokens a second at a position, with the state as it is: of a model whose state has no positions. */
  async decodeAt(position: number, count: number): Promise<number> {
    const state: SessionState = { ...this.session.save(), position };
    this.session.restore(state);
    return await this.#generate([1], count);
  }

  async #generate(prompt: readonly number[], count: number, constraint?: Constraint): Promise<number> {
    const sampler = new Sampler(this.session.model.vocabSize, { temperature: 0 });
    let [tokens, started] = [0, 0];
    // The first token comes with the prompt; the clock runs from there.
    for await (const _ of this.session.generate(prompt, { sampler, constraint, maxTokens: count + 1 })) {
      if (tokens++ === 0) started = performance.now();
    }
    return (count * 1000) / (performance.now() - started);
  }

  async close(): Promise<void> {
    this.session.close();
    this.opened.close();
    await this.device.close();
  }
}

/** A constraint that always lets the same tokens come. */
function evenlySpread(vocabSize: number, count: number): Constraint {
  const allowed = new Uint32Array(Math.ceil(vocabSize / 32));
  for (let i = 0; i < count; i++) {
    const token = Math.floor((i * vocabSize) / count);
    allowed[token >>> 5] |= 1 << (token & 31);
  }
  const constraint: Constraint = {
    isComplete: false,
    isFinished: false,
    allowed: (mask) => mask.set(allowed),
    accept: () => undefined,
    reset: () => undefined,
    clone: () => constraint,
  };
  return constraint;
}
