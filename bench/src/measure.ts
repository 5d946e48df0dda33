// Measuring in rounds: each round takes one sample of every source, one after the other, so that what drifts on a
// shared machine (clock, temperature, neighbours) hits peers, ceilings and ourselves alike, and ratios hold.

import type { BenchTarget } from "./options.ts";
import { QuietMeter } from "./quiet.ts";
import { makeRow } from "./row.ts";
import type { Row, RowPlan } from "./row.ts";

/** Something that gives a rate each time it is asked. */
export interface Source {
  readonly name: string;
  readonly sample: () => number | Promise<number>;
}

export interface MeasureOptions {
  readonly rounds: number;
  /** Rounds before those that count. */
  readonly warmups: number;
  /** Begins each round with another source, so that none is always measured after the same one. */
  readonly rotate?: boolean;
  /** Child processes whose processor time is ours. */
  readonly processes?: readonly number[];
}

/** Samples all sources in rounds and makes the planned rows. */
export async function measure(
  sources: readonly Source[],
  plans: readonly RowPlan[],
  { rounds, warmups, rotate = false, processes }: MeasureOptions,
): Promise<Row[]> {
  for (let round = 0; round < warmups; round++) for (const source of sources) await source.sample();
  const samples = new Map<string, number[]>(sources.map(({ name }) => [name, []]));
  const meter = new QuietMeter(processes);
  for (let round = 0; round < rounds; round++) {
    const first = rotate ? round % sources.length : 0;
    const inOrder = [...sources.slice(first), ...sources.slice(0, first)];
    for (const { name, sample } of inOrder) samples.get(name)!.push(await sample());
  }
  const quiet = meter.share();
  return plans.map((plan) => makeRow(plan, samples, quiet));
}

/** What a suite knows of the run that it is part of. */
export interface Bench {
  readonly threads: readonly number[];
  readonly quick: boolean;
  readonly target: BenchTarget;
  /** Whether kernels are also measured beside a busy process on every processor. */
  readonly loaded: boolean;
  readonly settings: Omit<MeasureOptions, "processes">;
  /** A sample of a kernel lasts at least this long. */
  readonly sampleMs: number;
  /** Tells people something between tables. */
  readonly note: (text: string) => void;
  /** Shows rows, and keeps them for the file. */
  readonly report: (title: string, rows: readonly Row[]) => void;
}

/**
 * A source of `work` done a second by `run`, which is repeated until a sample has lasted for `sampleMs`. How often is
 * found once, after runs enough for the engine to have optimised the code.
 */
export function repeated(name: string, work: number, sampleMs: number, run: () => void): Source {
  let repeats = 0;
  const time = (count: number): number => {
    const started = performance.now();
    for (let i = 0; i < count; i++) run();
    return performance.now() - started;
  };
  const sample = (): number => {
    if (repeats === 0) {
      const warmUntil = performance.now() + 2 * sampleMs;
      do run();
      while (performance.now() < warmUntil);
      const onceMs = Math.min(time(1), time(1));
      repeats = Math.max(1, Math.ceil(sampleMs / Math.max(onceMs, 1e-3)));
    }
    return (work * repeats) / (time(repeats) / 1000);
  };
  return { name, sample };
}
