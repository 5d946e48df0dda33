// `fidelity quickstart`: the whole way in about a minute on two cores. A MatMul-free ternary language model is trained
// on text that every checkout has, saved, measured as float32 and packed, and let to write. What is there already is
// used: an unfinished run goes on, a finished model is measured again.

import { packParameters, countParameters, openSession } from "@fidelity/models";
import type { DeviceParameters } from "@fidelity/models";
import { LanguageModel } from "@fidelity/run";
import type { GenerationResult } from "@fidelity/run";
import {
  Batches,
  defaultCorpus,
  evaluateLoss,
  findCheckpoint,
  formatLoss,
  readCheckpointState,
  RunFolder,
  runIdentity,
  TextCorpus,
  trainSettings,
} from "@fidelity/train";
import type { RunState } from "@fidelity/train";
import { Command } from "commander";
import { EXIT_OK } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { openDevice } from "../open-model.ts";
import { dataOption, integerOption, jsonOption, targetOption } from "../options.ts";
import type { Target } from "../options.ts";
import { createOutput } from "../output.ts";
import type { Output } from "../output.ts";
import { shellWord } from "../run-folder.ts";
import { formatCount, formatDuration, formatRate, formatSize, formatTable, plural } from "../table.ts";
import { modelOfSizes, runTraining, saveFinished, vocabularyOf } from "../training.ts";
import type { ModelSizes, RunPlan } from "../training.ts";

interface QuickstartOptions {
  readonly data?: readonly string[];
  readonly out: string;
  readonly steps: number;
  readonly target: Target;
  readonly threads: number;
  readonly json?: boolean;
}

const SIZES: ModelSizes = { architecture: "matmul-free", layers: 3, width: 128, context: 64 };
const BATCH_SIZE = 16;
const LEARNING_RATE = 4e-3;
const STEPS = 1000;
const VALIDATION_BATCHES = 64;
const SAMPLE_TOKENS = 400;
const SAMPLING = { temperature: 0.7, topP: 0.95, seed: 1 } as const;

const EXAMPLES = `
Without --data the text is the TypeScript declarations under node_modules. Ctrl-C stops with a whole checkpoint, and the
same command goes on from there; with a finished model it measures and writes again.

Examples:
  fidelity quickstart
  fidelity quickstart --data notes/ --out runs/notes
  fidelity quickstart --steps 5000 --out runs/longer`;

export function quickstartCommand(done: (exitCode: number) => void): Command {
  return new Command("quickstart")
    .description("Train a MatMul-free ternary language model in about a minute, measure it, and let it write.")
    .addOption(dataOption())
    .option("--out <folder>", "the run folder", "runs/quickstart")
    .addOption(integerOption("--steps <count>", "updates of the weights", { max: 1e9 }).default(STEPS))
    .addOption(targetOption())
    .addOption(integerOption("--threads <count>", "threads that compute", { max: 256 }).default(2))
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (options: QuickstartOptions) => done(await quickstart(options)));
}

async function quickstart(options: QuickstartOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const device = openDevice(options.target, options.threads);
  try {
    const plan = preparePlan(options, device, output);
    const state = savedState(plan);
    announce(output, options, plan, state);
    const { result, exitCode } = await runTraining(plan, output);
    if (!result.isFinished) {
      output.line(
        `stopped after step ${result.step} of ${result.steps}; the checkpoint is whole: ${plan.folder.checkpoint}`,
      );
      output.line("run the same command again to go on");
      output.result({ out: options.out, step: result.step, steps: result.steps, isFinished: false });
      return exitCode;
    }
    await saveFinished(plan, result);
    const measured = await measureBoth(plan, result.parameters);
    output.line(`\n${formatMeasured(measured, options.threads)}\n`);
    output.line(`saved as ${plan.folder.model}; curves in ${plan.folder.page}\n`);
    const { generation, interruptCode } = await writeSample(plan, measured.packedParameters, output);
    output.line(`\nmore: fidelity generate --model ${shellWord(options.out)} --prompt "interface "`);
    const { packedParameters: _, ...numbers } = measured;
    const resumedFrom = result.resumedFrom ?? null;
    output.result({
      out: options.out,
      model: plan.folder.model,
      isFinished: true,
      resumedFrom,
      ...numbers,
      sample: generation,
    });
    return interruptCode;
  } finally {
    await device.close();
  }
}

function preparePlan(
  { data: paths, out, steps }: QuickstartOptions,
  device: RunPlan["device"],
  output: Output,
): RunPlan {
  const corpus = paths === undefined ? defaultCorpus() : TextCorpus.open(paths);
  const tokenizer = vocabularyOf(corpus, "byte");
  const what = paths === undefined ? "TypeScript declarations under node_modules" : paths.join(", ");
  output.line(`text:   ${what}: ${plural(corpus.files.length, "file")}, ${formatSize(corpus.sizeBytes)}`);
  return {
    device,
    tokenizer,
    model: modelOfSizes(SIZES, tokenizer.vocabSize),
    data: corpus.tokenize(tokenizer),
    settings: trainSettings({
      steps,
      batchSize: BATCH_SIZE,
      contextLength: SIZES.context,
      learningRate: LEARNING_RATE,
    }),
    folder: new RunFolder(out),
  };
}

/** How far the folder's run has come; undefined where there is none. */
function savedState({ folder, model, tokenizer, data, settings }: RunPlan): RunState | undefined {
  const path = findCheckpoint(folder.checkpoint, folder.previousCheckpoint, () => undefined);
  if (path === undefined) return undefined;
  return readCheckpointState(path, runIdentity(model, tokenizer, data, trainSettings(settings)));
}

function announce(
  output: Output,
  { out, threads }: QuickstartOptions,
  plan: RunPlan,
  state: RunState | undefined,
): void {
  const { parameters } = countParameters(plan.model.parameters);
  const { layers, width } = SIZES;
  const { steps } = plan.settings;
  output.line(`model:  MatMul-free ternary, ${layers} layers of width ${width}, ${formatCount(parameters)} parameters`);
  if (state === undefined)
    output.line(`train:  ${formatCount(steps)} steps on ${plural(threads, "thread")}, into ${out}`);
  else if (state.step < steps)
    output.line(`train:  resuming the unfinished run in ${out} after step ${state.step} of ${steps}`);
  else output.line(`train:  done before, in ${formatDuration(state.seconds)}: reusing the finished model in ${out}`);
}

interface Measured {
  readonly parameters: number;
  readonly float32: Variant;
  readonly packed: Variant;
  readonly packedParameters: DeviceParameters;
}

interface Variant {
  readonly sizeBytes: number;
  /** In nats a token. */
  readonly validationLoss: number;
  /** Of decoding, one token after another. */
  readonly tokensPerSecond: number;
}

async function measureBoth(plan: RunPlan, float32Parameters: DeviceParameters): Promise<Measured> {
  const { parameters, float32Bytes, packedBytes } = countParameters(plan.model.parameters);
  const packedParameters = await packParameters(plan.model, float32Parameters, plan.device);
  return {
    parameters,
    float32: await measure(plan, float32Parameters, float32Bytes),
    packed: await measure(plan, packedParameters, packedBytes),
    packedParameters,
  };
}

async function measure(plan: RunPlan, parameters: DeviceParameters, sizeBytes: number): Promise<Variant> {
  const { device, model, data, settings } = plan;
  const batches = new Batches(data.tokens, trainSettings(settings));
  const { loss } = await evaluateLoss({ device, model, parameters, batches, count: VALIDATION_BATCHES });
  return { sizeBytes, validationLoss: loss, tokensPerSecond: await decodeSpeed(plan, parameters) };
}

const DECODE_TOKENS = 64;
const DECODE_ROUNDS = 9;

/** Tokens a second of decoding: the median of a few rounds, after one that warms up. */
async function decodeSpeed({ device, model, data }: RunPlan, parameters: DeviceParameters): Promise<number> {
  const session = await openSession(model, parameters, device);
  try {
    const rates: number[] = [];
    for (let round = 0; round <= DECODE_ROUNDS; round++) {
      session.reset();
      const started = performance.now();
      for (let at = 0; at < DECODE_TOKENS; at++) session.step(data.tokens[at]);
      if (round > 0) rates.push((1000 * DECODE_TOKENS) / (performance.now() - started));
    }
    return rates.sort((a, b) => a - b)[DECODE_ROUNDS >> 1];
  } finally {
    session.close();
  }
}

function formatMeasured({ parameters, float32, packed }: Measured, threads: number): string {
  const row = (name: string, { sizeBytes, validationLoss, tokensPerSecond }: Variant): string[] => {
    return [
      name,
      formatCount(parameters),
      formatSize(sizeBytes),
      formatLoss(validationLoss),
      formatRate(tokensPerSecond),
    ];
  };
  const header = [
    "weights",
    "parameters",
    "size",
    "validation loss",
    `decoded tokens/s (${plural(threads, "thread")})`,
  ];
  return formatTable([header, row("float32", float32), row("packed, 2-bit", packed)]);
}

async function writeSample(
  { model, tokenizer, device }: RunPlan,
  parameters: DeviceParameters,
  output: Output,
): Promise<{ generation: GenerationResult; interruptCode: number }> {
  using interrupt = new Interrupt();
  output.line("the packed model writes:\n");
  await using written = new LanguageModel({ model, tokenizer, parameters, device });
  const writing = written.generate("", { ...SAMPLING, maxTokens: SAMPLE_TOKENS, signal: interrupt.signal });
  for await (const piece of writing) output.people.write(piece);
  output.line();
  const generation = await writing.result();
  return { generation, interruptCode: generation.endedBy === "interrupt" ? interrupt.exitCode : EXIT_OK };
}
