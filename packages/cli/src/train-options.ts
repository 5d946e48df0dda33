// The options of `fidelity train`, and how a run folder remembers them: a run is resumed with nothing but its folder.

import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { PASSES } from "@fidelity/alex";
import { toFileError, writeFileAtomic } from "@fidelity/barewire/node";
import { ESTIMATORS } from "@fidelity/furnace";
import { DEFAULT_ESTIMATOR, FORMER_SETTINGS, GRADIENT_FORMS, OPTIMIZER_NAMES, SCHEDULES } from "@fidelity/train";
import type { GradientForm, TrainSettings } from "@fidelity/train";
import type { Command, Option } from "commander";
import { UsageError, WrongFileError } from "./errors.ts";
import {
  choiceOption,
  dataOption,
  integerOption,
  integersOption,
  jsonOption,
  numberOption,
  pinOption,
  prebuiltOption,
  seedOption,
  targetOption,
  threadsOption,
} from "./options.ts";
import type { DeviceChoice, Target } from "./options.ts";
import { ARCHITECTURES, VOCABULARIES } from "./training.ts";
import type { ModelSizes, VocabularyName } from "./training.ts";

export const TRAIN_TASKS = ["text", "mqar"] as const;

export interface TrainCommandOptions extends ModelSizes, DeviceChoice, StepChoice {
  readonly data?: readonly string[];
  readonly task: (typeof TRAIN_TASKS)[number];
  /** Of --task mqar: pairs of its sequences, and its vocabulary. */
  readonly pairs?: readonly number[];
  readonly symbols?: number;
  readonly out: string;
  readonly resume?: boolean;
  readonly vocabulary: VocabularyName;
  readonly steps: number;
  readonly batch: number;
  readonly learningRate: number;
  readonly warmup?: number;
  readonly seed: number;
  readonly schedule: TrainSettings["schedule"];
  readonly recompute?: boolean;
  readonly watch?: boolean;
  readonly evalEvery?: number;
  readonly emitAfter?: string;
  readonly target: Target;
  readonly threads: number;
  readonly json?: boolean;
}

/** Options that a resumed run must have as they were; what only a start of the process needs is not among them. */
const REMEMBERED: readonly (keyof TrainCommandOptions)[] = [
  "data",
  "task",
  "pairs",
  "symbols",
  "architecture",
  "layers",
  "width",
  "hidden",
  "heads",
  "kvHeads",
  "set",
  "vocabulary",
  "context",
  "batch",
  "steps",
  "learningRate",
  "warmup",
  "seed",
  "precision",
  "gradients",
  "optimizer",
  "schedule",
  "accumulate",
  "estimator",
  "evalEvery",
];

/** What the program of a step depends on besides the model and the shape of a batch. */
export interface StepChoice {
  readonly precision: TrainSettings["precision"];
  readonly gradients: GradientForm;
  readonly optimizer: TrainSettings["optimizer"];
  readonly accumulate: number;
  readonly estimator: string;
}

/** The options of `StepChoice`, without defaults. */
export function stepOptions(): Readonly<Record<keyof StepChoice, Option>> {
  const forms = choiceOption(
    "--gradients <form>",
    "how they are kept; lazy changes only the rows of a batch",
    GRADIENT_FORMS,
  );
  const estimators = ESTIMATORS.map(({ name }) => name);
  return {
    optimizer: choiceOption("--optimizer <name>", "what takes the steps", OPTIMIZER_NAMES),
    accumulate: integerOption("--accumulate <parts>", "parts of a batch, one after the other", { max: 1 << 20 }),
    precision: choiceOption("--precision <name>", "of dense products", ["f32", "bf16"]),
    gradients: forms,
    estimator: choiceOption("--estimator <name>", "how gradients reach ternary weights", estimators),
  };
}

/** `--recompute`, for the commands that make steps. */
export const RECOMPUTE = [
  "--recompute",
  "compute activations again in the backward pass: less memory, more work, the same losses",
] as const;

export function addTrainOptions(command: Command): Command {
  const step = stepOptions();
  return command
    .addOption(choiceOption("--task <name>", "what to learn", TRAIN_TASKS).default("text"))
    .addOption(dataOption())
    .addOption(integersOption("--pairs <counts>", "MQAR: pairs of a sequence (default: 2,4,8)", { max: 1 << 20 }))
    .addOption(integerOption("--symbols <count>", "MQAR: size of its vocabulary (default: 64)", { max: 20_992 }))
    .option("--out <folder>", "the run folder: checkpoints, metrics, curves, the model", "runs/train")
    .option("--resume", "go on with the run in --out; its other options are remembered there")
    .addOption(choiceOption("--architecture <name>", "what to train", ARCHITECTURES).default("matmul-free"))
    .addOption(choiceOption("--vocabulary <name>", "what a token is", VOCABULARIES).default("byte"))
    .addOption(integerOption("--layers <count>", "blocks of the model", { max: 4096 }).default(4))
    .addOption(integerOption("--width <size>", "numbers that stand for a token", { max: 1 << 17 }).default(128))
    .addOption(
      integerOption("--hidden <size>", "width inside a block (default: 8/3 of --width, rounded up)", { max: 1 << 20 }),
    )
    .addOption(integerOption("--heads <count>", "heads, where there are any (default: 4)", { max: 4096 }))
    .addOption(integerOption("--kv-heads <count>", "heads of keys and values (default: --heads)", { max: 4096 }))
    .option("--set <name=value...>", "other fields of the configuration, such as weights=ternary pattern=MMMA")
    .addOption(integerOption("--context <tokens>", "tokens of a training sequence", { max: 1 << 20 }).default(128))
    .addOption(integerOption("--batch <count>", "sequences a step", { max: 1 << 20 }).default(16))
    .addOption(integerOption("--steps <count>", "updates of the weights", { max: 1e9 }).default(1000))
    .addOption(numberOption("--learning-rate <number>", "at its peak", { min: 0, max: 100 }).default(3e-3))
    .addOption(integerOption("--warmup <steps>", "steps up to the peak (default: a twentieth)", { min: 0, max: 1e9 }))
    .addOption(step.optimizer.default("adamw"))
    .addOption(choiceOption("--schedule <name>", "how the rate goes after the warm-up", SCHEDULES).default("cosine"))
    .addOption(step.accumulate.default(1))
    .addOption(step.precision.default("f32"))
    .addOption(step.gradients.default("exact"))
    .addOption(step.estimator.default(DEFAULT_ESTIMATOR))
    .option("--watch", "if the loss stops being a number, say which op made the first one; slower, takes more memory")
    .option(...RECOMPUTE)
    .addOption(integerOption("--eval-every <steps>", "validate this often (default: 20 times a run)", { max: 1e9 }))
    .addOption(seedOption())
    .addOption(targetOption())
    .addOption(threadsOption())
    .addOption(prebuiltOption())
    .addOption(pinOption())
    .addOption(
      choiceOption(
        "--emit-after <pass>",
        "print the step program after a pass of the compiler, and end",
        PASSES.map(({ name }) => name),
      ),
    )
    .addOption(jsonOption());
}

function optionsFile(folder: string): string {
  return join(folder, "options.json");
}

/** Notes the options of a run in its folder. Paths become absolute: the run may be resumed from another folder. */
export function rememberOptions(options: TrainCommandOptions): void {
  const entries = REMEMBERED.map((name) => [name, options[name]]);
  const remembered = { ...Object.fromEntries(entries), data: options.data?.map((path) => resolve(path)) };
  writeFileAtomic(optionsFile(options.out), [new TextEncoder().encode(`${JSON.stringify(remembered, null, 2)}\n`)]);
}

/**
 * Fills in what the command line left out from the folder's notes, checked as if it had been typed; options that the
 * notes of an older version lack are what that version did. Without notes nothing changes. Throws `WrongFileError`
 * where they cannot be read.
 */
export function recallOptions(command: Command): void {
  const path = optionsFile(String(command.getOptionValue("out")));
  if (!existsSync(path)) return;
  const remembered: Readonly<Record<string, unknown>> = { ...FORMER_SETTINGS, ...readObject(path) };
  for (const name of REMEMBERED) {
    const value = remembered[name];
    const option = command.options.find((candidate) => candidate.attributeName() === name);
    const isGiven = command.getOptionValueSource(name) === "cli";
    if (value === undefined || option === undefined || isGiven) continue;
    command.setOptionValueWithSource(name, checked(name, value, option.parseArg, path), "config");
  }
}

function checked(
  name: string,
  value: unknown,
  parse: (<T>(text: string, previous: T) => T) | undefined,
  path: string,
): unknown {
  try {
    if (name === "data" && Array.isArray(value)) return value.map(String);
    return parse?.(String(value), undefined as unknown) ?? value;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new WrongFileError("the run's remembered options are damaged", {
      where: `${path}, ${name}`,
      expected: error.details.expected,
      got: error.details.got,
      hint: "give the option on the command line, or remove the file",
    });
  }
}

function readObject(path: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw toFileError(error, "read", path);
  }
  throw new WrongFileError("the run's remembered options are damaged", {
    where: path,
    expected: "a JSON object",
    hint: "remove the file and give all options on the command line",
  });
}
