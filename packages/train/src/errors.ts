// What can go wrong between a start and an end of training, apart from the data (see data/errors.ts) and the disk (see
// `FileError` of barewire).

import { FidelityError } from "@fidelity/units";

/** Any problem with a training run. */
export class TrainError extends FidelityError {}

/** A setting of a run that cannot be, such as a batch of no rows. */
export class TrainSettingError extends TrainError {}

interface NonFinite {
  readonly what: string;
  readonly value: number;
  readonly where: string | undefined;
  readonly origin: string | undefined;
}

/** The loss or the gradient stopped being a number. `step` is the one at fault, counted from 1. */
export class NonFiniteLossError extends TrainError {
  readonly step: number;

  /** What made the first NaN or Inf, where the run was watched. */
  readonly origin: string | undefined;

  constructor(step: number, { what, value, where, origin }: NonFinite) {
    const traced = origin === undefined ? "" : `\n  ${origin.replaceAll("\n", "\n  ")}`;
    super(`training diverged: the ${what} of step ${step} is ${value}${traced}`, {
      where,
      expected: "a finite number",
      got: String(value),
      hint: "use a lower learning rate or a longer warm-up, or check the data; the last checkpoint is whole",
    });
    this.step = step;
    this.origin = origin;
  }
}

/** A checkpoint belongs to another run: other settings, data, vocabulary or model. `field` is what differs. */
export class ResumeMismatchError extends TrainError {
  readonly field: string;

  constructor(field: string, path: string, saved: unknown, wanted: unknown) {
    super(`cannot resume: ${field} is not what the checkpoint was trained with`, {
      where: path,
      expected: `${field} ${show(saved)}, as in the checkpoint`,
      got: show(wanted),
      hint: "use the same setting to continue that run, or another folder to start a new one",
    });
    this.field = field;
  }
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
