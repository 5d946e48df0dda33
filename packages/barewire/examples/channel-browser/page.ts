// A channel between a page and its worker: text goes there as a value of a BARE schema and comes back answered, and
// round trips are measured, through the channel and through `postMessage`. The main thread of a page may not sleep, so
// that it uses the asynchronous side of its channels (`sendAsync`, `takeAsync`).

import { TypedReceiver, TypedSender, attachThreadChannel, createThreadChannel } from "@fidelity/barewire";

import { PROBE_BYTES, ROUND_TRIPS, answer, question } from "./protocol.ts";
import type { Task } from "./protocol.ts";

const GREETINGS = ["hello", "zero copies", "page to worker"];

function startWorker(): Worker {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  worker.addEventListener("error", ({ message }) => say(`A worker failed: ${message}`));
  return worker;
}

/** Two new channels, one for each direction, and a worker at their other ends. */
function connect(kind: "answer" | "echo") {
  const [there, back] = [createThreadChannel(), createThreadChannel()];
  const task: Task = { kind, incoming: there, outgoing: back };
  startWorker().postMessage(task);
  return { sender: attachThreadChannel(there).sender(), receiver: attachThreadChannel(back).receiver() };
}

function talk(): (text: string) => Promise<void> {
  const { sender, receiver } = connect("answer");
  const questions = new TypedSender(question, sender);
  const answers = new TypedReceiver(answer, receiver);
  let id = 0;
  return async (text) => {
    show("sent", text);
    await questions.sendAsync({ id: id++, text });
    show("received", (await answers.takeAsync()).text);
  };
}

async function measureChannel(): Promise<number> {
  const { sender, receiver } = connect("echo");
  const probe = new Uint8Array(PROBE_BYTES);
  const roundTrip = async (): Promise<void> => {
    await sender.sendAsync(probe);
    (await receiver.takeAsync()).release();
  };
  const timeMs = await timeOf(roundTrip);
  sender.close(); // the worker sees it, and leaves too
  receiver.close();
  return timeMs;
}

async function measurePostMessage(): Promise<number> {
  const worker = startWorker();
  const probe = new Uint8Array(PROBE_BYTES);
  const roundTrip = (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    worker.addEventListener("message", () => resolve(), { once: true });
    worker.postMessage(probe);
    return promise;
  };
  const timeMs = await timeOf(roundTrip);
  worker.terminate();
  return timeMs;
}

async function measureWorkers(): Promise<number> {
  const [there, back] = [createThreadChannel(), createThreadChannel()];
  const [near, far] = [startWorker(), startWorker()];
  const { promise, resolve } = Promise.withResolvers<number>();
  near.addEventListener("message", ({ data }: MessageEvent<number>) => resolve(data));
  far.postMessage({ kind: "echo", incoming: there, outgoing: back } satisfies Task);
  near.postMessage({ kind: "measure", incoming: back, outgoing: there } satisfies Task);
  const timeMs = await promise;
  near.terminate();
  far.terminate();
  return timeMs;
}

async function timeOf(roundTrip: () => Promise<void>): Promise<number> {
  await roundTrip(); // the other side has started
  const start = performance.now();
  for (let i = 0; i < ROUND_TRIPS; i++) await roundTrip();
  return performance.now() - start;
}

async function measureAll(): Promise<void> {
  element("again", HTMLButtonElement).disabled = true;
  element("results", HTMLElement).replaceChildren();
  const ways = [
    ["page and worker, channel", measureChannel],
    ["page and worker, postMessage", measurePostMessage],
    ["worker and worker, channel", measureWorkers],
  ] as const;
  for (const [way, measure] of ways) {
    say(`Measuring: ${way}.`);
    addResult(way, await measure());
  }
  element("again", HTMLButtonElement).disabled = false;
  say(`Ready. Each row is the mean of ${ROUND_TRIPS.toLocaleString("en")} round trips.`);
}

function addResult(way: string, timeMs: number): void {
  const perSecond = Math.round((ROUND_TRIPS / timeMs) * 1000).toLocaleString("en");
  const each = `${((timeMs / ROUND_TRIPS) * 1000).toFixed(1)} µs`;
  const row = document.createElement("tr");
  for (const text of [way, perSecond, each]) row.insertCell().textContent = text;
  element("results", HTMLElement).append(row);
}

function show(kind: "sent" | "received", text: string): void {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = text;
  element("messages", HTMLElement).append(item);
  item.scrollIntoView({ block: "nearest" });
}

function say(text: string): void {
  element("state", HTMLElement).textContent = text;
}

function element<T extends HTMLElement>(id: string, type: abstract new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${type.name} called ${id}`);
}

async function main(): Promise<void> {
  const send = talk();
  for (const text of GREETINGS) await send(text);
  element("form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const input = element("text", HTMLInputElement);
    void send(input.value).catch((error: unknown) => say(String(error)));
    input.value = "";
  });
  element("again", HTMLButtonElement).addEventListener("click", () => void measureAll());
  await measureAll();
}

await main().catch((error: unknown) => say(String(error)));
