// The settings of a run: everything besides model, data and vocabulary that its losses depend on. They are plain JSON,
// go into the run folder and the checkpoint, and must be the same when a run is resumed. What a run only shows or
// saves (validation, checkpoints, threads) is not here, because it changes no loss.

import { ESTIMATORS, OPTIMIZERS } from "@fidelity/furnace";
import type { OptimizerName } from "@fidelity/furnace";
import { TrainSettingError } from "./errors.ts";

/** How dense products are computed. Master weights, moments and losses are float32 either way. */
export type Precision = "f32" | "bf16";

/**
 * Whether gradients are kept in the form in which they arise. "exact" keeps an embedding's as the rows that a batch
 * has, and updates all rows as their dense gradient would; "lazy" leaves rows that a batch does not have alone, with
 * their moments and their decay, for less work; "dense" makes tensors of all gradients.
 */
export const GRADIENT_FORMS = ["exact", "lazy", "dense"] as const;
export type GradientForm = (typeof GRADIENT_FORMS)[number];

/**
 * How the learning rate goes after the warm-up: down by a cosine; "stable": at its peak until a fall in the last tenth
 * of the run; or "halved": a cosine whose second half is halved, as MatMul-free models were trained.
 */
export const SCHEDULES = ["cosine", "stable", "halved"] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

/** The optimisers that a run can have. */
export const OPTIMIZER_NAMES = Object.keys(OPTIMIZERS) as readonly OptimizerName[];

export type TrainSettings = {
  readonly steps: number;
  /** Sequences a step. */
  readonly batchSize: number;
  /** Tokens a sequence. */
  readonly contextLength: number;
  /** An integer from 0 to 2^53 - 1, for first values and batches. */
  readonly seed: number;
  /** The peak, reached at the end of the warm-up. */
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly schedule: ScheduleName;
  /** Learning rate of the last step as a share of the peak; 1 keeps it there. */
  readonly finalRatio: number;
  readonly optimizer: OptimizerName;
  /** Parts of a batch whose gradients are added up before a step, each computed by itself; divides the batch. */
  readonly accumulate: number;
  /** Of matrices; gains and bounds do not decay. */
  readonly weightDecay: number;
  readonly beta1: number;
  readonly beta2: number;
  /** The norm that gradients are clipped to. */
  readonly clipNorm: number;
  readonly precision: Precision;
  /** What stands for gradients in the step: see `GRADIENT_FORMS`. */
  readonly gradients: GradientForm;
  /** How gradients reach ternary weights: the name of one of furnace's `ESTIMATORS`. */
  readonly estimator: string;
};

/** Bounds of a number: at least `low`, at most `high`, and whole where `integer` says so. */
interface Bounds {
  readonly low: number;
  readonly high: number;
  readonly integer?: boolean;
}

/** Settings that are words. */
type TextSetting = "precision" | "estimator" | "gradients" | "optimizer" | "schedule";

const bounds: Readonly<Record<Exclude<keyof TrainSettings, TextSetting>, Bounds>> = {
  steps: { low: 1, high: 1e9, integer: true },
  batchSize: { low: 1, high: 1 << 20, integer: true },
  contextLength: { low: 1, high: 1 << 20, integer: true },
  seed: { low: 0, high: Number.MAX_SAFE_INTEGER, integer: true },
  learningRate: { low: 0, high: 100 },
  warmupSteps: { low: 0, high: 1e9, integer: true },
  finalRatio: { low: 0, high: 1 },
  accumulate: { low: 1, high: 1 << 20, integer: true },
  weightDecay: { low: 0, high: 10 },
  beta1: { low: 0, high: 0.9999999 },
  beta2: { low: 0, high: 0.9999999 },
  clipNorm: { low: 1e-6, high: 1e9 },
};

/** The estimator of runs that name none: the best of docs/studies/estimators.md. */
export const DEFAULT_ESTIMATOR = "reste";

/**
 * What settings were before there was a choice: what the settings of older runs lack has these values, whatever the
 * defaults are now. A new setting gets a line here, so that runs of versions without it go on.
 */
export const FORMER_SETTINGS = {
  estimator: "straight-through",
  gradients: "dense",
  optimizer: "adamw",
  schedule: "cosine",
  accumulate: 1,
} as const satisfies Partial<TrainSettings>;

/**
 * Settings with defaults filled in: batches of 16 x 128 tokens, peak 3e-3 after a warm-up over a twentieth of the steps
 * and a cosine down to 0 (for the optimiser `schedule-free`: no fall at all), AdamW with betas 0.9 and 0.99 and decay
 * 0.1, gradients clipped to norm 1, gradients in the form in which they arise ("exact"), by ReSTE to ternary weights.
 * Throws `TrainSettingError` naming the first setting that cannot be.
 */
export function trainSettings(given: Partial<TrainSettings> & Pick<TrainSettings, "steps">): TrainSettings {
  const settings: TrainSettings = {
    steps: given.steps,
    batchSize: given.batchSize ?? 16,
    contextLength: given.contextLength ?? 128,
    seed: given.seed ?? 0,
    learningRate: given.learningRate ?? 3e-3,
    warmupSteps: given.warmupSteps ?? Math.ceil(given.steps / 20),
    schedule: given.schedule ?? "cosine",
    finalRatio: given.finalRatio ?? (given.optimizer === "schedule-free" ? 1 : 0),
    optimizer: given.optimizer ?? "adamw",
    accumulate: given.accumulate ?? 1,
    weightDecay: given.weightDecay ?? 0.1,
    beta1: given.beta1 ?? 0.9,
    beta2: given.beta2 ?? 0.99,
    clipNorm: given.clipNorm ?? 1,
    precision: given.precision ?? "f32",
    gradients: given.gradients ?? "exact",
    estimator: given.estimator ?? DEFAULT_ESTIMATOR,
  };
  for (const [name, { low, high, integer }] of Object.entries(bounds)) {
    const value = settings[name as keyof typeof bounds];
    const fits = value >= low && value <= high && (integer !== true || Number.isInteger(value));
    if (!fits) refuse(name, `${integer ? "an integer" : "a number"} from ${low} to ${high}`, value);
  }
  requireWord("precision", ["f32", "bf16"], settings.precision);
  requireWord("optimizer", OPTIMIZER_NAMES, settings.optimizer);
  requireWord("schedule", SCHEDULES, settings.schedule);
  if (settings.batchSize % settings.accumulate !== 0)
    refuse("accumulate", `a divisor of the batch of ${settings.batchSize}`, settings.accumulate);
  requireWord("gradients", GRADIENT_FORMS, settings.gradients);
  requireWord(
    "estimator",
    ESTIMATORS.map(({ name }) => name),
    settings.estimator,
  );
  return settings;
}

function requireWord(name: string, known: readonly string[], value: string): void {
  if (!known.includes(value)) refuse(name, known.join(", "), value);
}

function refuse(name: string, expected: string, got: unknown): never {
  throw new TrainSettingError(`the setting ${name} cannot be ${String(got)}`, { expected, got: String(got) });
}
