// A training run as it happens, on a terminal: two lines that are rewritten in place, never wider than 80 columns.
// Where the output is a file or a pipe there is nothing to rewrite, so a plain line comes every few seconds instead.

import { formatCount, formatDuration, formatLoss, formatSmall } from "./format.ts";
import { Series } from "./series.ts";
import { sparkline } from "./sparkline.ts";

/** What a run tells after a step. */
export interface TrainProgress {
  /** Steps done, counted from 1. */
  readonly step: number;
  readonly steps: number;
  /** Of this step's batch, in nats a token. */
  readonly loss: number;
  /** The latest one, which may be older than this step; undefined before the first. */
  readonly validationLoss: number | undefined;
  /** Of recent steps, without validation and checkpoints. */
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
  readonly learningRate: number;
  /** Before clipping. */
  readonly gradientNorm: number;
}

/** The part of a stream that the display needs: `process.stderr` has it. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  readonly stream: ProgressStream;
  /** Colours on a terminal; false where the variable NO_COLOR is set (no-color.org), true otherwise. */
  readonly color?: boolean;
  /** Milliseconds, from any start; `performance.now` by default. */
  readonly now?: () => number;
}

const columnsMax = 80;
const redrawMs = 100;
const plainLineMs = 5000;
const clearLine = "\r\u001b[2K";
const lineUp = "\u001b[1A";

/** Shows a run. Give `update` to `train` as `onProgress`, and call `finish` when it is over, however it ended. */
export class ProgressDisplay {
  readonly #stream: ProgressStream;
  readonly #isLive: boolean;
  readonly #color: boolean;
  readonly #now: () => number;
  readonly #losses = new Series(1);
  #latest: TrainProgress | undefined;
  #shownStep = 0;
  #shownAt = -Infinity;
  #isDrawn = false;

  constructor({ stream, color = noColorIsUnset(), now = () => performance.now() }: ProgressOptions) {
    this.#stream = stream;
    this.#isLive = stream.isTTY === true;
    this.#color = this.#isLive && color;
    this.#now = now;
  }

  readonly update = (progress: TrainProgress): void => {
    this.#latest = progress;
    this.#losses.add(progress.loss);
    const elapsedMs = this.#now() - this.#shownAt;
    if (elapsedMs >= (this.#isLive ? redrawMs : plainLineMs)) this.#show();
  };

  /** Writes a line of its own above the display, such as a notice. */
  readonly note = (text: string): void => {
    this.#erase();
    this.#stream.write(`${text}\n`);
    if (this.#isLive && this.#latest !== undefined) this.#show();
  };

  /** Shows the last step and leaves the display as it stands. */
  readonly finish = (): void => {
    if (this.#latest !== undefined && (this.#isLive || this.#shownStep !== this.#latest.step)) this.#show();
    if (this.#isDrawn) this.#stream.write("\n");
    this.#isDrawn = false;
  };

  #show(): void {
    const progress = this.#latest;
    if (progress === undefined) return;
    this.#shownAt = this.#now();
    this.#shownStep = progress.step;
    // The last column stays free: a terminal may wrap after it. One that does not know its width says 0.
    const { columns: width = 0 } = this.#stream;
    const columns = (width > 0 ? Math.min(width, columnsMax) : columnsMax) - 1;
    const fields = progressFields(progress);
    if (!this.#isLive) {
      this.#stream.write(`${fitFields(fields, columnsMax)}\n`);
      return;
    }
    this.#erase();
    const done = `${Math.floor((100 * progress.step) / progress.steps)}%`.padStart(4);
    const curve = sparkline(
      this.#losses.points().map(([loss]) => loss),
      Math.max(0, columns - done.length - 1),
    );
    this.#stream.write(`${this.#paint(1, fitFields(fields, columns))}\n${done} ${this.#paint(36, curve)}`);
    this.#isDrawn = true;
  }

  #erase(): void {
    if (this.#isDrawn) this.#stream.write(`${clearLine}${lineUp}${clearLine}`);
    this.#isDrawn = false;
  }

  #paint(code: number, text: string): string {
    return this.#color ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}

/** The fields of a line, the most important first. */
function progressFields(progress: TrainProgress): string[] {
  const { step, steps, loss, validationLoss, tokensPerSecond, secondsLeft, learningRate } = progress;
  return [
    `step ${String(step).padStart(String(steps).length)}/${steps}`,
    `loss ${formatLoss(loss)}`,
    `val ${validationLoss === undefined ? "-" : formatLoss(validationLoss)}`,
    `${formatCount(tokensPerSecond)} tok/s`,
    `${formatDuration(secondsLeft)} left`,
    `lr ${formatSmall(learningRate)}`,
  ];
}

/** As many of the fields as fit. */
function fitFields(fields: readonly string[], columns: number): string {
  let line = "";
  for (const field of fields) {
    const longer = line === "" ? field : `${line}  ${field}`;
    if (longer.length > columns) break;
    line = longer;
  }
  return line;
}

function noColorIsUnset(): boolean {
  return (process.env["NO_COLOR"] ?? "") === "";
}
