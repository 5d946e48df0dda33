// The training loop. It decides nothing that a loss depends on: the step is a compiled program, batches follow from
// seed and step, the learning rate from the step. What is left is when to validate, save, show and stop.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { ContainerError } from "@fidelity/barewire";
import type { Device } from "@fidelity/core";
import { halvedFrom, warmupCosine, warmupStableDecay } from "@fidelity/furnace";
import type { Schedule, WarmupCosineOptions } from "@fidelity/furnace";
import { fillParameter, freeParameters, namedParameters } from "@fidelity/models";
import type { DeviceParameters, Model, Tokenizer } from "@fidelity/models";
import { saveModel } from "@fidelity/run/node";
import { findCheckpoint, loadCheckpoint, readCheckpointState, runIdentity, saveCheckpoint } from "./checkpoint.ts";
import type { RunIdentity, RunState } from "./checkpoint.ts";
import { batchesOf, isTask } from "./data/index.ts";
import type { BatchSource, TrainingData } from "./data/index.ts";
import { NonFiniteLossError, TrainSettingError } from "./errors.ts";
import { FinishedWeights, readFinished } from "./finished-weights.ts";
import { flipShares } from "./flips.ts";
import type { TrainProgress } from "./progress.ts";
import { RunFolder, RunRecorder } from "./run-folder.ts";
import { trainSettings } from "./settings.ts";
import type { ScheduleName, TrainSettings } from "./settings.ts";
import { Evaluation, TrainStep } from "./step.ts";

export interface TrainOptions {
  readonly device: Device;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly data: TrainingData;
  /** What losses depend on; see `trainSettings` for the defaults. */
  readonly settings: Parameters<typeof trainSettings>[0];
  /** The run folder. Where it holds a checkpoint of this run, the run goes on from it. Without one nothing is kept. */
  readonly folder?: string;
  /** How often to validate, and on how many batches. By default 20 times a run, on up to 8 batches. */
  readonly validation?: { readonly everySteps?: number; readonly batches?: number };
  /** How often to save. By default every 20 seconds, and always at the end. */
  readonly checkpoint?: { readonly everySeconds?: number; readonly everySteps?: number };
  /** How often the page of curves is redrawn. 5 by default. */
  readonly pageEverySeconds?: number;
  /** Whether to keep the float32 model of the lowest validation loss as `best.fid`. False by default. */
  readonly keepBest?: boolean;
  /** Keep one activation a layer and compute the others again: less memory, more work, the same losses. */
  readonly recompute?: boolean;
  /** When the loss or the gradient stops being a number, say which op made the first one; a second copy of all. */
  readonly watch?: boolean;
  /** Stops the run after the step in progress, with a checkpoint. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: TrainProgress) => void;
  /** Hears of what is unusual and no error, such as a damaged checkpoint whose predecessor was taken. */
  readonly onNotice?: (text: string) => void;
}

export interface TrainResult {
  /** Steps done, by this call and by those that it went on from. */
  readonly step: number;
  readonly steps: number;
  /** False when the signal stopped the run. */
  readonly isFinished: boolean;
  /** Where the run went on from; undefined when it started afresh. */
  readonly resumedFrom: number | undefined;
  /** Of the last step. */
  readonly loss: number | undefined;
  readonly validationLoss: number | undefined;
  readonly bestValidationLoss: number | undefined;
  /** Mean of the steps of this call, without validation and checkpoints; 0 when there was none. */
  readonly tokensPerSecond: number;
  /** Seconds of training, those before a resumption included. */
  readonly seconds: number;
  /**
   * The float32 parameters of the model on the device, those that ternary weights are packed from. They are the
   * caller's to free.
   */
  readonly parameters: DeviceParameters;
}

/**
 * Trains a model, or goes on with a run. Throws `TrainSettingError`, `CorpusTooShortError`, `ResumeMismatchError` when
 * the folder holds another run, `NonFiniteLossError` when the run diverges, `FileError` when the folder cannot be
 * written; the last checkpoint is whole whatever happens.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const settings = trainSettings(options.settings);
  checkVocabularies(options, settings);
  const batches = batchesOf(options.data, settings);
  const identity = runIdentity(options.model, options.tokenizer, options.data, settings);
  const folder = options.folder === undefined ? undefined : new RunFolder(options.folder);
  const checkpoint =
    folder && findCheckpoint(folder.checkpoint, folder.previousCheckpoint, (e) => noteDamage(options, e));
  const state = checkpoint === undefined ? startState : readCheckpointState(checkpoint, identity);
  if (checkpoint !== undefined && state.step >= settings.steps)
    return await finishedRun(options, settings, state, checkpoint);
  const step = await TrainStep.compile(options.device, options.model, settings, {
    ...options,
    hasGaps: isTask(options.data),
  });
  let finished: FinishedWeights | undefined;
  try {
    finished = await FinishedWeights.compile(
      options.device,
      options.model,
      { estimation: step.estimation, settings },
      step,
    );
    if (checkpoint === undefined) initialise(step.estimation.model, step.parameters, settings.seed);
    else loadCheckpoint(checkpoint, identity, step);
    const run = new Run(options, { settings, batches, identity, folder, step, finished, state });
    await run.go();
    await finished.update();
    finished.release();
    return run.result(checkpoint === undefined ? undefined : state.step);
  } catch (error) {
    finished?.discard();
    freeParameters(step.parameters);
    throw error;
  } finally {
    step.free();
  }
}

const startState: RunState = {
  step: 0,
  seconds: 0,
  loss: undefined,
  validationLoss: undefined,
  bestValidationLoss: undefined,
};

function initialise(model: Model, parameters: DeviceParameters, seed: number): void {
  for (const { path, leaf } of namedParameters(model.parameters))
    fillParameter(leaf, path, seed, parameters.get(path)!.f32());
}

/** A run that was finished before: the step is not compiled, and the parameters come from its checkpoint. */
async function finishedRun(
  { device, model }: TrainOptions,
  settings: TrainSettings,
  state: RunState,
  checkpoint: string,
): Promise<TrainResult> {
  const parameters = await readFinished(checkpoint, device, model, settings);
  return { ...state, steps: settings.steps, isFinished: true, resumedFrom: state.step, tokensPerSecond: 0, parameters };
}

function noteDamage({ onNotice }: TrainOptions, error: ContainerError): void {
  onNotice?.(`${error.summary}; going on from the checkpoint before it`);
}

function checkVocabularies({ model, tokenizer, data }: TrainOptions, { contextLength }: TrainSettings): void {
  if (tokenizer.vocabSize !== model.vocabSize || data.vocabSize !== model.vocabSize) {
    throw new TrainSettingError("model, vocabulary and data do not belong together", {
      expected: `${model.vocabSize} tokens, as the model has`,
      got: `a vocabulary of ${tokenizer.vocabSize}, data over ${data.vocabSize}`,
      hint: "build the model with the vocabSize of the tokenizer that encoded the data",
    });
  }
  if (model.contextLimit === null || contextLength <= model.contextLimit) return;
  throw new TrainSettingError("the context is longer than the model allows", {
    expected: `a contextLength of at most ${model.contextLimit}`,
    got: String(contextLength),
    hint: "build the model with a longer context, or train with a shorter one",
  });
}

const SCHEDULE_OF: Readonly<Record<ScheduleName, (options: WarmupCosineOptions) => Schedule>> = {
  cosine: warmupCosine,
  stable: warmupStableDecay,
  halved: (options) => halvedFrom(warmupCosine(options), Math.ceil(options.totalSteps / 2)),
};

interface RunParts {
  readonly settings: TrainSettings;
  readonly batches: BatchSource;
  readonly identity: RunIdentity;
  readonly folder: RunFolder | undefined;
  readonly step: TrainStep;
  readonly finished: FinishedWeights;
  readonly state: RunState;
}

/** One call of `train`, from where it starts to where it stops. */
class Run {
  readonly #options: TrainOptions;
  readonly #parts: RunParts;
  readonly #schedule: Schedule;
  readonly #validateEvery: number;
  readonly #validationBatches: number;
  readonly #speed = new SpeedMeter();
  readonly #startedAt = performance.now();
  #state: RunState;
  #evaluation: Evaluation | undefined;
  #recorder: RunRecorder | undefined;
  #savedStep = -1;
  #savedAt = performance.now();

  constructor(options: TrainOptions, parts: RunParts) {
    const { settings, batches } = parts;
    this.#options = options;
    this.#parts = parts;
    this.#state = parts.state;
    this.#schedule = SCHEDULE_OF[settings.schedule]({
      peak: settings.learningRate,
      warmupSteps: settings.warmupSteps,
      totalSteps: settings.steps,
      floor: settings.learningRate * settings.finalRatio,
    });
    this.#validateEvery = options.validation?.everySteps ?? Math.max(1, Math.ceil(settings.steps / 20));
    this.#validationBatches = options.validation?.batches ?? Math.min(8, batches.validationBatchCount);
  }

  async go(): Promise<void> {
    const { settings, folder } = this.#parts;
    const { signal } = this.#options;
    let isWhole = false;
    try {
      this.#recorder = folder && this.#openRecorder(folder);
      const isOver = (): boolean => this.#state.step >= settings.steps || signal?.aborted === true;
      while (!isOver()) {
        await this.#advance();
        // Devices that run on this thread would starve timers and signals.
        await nextTurn();
      }
      this.#save();
      isWhole = true;
    } finally {
      this.#evaluation?.free();
      this.#closeRecorder(isWhole);
    }
  }

  result(resumedFrom: number | undefined): TrainResult {
    const { settings, finished } = this.#parts;
    return {
      ...this.#state,
      steps: settings.steps,
      isFinished: this.#state.step >= settings.steps,
      resumedFrom,
      tokensPerSecond: this.#speed.stepCount === 0 ? 0 : this.#tokensPerStep / this.#speed.meanSeconds,
      parameters: finished.parameters,
    };
  }

  get #tokensPerStep(): number {
    return this.#parts.settings.batchSize * this.#parts.settings.contextLength;
  }

  async #advance(): Promise<void> {
    const { batches, step: program } = this.#parts;
    const step = this.#state.step + 1;
    const learningRate = this.#schedule(step - 1);
    const startedAt = performance.now();
    batches.batch(step - 1, program.tokens.i32(), program.targets.i32());
    await program.run(step, learningRate);
    this.#speed.add((performance.now() - startedAt) / 1000);
    const { loss, gradientNorm } = program;
    this.#requireFinite(step, loss, gradientNorm);
    const isLast = step === this.#parts.settings.steps;
    const measured = isLast || step % this.#validateEvery === 0 ? await this.#validate() : undefined;
    const validationLoss = measured ?? this.#state.validationLoss;
    const best = Math.min(this.#state.bestValidationLoss ?? Infinity, measured ?? Infinity);
    const isBest = measured !== undefined && best !== this.#state.bestValidationLoss;
    const seconds = this.#parts.state.seconds + (performance.now() - this.#startedAt) / 1000;
    const bestValidationLoss = best === Infinity ? undefined : best;
    this.#state = { step, seconds, loss, validationLoss, bestValidationLoss };
    const tokensPerSecond = this.#tokensPerStep / this.#speed.recentSeconds;
    const row = { step, loss, learningRate, gradientNorm, tokensPerSecond, seconds };
    const flips = flipShares(program.estimation, program.flips);
    this.#recorder?.add({
      ...row,
      ...(measured !== undefined && { validationLoss: measured }),
      ...(flips.length > 0 && { flips }),
    });
    this.#report({ ...row, validationLoss });
    if (isBest) await this.#saveBest();
    if (this.#isSaveDue(step)) this.#save();
  }

  #requireFinite(step: number, loss: number, gradientNorm: number): void {
    const where = this.#parts.folder?.path;
    const [what, value] = Number.isFinite(loss) ? ["gradient norm", gradientNorm] : ["loss", loss];
    if (Number.isFinite(value)) return;
    throw new NonFiniteLossError(step, { what, value, where, origin: this.#parts.step.originOfNonFinite() });
  }

  async #validate(): Promise<number> {
    const { batches, settings, finished } = this.#parts;
    const { device, model, data } = this.#options;
    await finished.update();
    this.#evaluation ??= await Evaluation.compile(device, model, finished.parameters, {
      ...settings,
      hasGaps: isTask(data),
    });
    const count = this.#validationBatches;
    return this.#evaluation.mean(count, (index, tokens, targets) =>
      batches.validationBatch(index, tokens, targets, count),
    );
  }

  #report(measured: Omit<TrainProgress, "steps" | "secondsLeft">): void {
    const { steps } = this.#parts.settings;
    const secondsPerStep = (performance.now() - this.#startedAt) / 1000 / (measured.step - this.#parts.state.step);
    this.#options.onProgress?.({ ...measured, steps, secondsLeft: (steps - measured.step) * secondsPerStep });
  }

  #isSaveDue(step: number): boolean {
    const { everySeconds = 20, everySteps = Infinity } = this.#options.checkpoint ?? {};
    return step % everySteps === 0 || performance.now() - this.#savedAt >= 1000 * everySeconds;
  }

  #save(): void {
    const { folder, identity, step } = this.#parts;
    if (folder === undefined || this.#savedStep === this.#state.step) return;
    this.#recorder?.sync();
    saveCheckpoint(folder.checkpoint, folder.previousCheckpoint, identity, this.#state, step);
    this.#savedStep = this.#state.step;
    this.#savedAt = performance.now();
  }

  async #saveBest(): Promise<void> {
    const { folder, finished } = this.#parts;
    if (folder === undefined || this.#options.keepBest !== true) return;
    const { device, model, tokenizer } = this.#options;
    const metadata = { step: this.#state.step, validationLoss: this.#state.validationLoss! };
    await saveModel(folder.best, {
      device,
      model,
      parameters: finished.parameters,
      tokenizer,
      packed: false,
      metadata,
    });
  }

  #openRecorder(folder: RunFolder): RunRecorder {
    return new RunRecorder({
      folder,
      identity: this.#parts.identity,
      device: this.#options.device,
      from: this.#parts.state,
      extra: { validateEverySteps: this.#validateEvery, validationBatches: this.#validationBatches },
      pageEverySeconds: this.#options.pageEverySeconds ?? 5,
    });
  }

  #closeRecorder(isWhole: boolean): void {
    const isFinished = this.#state.step >= this.#parts.settings.steps;
    try {
      this.#recorder?.close(isWhole && isFinished ? "finished" : "stopped");
    } catch (error) {
      // After a failure the page is a courtesy; a full disk must not hide what came first.
      if (isWhole) throw error;
    }
  }
}

/** How long steps take: all of them, and the recent ones, which an early slow step no longer weighs on. */
class SpeedMeter {
  stepCount = 0;
  recentSeconds = 0;
  #totalSeconds = 0;

  add(seconds: number): void {
    this.stepCount++;
    this.#totalSeconds += seconds;
    const weight = Math.max(0.05, 1 / this.stepCount);
    this.recentSeconds += weight * (seconds - this.recentSeconds);
  }

  get meanSeconds(): number {
    return this.#totalSeconds / this.stepCount;
  }
}
