// A conversation with a model that runs in this page: a file that is chosen, or one that a server gives by ranges. The
// model lives in a worker; the page shows what it says. `?model=ADDRESS` opens one at once.

import type { ModelAbout, Order, Report } from "./protocol.ts";

const MAX_TOKENS = 256;

const worker = new Worker(new URL("./model-worker.ts", import.meta.url), { type: "module" });
worker.addEventListener("message", ({ data }: MessageEvent<Report>) => show(data));
// Without a message where a module of it cannot be fetched.
worker.addEventListener("error", ({ message }) =>
  fail(`The worker failed: ${message || "is the server still there?"}`),
);

const file = element("file", HTMLInputElement);
const address = element("address", HTMLInputElement);
const form = element("form", HTMLFormElement);
const text = element("text", HTMLTextAreaElement);
const send = element("send", HTMLButtonElement);
const stop = element("stop", HTMLButtonElement);
const temperature = element("temperature", HTMLInputElement);
const progress = element("progress", HTMLProgressElement);
const talk = element("talk", HTMLElement);
let reply: HTMLElement | undefined;

file.addEventListener("change", () => {
  const [chosen] = file.files ?? [];
  if (chosen !== undefined) open(chosen);
});
element("fetch", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  open(new URL(address.value, location.href).href);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || send.disabled) return;
  event.preventDefault();
  ask();
});
stop.addEventListener("click", () => order({ kind: "stop" }));

const wanted = new URLSearchParams(location.search).get("model");
if (wanted !== null) {
  address.value = wanted;
  open(new URL(wanted, location.href).href);
}

function open(from: File | string): void {
  talk.replaceChildren();
  say(`Opening ${typeof from === "string" ? from : from.name}.`);
  progress.hidden = false;
  progress.removeAttribute("value");
  setBusy(true);
  stop.disabled = true;
  order({ kind: "open", from });
}

function ask(): void {
  const question = text.value;
  if (question.trim() === "") return;
  text.value = "";
  addTurn("asked", question);
  reply = addTurn("answered", "");
  setBusy(true);
  say("Reading.");
  order({ kind: "ask", text: question, maxTokens: MAX_TOKENS, temperature: Number(temperature.value) });
}

function show(report: Report): void {
  switch (report.kind) {
    case "progress":
      progress.value = report.done / report.total;
      return;
    case "opened":
      progress.hidden = true;
      setBusy(false);
      say(`${describe(report.about)} Ready.`);
      text.focus();
      return;
    case "piece":
      reply?.append(report.text);
      reply?.scrollIntoView({ block: "nearest" });
      return;
    case "ended": {
      const { usage, timings, endedBy } = report.result;
      setBusy(false);
      say(
        `${usage.completionTokens} tokens at ${timings.decodeTokensPerSecond.toFixed(1)} tokens/s, the first after ` +
          `${Math.round(timings.firstTokenSeconds * 1000)} ms${endedBy === "interrupt" ? "; stopped" : ""}.`,
      );
      return;
    }
    case "failed":
      fail(report.message);
  }
}

function describe({ name, architecture, parameters, threads, seconds }: ModelAbout): string {
  const count = parameters.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
  const alone = crossOriginIsolated ? "" : " (the page is not isolated)";
  const team = `${threads} thread${threads === 1 ? "" : "s"}${alone}`;
  return `${name.split("/").at(-1)}: ${architecture}, ${count} parameters, open in ${seconds.toFixed(1)} s, ${team}.`;
}

function addTurn(kind: "asked" | "answered", content: string): HTMLElement {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = content;
  talk.append(item);
  item.scrollIntoView({ block: "nearest" });
  return item;
}

function setBusy(isBusy: boolean): void {
  send.disabled = isBusy;
  stop.disabled = !isBusy;
  file.disabled = isBusy;
}

function fail(message: string): void {
  progress.hidden = true;
  setBusy(false);
  file.disabled = false;
  say(message);
}

function say(line: string): void {
  element("state", HTMLElement).textContent = line;
}

function order(message: Order): void {
  worker.postMessage(message);
}

function element<T extends HTMLElement>(id: string, type: abstract new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${type.name} called ${id}`);
}
