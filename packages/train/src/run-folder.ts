// The folder of a run: what was asked for (run.json), what was measured (metrics.jsonl, index.html), how far it has
// come (checkpoint.fid, and the one before), and what came out (model.fid, best.fid).

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { makeFolder, writeFileAtomic } from "@fidelity/barewire/node";
import type { Device } from "@fidelity/core";
import { versions } from "@fidelity/run/node";
import type { RunIdentity, RunState } from "./checkpoint.ts";
import { MetricsFile } from "./metrics.ts";
import type { MetricsRow } from "./metrics.ts";
import { renderPage, RunCurves } from "./page.ts";
import type { PageInput } from "./page.ts";
import { machine } from "./provenance.ts";

/** The paths of a run folder. */
export class RunFolder {
  readonly path: string;
  readonly run: string;
  readonly metrics: string;
  readonly page: string;
  readonly checkpoint: string;
  readonly previousCheckpoint: string;
  readonly model: string;
  readonly best: string;

  constructor(path: string) {
    this.path = path;
    this.run = join(path, "run.json");
    this.metrics = join(path, "metrics.jsonl");
    this.page = join(path, "index.html");
    this.checkpoint = join(path, "checkpoint.fid");
    this.previousCheckpoint = join(path, "checkpoint-previous.fid");
    this.model = join(path, "model.fid");
    this.best = join(path, "best.fid");
  }

  /** Makes the folder where there is none. Throws `FileError`. */
  create(): void {
    makeFolder(this.path);
  }
}

export interface RecorderOptions {
  readonly folder: RunFolder;
  readonly identity: RunIdentity;
  readonly device: Device;
  /** Where the run goes on. */
  readonly from: RunState;
  /** Names of the settings that change no loss, for the reader of the folder. */
  readonly extra: Readonly<Record<string, string | number | boolean>>;
  readonly pageEverySeconds: number;
}

/** Keeps the folder of a run up to date. */
export class RunRecorder {
  readonly #folder: RunFolder;
  readonly #metrics: MetricsFile;
  readonly #curves = new RunCurves();
  readonly #steps: number;
  readonly #details: PageInput["details"];
  readonly #pageEverySeconds: number;
  #pageAt = -Infinity;

  /** Writes `run.json`, and takes the lines after the step that the run goes on from out of the metrics. */
  constructor({ folder, identity, device, from, extra, pageEverySeconds }: RecorderOptions) {
    folder.create();
    const start = {
      time: new Date().toISOString(),
      fromStep: from.step,
      device: device.target,
      threads: device.threads,
      commandLine: process.argv.join(" "),
    };
    this.#folder = folder;
    this.#steps = identity.settings.steps;
    this.#pageEverySeconds = pageEverySeconds;
    const { model, settings, tokenizer, data } = identity;
    const vocabulary = { vocabulary: tokenizer.kind };
    this.#details = {
      Model: model,
      Settings: { ...settings, ...extra },
      Data: { ...data, ...vocabulary },
      Machine: { ...machine(), ...versions(), device: device.target, threads: device.threads, started: start.time },
    };
    const started = readStarted(folder.run) ?? start.time;
    const run = {
      started,
      ...versions(),
      machine: machine(),
      commandLine: start.commandLine,
      seed: settings.seed,
      model,
      settings,
      data: { ...data, ...vocabulary },
      ...extra,
      lastStart: start,
    };
    writeFileAtomic(folder.run, [encode(`${JSON.stringify(run, null, 2)}\n`)]);
    this.#metrics = new MetricsFile(folder.metrics, from.step, (row) => this.#curves.add(row));
    this.#writePage("running");
  }

  /** Appends a line, and redraws the page when it is old. */
  add(row: MetricsRow): void {
    this.#metrics.append(row);
    this.#curves.add(row);
    if (performance.now() - this.#pageAt >= 1000 * this.#pageEverySeconds) this.#writePage("running");
  }

  /** Returns when the metrics are on the disk, as they must be before a checkpoint that counts on them. */
  sync(): void {
    this.#metrics.sync();
  }

  /** Draws the page for the last time and closes the files. */
  close(state: "stopped" | "finished"): void {
    try {
      this.#writePage(state);
    } finally {
      this.#metrics.close();
    }
  }

  #writePage(state: PageInput["state"]): void {
    const title = `Run ${this.#folder.path.split(/[\\/]/).findLast((part) => part !== "") ?? ""}`;
    const page = renderPage({ title, state, steps: this.#steps, curves: this.#curves, details: this.#details });
    writeFileAtomic(this.#folder.page, [encode(page)]);
    this.#pageAt = performance.now();
  }
}

/** When the run began for the first time. What is not readable is no reason to stop: it is written anew. */
function readStarted(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const run: unknown = JSON.parse(readFileSync(path, "utf8"));
    return typeof run === "object" && run !== null && "started" in run ? String(run.started) : undefined;
  } catch {
    return undefined;
  }
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
