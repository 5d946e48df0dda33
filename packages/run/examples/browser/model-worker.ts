// Holds the model: opens it, answers, stops. It is a worker, because a program runs on the thread that asks for it, and
// because only workers may sleep until the other threads of the team are done.

import { createDevice } from "@fidelity/alex/browser";
import { blobSource, openHttpSource } from "@fidelity/barewire";
import { countParameters } from "@fidelity/models";
import type { Chat, LanguageModel } from "@fidelity/run";
import { openFrom } from "@fidelity/run";
import type { Order, Report } from "./protocol.ts";

let device: ReturnType<typeof createDevice> | undefined;
let model: LanguageModel | undefined;
let chat: Chat | undefined;
let stop = new AbortController();

addEventListener("message", ({ data: order }: MessageEvent<Order>) => {
  void obey(order).catch((error: unknown) => {
    report({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  });
});

async function obey(order: Order): Promise<void> {
  if (order.kind === "stop") stop.abort();
  else if (order.kind === "open") await open(order.from, order.threads);
  else await answer(order.text, { maxTokens: order.maxTokens, temperature: order.temperature });
}

async function open(from: File | string, threads?: number): Promise<void> {
  await model?.close();
  await device?.close();
  model = chat = undefined;
  device = createDevice({ threads });
  const source = typeof from === "string" ? await openHttpSource(from) : blobSource(from);
  const started = performance.now();
  model = await openFrom(source, {
    device,
    onProgress: ({ done, total }) => report({ kind: "progress", done, total }),
  });
  chat = model.chat();
  report({
    kind: "opened",
    about: {
      name: source.name,
      architecture: model.model.architecture,
      parameters: countParameters(model.model.parameters).parameters,
      threads: device.threads,
      seconds: (performance.now() - started) / 1000,
    },
  });
}

async function answer(text: string, options: { maxTokens: number; temperature: number }): Promise<void> {
  if (chat === undefined) throw new Error("open a model first");
  stop = new AbortController();
  const generation = chat.send(text, { ...options, signal: stop.signal });
  for await (const piece of generation) report({ kind: "piece", text: piece });
  const { endedBy, usage, timings } = await generation.result();
  report({ kind: "ended", result: { endedBy, usage, timings } });
}

function report(message: Report): void {
  postMessage(message);
}
