// `fidelity train`: a model of the user's text, or of a task whose sequences are made, in a run folder.

import { existsSync } from "node:fs";
import { TARGETS, emitAfter } from "@fidelity/alex/node";
import { createInterpreter } from "@fidelity/core";
import type { CompileOptions, Device, Graph } from "@fidelity/core";
import { ByteTokenizer, countParameters } from "@fidelity/models";
import type { Model, Tokenizer } from "@fidelity/models";
import {
  DEFAULT_ESTIMATOR,
  formatLoss,
  mqarTask,
  RunFolder,
  symbolTokenizer,
  TextCorpus,
  trainSettings,
  TrainStep,
} from "@fidelity/train";
import type { TrainingData, TrainResult, TrainSettings } from "@fidelity/train";
import { Command } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { openDevice } from "../open-model.ts";
import { required } from "../options.ts";
import { createOutput } from "../output.ts";
import type { Output } from "../output.ts";
import { shellWord } from "../run-folder.ts";
import { formatCount, formatDuration, formatRate, formatSize, plural } from "../table.ts";
import { addTrainOptions, recallOptions, rememberOptions } from "../train-options.ts";
import type { TrainCommandOptions } from "../train-options.ts";
import { modelOfSizes, runTraining, saveFinished, vocabularyOf } from "../training.ts";
import type { RunPlan } from "../training.ts";

const EXAMPLES = `
The first nine tenths of the text train and the rest validates. A run is the same for every number of threads, and a
run that was stopped and resumed is the same as one that was not. Ctrl-C stops with a whole checkpoint; the exit code is
then 130. The run folder has the curves in index.html.

With --task mqar the sequences are made: multi-query associative recall, where a model reads pairs of a key and a value
and is asked for the values later. Only the answers count. \`fidelity eval --task mqar\` measures what was learned.

Examples:
  fidelity train --data notes/ --out runs/notes
  fidelity train --data "src/**/*.ts" --architecture transformer --heads 4 --steps 2000
  fidelity train --data shakespeare.txt --vocabulary character --context 64 --batch 12
  fidelity train --data notes/ --estimator reste
  fidelity train --resume --out runs/notes
  fidelity train --task mqar --architecture gated-deltanet --context 32 --learning-rate 0.01 --out runs/recall
  fidelity train --emit-after fuse --layers 1 --width 32`;

/** The vectors that `createDevice` compiles for, where the engine's flags are as it sets them. */
const WASM_TARGET = { lanes: 4, joinsVectors: true } as const;

export function trainCommand(done: (exitCode: number) => void): Command {
  const command = new Command("train").description(
    "Train a language model on your text, with a live display, checkpoints and curves.",
  );
  return addTrainOptions(command)
    .addHelpText("after", EXAMPLES)
    .action(async () => {
      if (command.getOptionValue("resume") === true) recallOptions(command);
      const options = command.opts<TrainCommandOptions>();
      done(options.emitAfter === undefined ? await trainRun(options) : await emitStep(options, options.emitAfter));
    });
}

function settingsOf(options: TrainCommandOptions): TrainSettings {
  const { batch: batchSize, context: contextLength, warmup: warmupSteps } = options;
  const { steps, seed, learningRate, schedule, optimizer, accumulate, precision, gradients, estimator } = options;
  return trainSettings({
    steps,
    batchSize,
    contextLength,
    seed,
    learningRate,
    warmupSteps,
    schedule,
    optimizer,
    accumulate,
    precision,
    gradients,
    estimator,
  });
}

async function trainRun(options: TrainCommandOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const folder = new RunFolder(options.out);
  const isResumable = existsSync(folder.checkpoint) || existsSync(folder.previousCheckpoint);
  if (isResumable && options.resume !== true) throw folderInUse(options.out);
  if (options.resume === true && !isResumable) output.line(`no checkpoint in ${options.out}: starting afresh`);
  const settings = settingsOf(options);
  const { tokenizer, read } = openSubject(options);
  const model = modelOfSizes(options, tokenizer.vocabSize);
  requireTernary(model, options);
  const { data, what } = read();
  output.line(what);
  output.line(describeModel(model, options));
  folder.create();
  rememberOptions(options);
  const device = openDevice(options.target, options.threads, options);
  try {
    const plan: RunPlan<TrainingData> = {
      device,
      model,
      tokenizer,
      data,
      settings,
      folder,
      validation: { everySteps: options.evalEvery },
      recompute: options.recompute,
      watch: options.watch,
    };
    const { result, exitCode } = await runTraining(plan, output);
    const modelSizeBytes = result.isFinished ? await saveFinished(plan, result) : undefined;
    report(output, options, folder, result, modelSizeBytes);
    return exitCode;
  } finally {
    await device.close();
  }
}

/** What a run learns: its vocabulary, and what reads or makes the data. */
interface Subject {
  readonly tokenizer: Tokenizer;
  read(): { readonly data: TrainingData; /** The data in words. */ readonly what: string };
}

function openSubject(options: TrainCommandOptions): Subject {
  const { task, pairs, symbols, vocabulary } = options;
  if (task === "mqar") return recallSubject(options);
  if (pairs !== undefined || symbols !== undefined) {
    throw new UsageError(`${pairs === undefined ? "--symbols" : "--pairs"} means nothing to a text`, {
      where: "option --task <name>",
      hint: "leave it out, or use --task mqar",
    });
  }
  const paths = required(options.data, "--data <path...>", "the text to train on: files, folders or globs");
  const corpus = TextCorpus.open(paths);
  const tokenizer = vocabularyOf(corpus, vocabulary);
  return {
    tokenizer,
    read: () => {
      const data = corpus.tokenize(tokenizer);
      const text = `${plural(corpus.files.length, "file")}, ${formatSize(corpus.sizeBytes)}`;
      return { data, what: `${text}, ${formatCount(data.tokens.length)} tokens of ${tokenizer.vocabSize} kinds` };
    },
  };
}

const DEFAULT_PAIRS: readonly number[] = [2, 4, 8];
const DEFAULT_SYMBOLS = 64;

function recallSubject({ data, pairs = DEFAULT_PAIRS, symbols = DEFAULT_SYMBOLS }: TrainCommandOptions): Subject {
  if (data !== undefined) {
    throw new UsageError("--task mqar makes its data", { where: "option --data <path...>", hint: "leave --data out" });
  }
  const task = mqarTask({ vocabSize: symbols, pairs });
  const what = `MQAR: sequences of ${pairs.join(", ")} pairs among ${symbols} symbols, without end`;
  return { tokenizer: symbolTokenizer(symbols), read: () => ({ data: task, what }) };
}

function requireTernary(model: Model, { estimator, architecture }: TrainCommandOptions): void {
  if (estimator === DEFAULT_ESTIMATOR || countParameters(model.parameters).ternaryParameters > 0) return;
  throw new UsageError(`a ${architecture} has no ternary weights`, {
    where: "option --estimator",
    got: estimator,
    hint: "leave it out, or use --architecture matmul-free",
  });
}

function folderInUse(out: string): UsageError {
  return new UsageError("the run folder holds a run already", {
    where: out,
    hint: `fidelity train --resume --out ${shellWord(out)} to go on with it, or give another --out`,
  });
}

function describeModel(model: Model, { layers, width, target, threads }: TrainCommandOptions): string {
  const { parameters, float32Bytes, packedBytes, ternaryParameters } = countParameters(model.parameters);
  const packed = ternaryParameters > 0 ? `, ${formatSize(packedBytes)} packed` : "";
  const size = `${formatCount(parameters)} parameters (${formatSize(float32Bytes)}${packed})`;
  const where = target === "interpreter" ? target : `${target}, ${plural(threads, "thread")}`;
  return `${model.architecture}, ${plural(layers, "layer")} of width ${width}, ${size}, on ${where}`;
}

function report(
  output: Output,
  { out, task }: TrainCommandOptions,
  folder: RunFolder,
  result: TrainResult,
  modelSizeBytes: number | undefined,
): void {
  if (modelSizeBytes === undefined) {
    output.line(`stopped after step ${result.step} of ${result.steps}; the checkpoint is whole: ${folder.checkpoint}`);
    output.line(`go on:    fidelity train --resume --out ${shellWord(out)}`);
  } else {
    const loss = result.validationLoss === undefined ? "" : `, validation loss ${formatLoss(result.validationLoss)}`;
    const speed = result.tokensPerSecond > 0 ? `, ${formatRate(result.tokensPerSecond)} tokens/s` : "";
    output.line(`${result.steps} steps in ${formatDuration(result.seconds)}${speed}${loss}`);
    output.line(`model:    ${folder.model} (${formatSize(modelSizeBytes)})`);
    output.line(`curves:   ${folder.page}`);
    output.line(
      task === "text"
        ? `generate: fidelity generate --model ${shellWord(out)}`
        : `measure:  fidelity eval --model ${shellWord(out)} --task ${task}`,
    );
  }
  const model = modelSizeBytes === undefined ? undefined : { path: folder.model, sizeBytes: modelSizeBytes };
  output.result({ out, ...result, parameters: undefined, model });
}

/** Prints the step program after a pass. Only the vocabulary of characters needs the text for it. */
async function emitStep(options: TrainCommandOptions, pass: string): Promise<number> {
  const hasGaps = options.task === "mqar";
  const needsText = hasGaps || options.vocabulary !== "byte";
  const vocabulary = needsText ? openSubject(options).tokenizer : new ByteTokenizer();
  const compiled: { graph: Graph; options: CompileOptions }[] = [];
  const device = watchedInterpreter((graph, compileOptions) => compiled.push({ graph, options: compileOptions }));
  await TrainStep.compile(device, modelOfSizes(options, vocabulary.vocabSize), settingsOf(options), {
    ...options,
    hasGaps,
  });
  const isWasm = options.target === "wasm" || options.target === "interpreter";
  const target = isWasm ? WASM_TARGET : TARGETS[options.target].vectors();
  for (const { graph, options: compileOptions } of compiled) {
    const text = emitAfter(graph, pass, { ...compileOptions, target });
    if (options.json === true) createOutput(true).result({ pass, program: graph.name, text });
    else process.stdout.write(`${text}\n`);
  }
  return EXIT_OK;
}

/** The interpreter, with every graph that it is given shown to `watch` first: it compiles nothing, so this is quick. */
function watchedInterpreter(watch: (graph: Graph, options: CompileOptions) => void): Device {
  const interpreter = createInterpreter();
  return {
    target: interpreter.target,
    threads: interpreter.threads,
    tensor: (type) => interpreter.tensor(type),
    close: () => interpreter.close(),
    compile: (graph, options = {}) => {
      watch(graph, options);
      return interpreter.compile(graph, options);
    },
  };
}
