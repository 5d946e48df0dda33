// A process of the browser suite: Node with the engine's settings that a page has, that is V8's own. Told to, it writes
// an answer and sends back its tokens a second.

import { once } from "node:events";
import type { LanguageModel } from "@fidelity/run";
import { open } from "@fidelity/run/node";

export interface AnswerJob {
  readonly path: string;
  readonly threads: number;
  readonly question: string;
  readonly tokens: number;
}

/** Writes answers to one question: gives the tokens a second of each. */
export function answerer(model: LanguageModel, { question, tokens }: AnswerJob): () => Promise<number> {
  const chat = model.chat({ temperature: 0, maxTokens: tokens });
  return async () => (await chat.send(question).result()).timings.decodeTokensPerSecond;
}

async function serve(job: AnswerJob): Promise<void> {
  await using model = await open(job.path, { target: "wasm", threads: job.threads });
  const answer = answerer(model, job);
  const over = once(process, "disconnect");
  process.on("message", () => void answer().then((rate) => process.send!(rate)));
  process.send!("open");
  await over;
}

if (import.meta.main) await serve(JSON.parse(process.argv[2]) as AnswerJob);
