// Fetching a model with one line of progress: bytes, rate, time left. `pull` and `run` share it.

import { Hub, ModelStore, pullModel } from "@fidelity/run/node";
import type { PullProgress, StoredModel } from "@fidelity/run/node";
import { remark } from "./output.ts";
import { formatDuration, formatSize } from "./table.ts";

/** The rate is that of the last seconds, so that it tells what is going on now. */
const RATE_MS = 5000;
const LINE_MS_MIN = 100;

/** How far a download is, and how fast. */
export class PullMeter {
  readonly #now: () => number;
  readonly #seen: { readonly atMs: number; readonly doneBytes: number }[] = [];

  /** @param now a clock in milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Takes a measurement and gives the line for it. */
  line({ doneBytes, totalBytes }: PullProgress): string {
    const now = this.#now();
    const last = this.#seen.at(-1);
    // A download that began again has no rate yet.
    if (last !== undefined && doneBytes < last.doneBytes) this.#seen.length = 0;
    this.#seen.push({ atMs: now, doneBytes });
    while (this.#seen.length > 2 && now - this.#seen[0].atMs > RATE_MS) this.#seen.shift();
    const percent = totalBytes === 0 ? 100 : Math.floor((100 * doneBytes) / totalBytes);
    const amount = `${String(percent).padStart(3)} %  ${formatSize(doneBytes)} of ${formatSize(totalBytes)}`;
    const seconds = (now - this.#seen[0].atMs) / 1000;
    const perSecond = seconds === 0 ? 0 : (doneBytes - this.#seen[0].doneBytes) / seconds;
    if (perSecond === 0) return amount;
    const left = formatDuration((totalBytes - doneBytes) / perSecond);
    return `${amount}  ${formatSize(perSecond)}/s  ${left} left`;
  }
}

export interface PullRequest {
  readonly revision?: string;
  readonly signal: AbortSignal;
  readonly store?: ModelStore;
}

/** Fetches `OWNER/NAME[:CHOICE]` into the store. Throws what `pullModel` throws. */
export async function pullWithProgress(name: string, request: PullRequest): Promise<StoredModel> {
  const isTerminal = process.stderr.isTTY;
  const meter = new PullMeter();
  let shownMs = -Infinity;
  const clear = (): void => {
    if (isTerminal) process.stderr.write("\r\x1b[K");
  };
  try {
    return await pullModel(name, {
      store: request.store ?? new ModelStore(),
      hub: new Hub(),
      revision: request.revision,
      signal: request.signal,
      onProgress: (progress) => {
        if (!isTerminal || (performance.now() - shownMs < LINE_MS_MIN && progress.doneBytes < progress.totalBytes))
          return;
        shownMs = performance.now();
        process.stderr.write(`\r\x1b[K${meter.line(progress)}`);
      },
      onRetry: (error, delayMs) => {
        clear();
        remark(`${error.summary}; again in ${formatDuration(delayMs / 1000)}`);
      },
    });
  } finally {
    clear();
  }
}
