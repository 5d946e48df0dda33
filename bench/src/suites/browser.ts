// A model in a page: tokens a second of the library in Chromium, in a worker as in the example page of `run`, against
// the same library, file and target in Node. There, the library switches on V8's revectorization, which no page can:
// a second row is against a process of Node without it.

import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { open } from "@fidelity/run/node";
import { Chromium, whyNoChromium } from "@fidelity/barewire/testing/browser";
import type { OpenPage } from "@fidelity/barewire/testing/browser";
import { FidelityError } from "@fidelity/units";
import { measure } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { answerer } from "./browser-node.ts";
import type { AnswerJob } from "./browser-node.ts";
import { peerFile, smallBitnet, tinyBitnet } from "./generation-models.ts";

const EXAMPLE = new URL("../../../packages/run/examples/browser/serve.ts", import.meta.url);
const QUESTION = "a";
const TOKENS = 64;

/** The page, or the process beside it, failed. */
class PageError extends FidelityError {}

/** Measures decoding in Chromium and in Node with each number of threads. */
export async function browser(bench: Bench): Promise<void> {
  const missing = whyNoChromium();
  if (missing !== false) {
    bench.note(`browser: skipped, ${missing}`);
    return;
  }
  const shape = bench.quick ? tinyBitnet() : smallBitnet();
  const path = peerFile(shape, "tq2_0", "q6_k");
  const chromium = new Chromium();
  try {
    const url = await chromium.serve(EXAMPLE, [path]);
    for (const threads of bench.threads) await besideNode(bench, shape.name, path, await chromium.open(url), threads);
  } finally {
    await chromium.close();
  }
}

async function besideNode(bench: Bench, name: string, path: string, opened: OpenPage, threads: number): Promise<void> {
  const job: AnswerJob = { path, threads, question: QUESTION, tokens: TOKENS };
  await using model = await open(path, { target: "wasm", threads });
  await using plain = await PlainNode.start(job);
  const page = new ModelPage(opened);
  try {
    await page.open(threads);
    const sources: Source[] = [
      { name: "page", sample: () => page.decode() },
      { name: "Node", sample: answerer(model, job) },
      { name: "plain", sample: () => plain.decode() },
    ];
    const id = `browser/${name}/threads-${threads}`;
    const row = { unit: "tokens/s", source: "page" };
    const plans = [
      { ...row, id: `${id}/decode`, peer: { source: "Node", name: "Node, wasm" } },
      { ...row, id: `${id}/decode-same-engine`, peer: { source: "plain", name: "the same, V8's own settings" } },
    ];
    const rows = await measure(sources, plans, { ...bench.settings, rotate: true });
    // Chromium's processes would count as others.
    const alone = rows.map((measured) => ({ ...measured, quiet: null }));
    bench.report(`Decoding in Chromium, ${name}, ${threads} thread(s)`, alone);
  } finally {
    await opened.page.close();
  }
}

/** A process of Node that leaves V8's settings as they are. */
class PlainNode {
  readonly #child: ChildProcess;
  readonly #died: Promise<never>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#died = once(child, "exit").then(([code]) => {
      throw new PageError("a process of Node that was to be measured ended", { got: `exit status ${code}` });
    });
    this.#died.catch(() => undefined); // whoever waits for an answer is told
  }

  static async start(job: AnswerJob): Promise<PlainNode> {
    const child = fork(fileURLToPath(new URL("./browser-node.ts", import.meta.url)), [JSON.stringify(job)], {
      env: { ...process.env, FIDELITY_V8_FLAGS: "off" },
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    const node = new PlainNode(child);
    await node.#answer();
    return node;
  }

  /** Tokens a second of one answer. */
  async decode(): Promise<number> {
    const answered = this.#answer();
    this.#child.send("answer");
    return Number(await answered);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await this.#died.catch(() => undefined);
  }

  async #answer(): Promise<unknown> {
    const message = once(this.#child, "message") as Promise<unknown[]>;
    return (await Promise.race([message, this.#died]))[0];
  }
}

/** The example's worker, asked from the page. */
class ModelPage {
  readonly #opened: OpenPage;

  constructor(opened: OpenPage) {
    this.#opened = opened;
  }

  /** Opens the file that the page was given with a number of threads. */
  async open(threads: number): Promise<void> {
    await this.#order({ kind: "open", from: "/files/", threads }, "opened");
  }

  /** Tokens a second of one answer. */
  async decode(): Promise<number> {
    const { result } = await this.#order({ kind: "ask", text: QUESTION, maxTokens: TOKENS, temperature: 0 }, "ended");
    return (result as { timings: { decodeTokensPerSecond: number } }).timings.decodeTokensPerSecond;
  }

  async #order(order: object, until: string): Promise<Record<string, unknown>> {
    const answer = await this.#opened.page.evaluate(askWorker, { order, until });
    if (answer.kind !== until) throw new PageError("a model in a page failed", { got: String(answer.message) });
    return answer;
  }
}

/** Runs in the page: sends an order to a worker of its own, and gives the report that ends it. */
async function askWorker({ order, until }: { order: object; until: string }): Promise<Record<string, unknown>> {
  const home = globalThis as { worker?: Worker };
  home.worker ??= new Worker(new URL("./model-worker.ts", location.href), { type: "module" });
  const { worker } = home;
  const from = new URL(new URLSearchParams(location.search).get("model")!, location.href).href;
  return await new Promise((resolve) => {
    const hear = ({ data }: MessageEvent<Record<string, unknown>>): void => {
      if (data.kind !== until && data.kind !== "failed") return;
      worker.removeEventListener("message", hear);
      resolve(data);
    };
    worker.addEventListener("message", hear);
    worker.postMessage("from" in order ? { ...order, from } : order);
  });
}
