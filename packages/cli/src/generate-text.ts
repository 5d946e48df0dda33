// The loop that `generate` and `quickstart` share: a prompt goes in, text comes out piece by piece, until enough
// tokens, a stop, the end of the context, or Ctrl-C.

import { setImmediate } from "node:timers/promises";
import { openSession, Sampler } from "@fidelity/models";
import type { Model, SamplerOptions, Session } from "@fidelity/models";
import type { LoadedModel } from "./open-model.ts";
import { beginText, StopFilter } from "./text-stream.ts";

export interface GenerateRequest {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly sampling: SamplerOptions;
  readonly stops: readonly string[];
  readonly signal: AbortSignal;
  /** Called with each piece of text as it comes, the prompt first. */
  readonly onText: (piece: string) => void;
}

export interface Generation {
  readonly text: string;
  readonly tokens: number;
  /** From the first token that was generated to the last. */
  readonly seconds: number;
  readonly endedBy: "tokens" | "stop-string" | "stop-token" | "context" | "interrupt";
}

/** Generates text. Throws `SamplingOptionError`, `LogitsError`, and `ContextLimitError` for too long a prompt. */
export async function generateText(loaded: Omit<LoadedModel, "info">, request: GenerateRequest): Promise<Generation> {
  const { model, tokenizer, parameters, device } = loaded;
  const sampler = new Sampler(model.vocabSize, request.sampling);
  const beginning = beginText(tokenizer, request.prompt);
  const capacity = capacityFor(model, beginning.tokens.length + request.maxTokens);
  const session = await openSession(model, parameters, device, { capacity });
  try {
    request.onText(beginning.text);
    return await run(session, sampler, beginning, tokenizer.stopTokens, request);
  } finally {
    session.close();
  }
}

/** Smaller states would save next to nothing. */
const CAPACITY_MIN = 512;

/** Room for `tokens`, in steps of powers of two, so that texts of similar lengths share their programs. */
function capacityFor({ contextLimit }: Model, tokens: number): number | undefined {
  if (contextLimit === null) return undefined;
  return Math.min(contextLimit, 2 ** Math.ceil(Math.log2(Math.max(CAPACITY_MIN, tokens))));
}

/** The capacities of sessions for texts of up to `tokensMax`: what `fidelity build` makes code for. */
export function capacitiesUpTo(model: Model, tokensMax: number): ReadonlySet<number | undefined> {
  const capacities = new Set<number | undefined>();
  for (let tokens = CAPACITY_MIN; tokens <= tokensMax; tokens *= 2) capacities.add(capacityFor(model, tokens));
  return capacities;
}

async function run(
  session: Session,
  sampler: Sampler,
  { tokens: prompt, stream }: ReturnType<typeof beginText>,
  stopTokens: readonly number[],
  { maxTokens, stops, signal, onText }: GenerateRequest,
): Promise<Generation> {
  const filter = new StopFilter(stops);
  // The last token is given out and never read, so the context holds all others and one more fits.
  const room = Math.max(0, session.limit - prompt.length) + 1;
  const limit = Math.min(maxTokens, room);
  let endedBy: Generation["endedBy"] = limit === maxTokens ? "tokens" : "context";
  let text = "";
  let tokens = 0;
  const show = (piece: string): void => {
    text += piece;
    if (piece !== "") onText(piece);
  };
  const stop = (token: number): boolean => {
    const isStop = stopTokens.includes(token);
    if (isStop) endedBy = "stop-token";
    return isStop;
  };
  let started = performance.now();
  for await (const token of session.generate(prompt, { sampler, maxTokens: limit, stop })) {
    if (tokens === 0) started = performance.now(); // what came before was the prompt
    tokens++;
    show(filter.push(stream.push(token)));
    if (filter.found !== undefined) {
      endedBy = "stop-string";
      break;
    }
    await setImmediate(); // signals are heard, and the text is written, between tokens
    if (signal.aborted) {
      endedBy = "interrupt";
      break;
    }
  }
  const seconds = (performance.now() - started) / 1000;
  show(filter.push(stream.end()) + filter.end());
  return { text, tokens, seconds, endedBy };
}
