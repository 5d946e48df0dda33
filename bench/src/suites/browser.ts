// A model in a page: tokens a second of the library in Chromium, in a worker as in the example page of `run`, against
// the same library, file and target in Node.

import { open } from "@fidelity/run/node";
import { Chromium, whyNoChromium } from "@fidelity/barewire/testing/browser";
import type { OpenPage } from "@fidelity/barewire/testing/browser";
import { FidelityError } from "@fidelity/units";
import { measure } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { peerFile, smallBitnet, tinyBitnet } from "./generation-models.ts";

const EXAMPLE = new URL("../../../packages/run/examples/browser/serve.ts", import.meta.url);
const QUESTION = "a";
const TOKENS = 64;

/** The page said that something failed. */
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
  await using model = await open(path, { target: "wasm", threads });
  const page = new ModelPage(opened);
  try {
    await page.open(threads);
    const chat = model.chat({ temperature: 0, maxTokens: TOKENS });
    const sources: Source[] = [
      { name: "page", sample: () => page.decode() },
      { name: "Node", sample: async () => (await chat.send(QUESTION).result()).timings.decodeTokensPerSecond },
    ];
    const id = `browser/${name}/threads-${threads}`;
    const peer = { source: "Node", name: "Node, wasm" };
    const plans = [{ id: `${id}/decode`, unit: "tokens/s", source: "page", peer }];
    const rows = await measure(sources, plans, { ...bench.settings, rotate: true });
    // Chromium's processes would count as others.
    const alone = rows.map((row) => ({ ...row, quiet: null }));
    bench.report(`Decoding in Chromium, ${name}, ${threads} thread(s)`, alone);
  } finally {
    await opened.page.close();
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
