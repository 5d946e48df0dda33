// What a run measured, one JSON object a line (jsonlines.org), appended as it happens. The file is exact: when a run is
// resumed from a checkpoint, the lines of later steps, and a line that a kill cut short, are taken away first.

import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { toFileError } from "@fidelity/barewire/node";
import { readText } from "./data/index.ts";
import { TrainError } from "./errors.ts";

/** One line of `metrics.jsonl`. Losses are float32 and printed in full, so equal lines mean equal bits. */
export interface MetricsRow {
  /** Counted from 1. */
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  readonly tokensPerSecond: number;
  /** Since the run began, pauses between a stop and a resumption left out. */
  readonly seconds: number;
  /** Only at the steps after which the run was validated. */
  readonly validationLoss?: number;
  /** Share of the ternary weights of each layer whose code the step changed; absent where a model has none. */
  readonly flips?: readonly number[];
}

/** The file of a run, open for appending. */
export class MetricsFile {
  readonly path: string;
  readonly #descriptor: number;

  /**
   * Opens the file, made where there is none, without the lines after `lastStep`; `onRow` gets those that stay. Throws
   * `FileError`, or `TrainError` when lines that should stay are not metrics.
   */
  constructor(path: string, lastStep: number, onRow: (row: MetricsRow) => void) {
    this.path = path;
    const keptBytes = lastStep > 0 && existsSync(path) ? readRows(path, lastStep, onRow) : 0;
    try {
      this.#descriptor = openSync(path, "a");
      ftruncateSync(this.#descriptor, keptBytes);
    } catch (error) {
      throw toFileError(error, "write", path);
    }
  }

  append(row: MetricsRow): void {
    this.#write(() => writeSync(this.#descriptor, `${JSON.stringify(row)}\n`));
  }

  /** Returns when the lines are on the disk. */
  sync(): void {
    this.#write(() => fsyncSync(this.#descriptor));
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #write(action: () => void): void {
    try {
      action();
    } catch (error) {
      throw toFileError(error, "write", this.path);
    }
  }
}

/** Reads the rows up to `lastStep`, and gives the number of bytes that they take. */
function readRows(path: string, lastStep: number, onRow: (row: MetricsRow) => void): number {
  let keptBytes = 0;
  let line = 0;
  for (const text of readText(path)) {
    for (let start = 0; start < text.length; line++) {
      const end = text.indexOf("\n", start) + 1;
      const row = end === 0 ? undefined : parseRow(text.slice(start, end));
      if (row !== undefined && row.step > lastStep) return keptBytes;
      if (row === undefined) {
        if (end === 0) return keptBytes;
        throw new TrainError("the metrics of the run are damaged", {
          where: `${path}, line ${line + 1}`,
          expected: "an object with a step and a loss",
          got: text.slice(start, Math.min(end, start + 60)).trimEnd(),
          hint: "remove the damaged line, or move the file away; the checkpoint does not depend on it",
        });
      }
      onRow(row);
      keptBytes += Buffer.byteLength(text.slice(start, end));
      start = end;
    }
  }
  return keptBytes;
}

function parseRow(line: string): MetricsRow | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const row = value as Partial<MetricsRow>;
  const fields = [row.step, row.loss, row.learningRate, row.gradientNorm, row.tokensPerSecond, row.seconds];
  const flips: unknown = row.flips ?? [];
  const isWhole = [...fields, ...(Array.isArray(flips) ? flips : [flips])].every((field) => typeof field === "number");
  return isWhole && Array.isArray(flips) ? (row as MetricsRow) : undefined;
}
