// Learning rates by step. Plain functions on the host: the trainer computes the rate of a step and feeds it as a scalar
// input, so that a schedule is never compiled into a program.

import { FidelityError } from "@fidelity/units";

/** The rate at a step; the first step is 0. */
export type Schedule = (step: number) => number;

/** A schedule that cannot be: a negative rate or length. */
export class ScheduleError extends FidelityError {}

/** The same rate at every step. */
export function constantRate(rate: number): Schedule {
  requireNumber("rate", rate);
  return () => rate;
}

/** From `from` at step 0 in a straight line to `to` at step `steps`, and `to` from there on. */
export function linearRate(options: { readonly from: number; readonly to: number; readonly steps: number }): Schedule {
  const { from, to, steps } = options;
  requireNumber("from", from);
  requireNumber("to", to);
  requireNumber("steps", steps);
  return (step) => (step >= steps ? to : from + (to - from) * (step / steps));
}

export interface WarmupCosineOptions {
  /** The highest rate, reached at the end of the warm-up. */
  readonly peak: number;
  readonly warmupSteps: number;
  /** Length of the whole run; the rate stays at `floor` after it. */
  readonly totalSteps: number;
  /** The rate at the end, 0 by default. */
  readonly floor?: number;
}

/**
 * A straight line up to `peak` over `warmupSteps` (the first step already has a rate above zero), and half a cosine
 * down to `floor` (Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983, without restarts).
 */
export function warmupCosine({ peak, warmupSteps, totalSteps, floor = 0 }: WarmupCosineOptions): Schedule {
  requireNumber("peak", peak);
  requireNumber("warmupSteps", warmupSteps);
  requireNumber("totalSteps", totalSteps);
  requireNumber("floor", floor);
  return (step) => {
    if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
    if (step >= totalSteps) return floor;
    const progress = (step - warmupSteps) / (totalSteps - warmupSteps);
    return floor + (peak - floor) * 0.5 * (1 + Math.cos(Math.PI * progress));
  };
}

export interface WarmupStableDecayOptions extends WarmupCosineOptions {
  /** Steps of the fall at the end; a tenth of the run by default. */
  readonly decaySteps?: number;
  /** How it falls: in a straight line, or by one minus the root of progress, which Hagele et al. find better. */
  readonly shape?: "linear" | "sqrt";
}

/**
 * Up to `peak`, there for most of the run, and down to `floor` at its end (Hu et al. 2024, MiniCPM, arXiv 2404.06395;
 * Hagele et al. 2024, arXiv 2405.18392): the run can be lengthened from any point before the fall.
 */
export function warmupStableDecay(options: WarmupStableDecayOptions): Schedule {
  const { peak, warmupSteps, totalSteps, floor = 0, shape = "sqrt" } = options;
  const decaySteps = options.decaySteps ?? Math.ceil(totalSteps / 10);
  requireNumber("peak", peak);
  requireNumber("warmupSteps", warmupSteps);
  requireNumber("totalSteps", totalSteps);
  requireNumber("floor", floor);
  requireNumber("decaySteps", decaySteps);
  return (step) => {
    if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
    if (step >= totalSteps) return floor;
    const progress = Math.max(0, (step - (totalSteps - decaySteps)) / decaySteps);
    return peak - (peak - floor) * (shape === "linear" ? progress : Math.sqrt(progress));
  };
}

/**
 * `schedule` with its rate halved from step `from` on. MatMul-free models were trained by a cosine that is halved in
 * the middle of the run, after which their loss falls once more, in the S shape of its curve (Zhu et al. 2024, arXiv
 * 2406.02528, section 4).
 */
export function halvedFrom(schedule: Schedule, from: number): Schedule {
  requireNumber("from", from);
  return (step) => schedule(step) * (step >= from ? 0.5 : 1);
}

function requireNumber(name: string, value: number): void {
  if (Number.isFinite(value) && value >= 0) return;
  throw new ScheduleError(`schedule: ${name} is not a rate or a number of steps`, {
    expected: "a finite number of at least 0",
    got: String(value),
  });
}
