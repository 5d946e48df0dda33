// The tuner: for each task the schedules race in rounds, every schedule once a round and each round begun by another
// one, so that what drifts on a shared machine hits all of them alike. What counts is the median over the rounds of a
// schedule's time over that of the op's first schedule in the same round; those that are far behind leave early
// (successive halving, after Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", 2013). The
// first schedule stays unless another one is clearly faster and nearly always, so that noise changes nothing.
// How a time is measured is injected (contest.ts), and so is the clock.

import type { TunedSchedule } from "./schedule-book.ts";
import { scheduleText } from "./schedule-book.ts";
import type { TuneTask } from "./tasks.ts";

/** The schedules of a task, made ready to run. */
export interface Contest {
  /** Seconds that a run by the schedule of this number takes. */
  sample(candidate: number): number;
  close(): void;
}

export interface TuneOptions {
  /** Makes the schedules of a task ready: compiles them. */
  readonly open: (task: TuneTask) => Promise<Contest>;
  /** Milliseconds that all may take together; the task that is at work when they are over is the last one. */
  readonly budgetMs: number;
  /** Ends the tuning before the next round; what was found until then is kept. */
  readonly signal?: AbortSignal;
  /** The clock, in milliseconds. */
  readonly now?: () => number;
  /** Told of every task when it is done. */
  readonly onResult?: (result: TuneResult, place: number) => void;
}

export interface TuneResult extends TunedSchedule {
  readonly task: TuneTask;
}

const ROUNDS = 15;
/** After so many rounds those leave whose ratio to the best one is larger. */
const CUTS: ReadonlyMap<number, number> = new Map([
  [2, 1.25],
  [4, 1.1],
  [8, 1.03],
]);
/** With fewer rounds than that, the first schedule stays. */
const ROUNDS_MIN = 4;
/** Another schedule takes over when it is faster than the first by that share, and in that share of the rounds. */
const GAIN_MIN = 0.02;
const WINS_MIN = 0.75;

/** Tunes tasks in their order, and gives the results of those there was time for. */
export async function tune(tasks: readonly TuneTask[], options: TuneOptions): Promise<TuneResult[]> {
  const { open, budgetMs, signal, now = () => performance.now(), onResult } = options;
  const end = now() + budgetMs;
  const isOver = (): boolean => signal?.aborted === true || now() >= end;
  const results: TuneResult[] = [];
  for (const [place, task] of tasks.entries()) {
    if (isOver()) break;
    const contest = await open(task);
    try {
      const winner = await race(contest, task.candidates.length, isOver);
      if (winner === undefined) break;
      const schedule = scheduleText(task.candidates[winner.candidate]!);
      const result = { task, schedule, speedup: winner.speedup };
      results.push(result);
      onResult?.(result, place);
    } finally {
      contest.close();
    }
  }
  return results;
}

/** The fastest of `count` candidates, or undefined when there was no time to tell. */
async function race(
  contest: Contest,
  count: number,
  isOver: () => boolean,
): Promise<{ readonly candidate: number; readonly speedup: number } | undefined> {
  const ratios = Array.from({ length: count }, (): number[] => []);
  let racers = ratios.map((_, candidate) => candidate);
  let round = 0;
  for (; round < ROUNDS && racers.length > 1 && !isOver(); round++) {
    const seconds = new Map<number, number>();
    for (let i = 0; i < racers.length; i++) {
      const candidate = racers[(i + round) % racers.length]!;
      seconds.set(candidate, contest.sample(candidate));
    }
    for (const candidate of racers) ratios[candidate]!.push(seconds.get(candidate)! / seconds.get(0)!);
    const limit = CUTS.get(round + 1);
    if (limit !== undefined) {
      const best = Math.min(...racers.map((candidate) => median(ratios[candidate]!)));
      racers = racers.filter((candidate) => candidate === 0 || median(ratios[candidate]!) <= best * limit);
    }
    // Signals are heard between rounds.
    await new Promise((resolve) => setTimeout(resolve));
  }
  if (round < ROUNDS_MIN && racers.length > 1) return undefined;
  const ratioOf = (candidate: number): number => median(ratios[candidate]!);
  const isClear = (candidate: number): boolean => {
    const wins = ratios[candidate]!.filter((ratio) => ratio < 1).length;
    return ratioOf(candidate) < 1 - GAIN_MIN && wins >= WINS_MIN * round;
  };
  const clear = racers.filter(isClear).sort((x, y) => ratioOf(x) - ratioOf(y));
  return clear.length > 0 ? { candidate: clear[0]!, speedup: 1 / ratioOf(clear[0]!) } : { candidate: 0, speedup: 1 };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
