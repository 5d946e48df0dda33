// The public face of train: data, the loop, checkpoints, run folders, model files, and how a run shows itself.

export * from "./data/index.ts";

export { train } from "./trainer.ts";
export type { TrainOptions, TrainResult } from "./trainer.ts";
export {
  DEFAULT_ESTIMATOR,
  FORMER_SETTINGS,
  GRADIENT_FORMS,
  OPTIMIZER_NAMES,
  SCHEDULES,
  trainSettings,
} from "./settings.ts";
export type { GradientForm, Precision, ScheduleName, TrainSettings } from "./settings.ts";
export { finishCheckpoint, FinishedWeights } from "./finished-weights.ts";
export { evaluateLoss } from "./evaluate.ts";
export type { EvaluatedLoss, EvaluateLossOptions } from "./evaluate.ts";
export { evaluateChoices } from "./choices.ts";
export type { ChoiceAccuracy, ChoiceOptions } from "./choices.ts";
export { evaluateRecall, meanAndError } from "./recall.ts";
export type { Recall, RecallOptions } from "./recall.ts";
export { Scoring } from "./score.ts";
export type { Scores, ScoreSizes } from "./score.ts";
export { Evaluation, TrainStep } from "./step.ts";
export type { EvaluateOptions } from "./step.ts";

export {
  findCheckpoint,
  loadCheckpoint,
  readCheckpointState,
  runIdentity,
  saveCheckpoint,
  savedSettings,
} from "./checkpoint.ts";
export type { RunIdentity, RunState, RunTensors } from "./checkpoint.ts";
export { RunFolder } from "./run-folder.ts";
export type { MetricsRow } from "./metrics.ts";
export { machine } from "./provenance.ts";
export type { Machine } from "./provenance.ts";
export { NonFiniteLossError, ResumeMismatchError, TrainError, TrainSettingError } from "./errors.ts";

export { escapeHtml, roundTicks } from "./chart.ts";
export { formatCount, formatDuration, formatLoss, formatSmall } from "./format.ts";
export { ProgressDisplay } from "./progress.ts";
export type { ProgressOptions, ProgressStream, TrainProgress } from "./progress.ts";
export { sparkline } from "./sparkline.ts";
