// What the runtime tells about itself, by level (the idea is tinygrad's DEBUG): 1 a line per compile, 2 also the time
// of runs, 3 also that of every schedule item, 4 also the printed programs. Where the lines go is injected: a stream, a
// console, a page. Level 0 costs nothing.

import { printProgram } from "@fidelity/core";
import type { KernelCall, Program, ScheduleItem } from "@fidelity/core";

export type DebugLevel = 0 | 1 | 2 | 3 | 4;

/** Takes lines of text at or below its level. */
export interface DebugSink {
  readonly level: DebugLevel;
  readonly line: (text: string) => void;
}

export const SILENT: DebugSink = { level: 0, line: () => {} };

/** The level that a setting such as the environment's means: a number from 0 to 4, anything else is 0. */
export function debugLevel(setting: string | undefined): DebugLevel {
  const level = Number(setting ?? 0);
  return level === 1 || level === 2 || level === 3 || level === 4 ? level : 0;
}

const RUNS_PER_REPORT = 100;

/** Collects the times of runs, and tells minimum and median of every hundred. Does not allocate while it collects. */
export class RunMeter {
  readonly #sink: DebugSink;
  readonly #label: string;
  readonly #timesMs = new Float64Array(RUNS_PER_REPORT);
  #count = 0;

  constructor(sink: DebugSink, label: string) {
    this.#sink = sink;
    this.#label = label;
  }

  add(timeMs: number): void {
    this.#timesMs[this.#count++] = timeMs;
    if (this.#count === RUNS_PER_REPORT) this.flush();
  }

  /** Tells what was collected since the last report. */
  flush(): void {
    if (this.#count === 0) return;
    const times = this.#timesMs.subarray(0, this.#count).sort();
    const median = times[this.#count >> 1];
    this.#sink.line(`${this.#label}: ${this.#count} runs, min ${ms(times[0])}, median ${ms(median)}`);
    this.#count = 0;
  }
}

/** A time for people: `12.3 us`, `4.56 ms`. */
export function ms(timeMs: number): string {
  return timeMs < 1 ? `${(timeMs * 1000).toPrecision(3)} us` : `${timeMs.toPrecision(3)} ms`;
}

/** A compiled program in a line, and from level 4 on its schedule. */
export function describeProgram(
  program: Program,
  target: string,
  codeBytes: number,
  timeMs: number,
  level: DebugLevel,
): string {
  const { name, kernels, schedule, buffers, arenaBytes, scratchBytes } = program;
  const summary =
    `${name}: ${kernels.length} kernels, ${scheduleItemCount(schedule)} schedule items, ${buffers.length} buffers, ` +
    `arena ${arenaBytes} B, scratch ${scratchBytes} B, ${target} ${codeBytes} B in ${ms(timeMs)}`;
  return level >= 4 ? `${summary}\n${printProgram(program)}` : summary;
}

/** Number of schedule items, those inside loops counted once. */
export function scheduleItemCount(items: readonly ScheduleItem[]): number {
  return items.reduce((count, item) => count + 1 + (item.kind === "loop" ? scheduleItemCount(item.items) : 0), 0);
}

/** All calls of a schedule, those inside loops once. */
export function scheduleCalls(items: readonly ScheduleItem[]): KernelCall[] {
  return items.flatMap((item) => (item.kind === "loop" ? scheduleCalls(item.items) : [...item.calls]));
}

/** A schedule item in a few words: the labels of its calls. */
export function itemLabel(item: ScheduleItem): string {
  const labels = [...new Set(scheduleCalls([item]).map((call) => call.label))];
  const shown = labels.slice(0, 4).join(" | ") + (labels.length > 4 ? ` | and ${labels.length - 4} more` : "");
  return item.kind === "loop" ? `loop ${item.count} x (${shown})` : `${item.kind} ${shown}`;
}

/**
 * A program cut into programs of one top-level schedule item each, over the same buffers, arena and bindings. Run one
 * after the other they do what the program does, and can be timed one by one; a loop stays whole.
 */
export function splitSchedule(program: Program): Program[] {
  return program.schedule.map((item) => {
    const used = [...new Set(scheduleCalls([item]).map((call) => call.kernel))];
    const renumbered = new Map(used.map((kernel, index) => [kernel, index]));
    const kernels = used.map((kernel) => program.kernels[kernel]);
    return { ...program, name: `${program.name}: ${itemLabel(item)}`, kernels, schedule: [renumber(item, renumbered)] };
  });
}

function renumber(item: ScheduleItem, kernels: ReadonlyMap<number, number>): ScheduleItem {
  if (item.kind === "loop") return { ...item, items: item.items.map((inner) => renumber(inner, kernels)) };
  return { ...item, calls: item.calls.map((call) => ({ ...call, kernel: kernels.get(call.kernel)! })) };
}
