// `fidelity build`: native code ahead of time, of a model's programs or of kernels in TypeScript, for several machines,
// so that the machines that run it need no LLVM.

import { existsSync, statSync } from "node:fs";
import { findToolchain, hostMachine, machineOf, MACHINE_NAMES, PrebuiltWriter } from "@fidelity/alex/node";
import type { BuiltProgram, NativeMachine } from "@fidelity/alex/node";
import { loadKernels } from "@fidelity/alex/kernels/node";
import type { CacheDtype } from "@fidelity/core";
import { namedParameters, openSequencePool, openSession, packParameters } from "@fidelity/models";
import type { DeviceParameters, Model, SessionOptions } from "@fidelity/models";
import { batchSettings, capacitiesUpTo } from "@fidelity/run";
import { describeModel, loadedDtype } from "@fidelity/run/node";
import { Evaluation, FinishedWeights, RunFolder, savedSettings, TrainStep, trainSettings } from "@fidelity/train";
import type { TrainSettings } from "@fidelity/train";
import { Command, Option } from "commander";
import { nullDevice } from "../capture.ts";
import type { Captured } from "../capture.ts";
import { isKernelFile, noKernels, readText } from "../compile/subjects.ts";
import { EXIT_OK, UsageError } from "../errors.ts";
import { cacheDtypeOption, integerOption, jsonOption } from "../options.ts";
import { createOutput } from "../output.ts";
import { modelPath, prebuiltBeside } from "../run-folder.ts";
import { formatDuration, formatSize, formatTable, plural } from "../table.ts";
import { RECOMPUTE, stepOptions } from "../train-options.ts";
import type { StepChoice } from "../train-options.ts";

/** Programs of a model: what generates text, and, for their shapes, what scores a text and what trains. */
const PROGRAMS = ["step", "prefill", "evaluate", "train"] as const;
type ProgramName = (typeof PROGRAMS)[number];

interface BuildOptions extends Partial<StepChoice> {
  readonly out?: string;
  readonly cpu?: readonly NativeMachine[];
  readonly programs: readonly ProgramName[];
  readonly parallel?: number;
  readonly cacheDtype?: CacheDtype;
  readonly batch?: number;
  readonly context?: number;
  readonly recompute?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
Machines are ${MACHINE_NAMES.join(", ")}, with features behind pluses where their processors have more,
such as x86-64-v4+avx512vnni; without --cpu it is this one. At run time the best one that the processor can be is taken.
The folder holds code: it is used where --prebuilt, FIDELITY_PREBUILT or createDevice({ prebuilt }) names it, and only
by the same Fidelity. Of a run folder or a checkpoint, evaluate and train are as its run has them, but for the options
given. Without --parallel, generations at the same time take turns where there is no LLVM; open() shares steps among
four unless told otherwise.

Examples:
  fidelity build runs/quickstart
  fidelity build model.fid --out native --cpu x86-64-v3,x86-64-v4,aarch64
  fidelity build model.gguf --parallel 4
  fidelity build runs/notes --programs train,evaluate
  fidelity build model.fid --programs train --batch 16 --context 128 --optimizer lion --estimator quest
  fidelity build src/kernels.ts --cpu x86-64-v3,aarch64
  fidelity generate --model runs/quickstart --target native --prebuilt`;

export function buildCommand(done: (exitCode: number) => void): Command {
  const command = new Command("build")
    .description("Compile a model's programs, or kernels, to native code ahead of time, for machines without LLVM.")
    .argument("<model>", "a model file, a run folder, a llama2.c checkpoint, or a TypeScript file with kernels")
    .option("--out <folder>", "where the code goes (default: the model's path and .native)")
    .addOption(
      new Option("--cpu <machines>", "machines, with commas between them (default: this one)").argParser(readMachines),
    )
    .addOption(
      new Option("--programs <names>", `programs, with commas between them: ${PROGRAMS.join(", ")}`)
        .argParser(readPrograms)
        .default(["step", "prefill"], "step,prefill"),
    )
    .addOption(
      integerOption("--parallel <count>", "also what so many generations that share steps need", { max: 1024 }),
    )
    .addOption(cacheDtypeOption())
    .addOption(integerOption("--batch <count>", "sequences of evaluate and train (default: 16)", { max: 1 << 20 }))
    .addOption(integerOption("--context <tokens>", "tokens of their sequences (default: 128)", { max: 1 << 20 }));
  for (const option of Object.values(stepOptions())) command.addOption(option);
  return command
    .option(...RECOMPUTE)
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string, options: BuildOptions) => done(await build(model, options)));
}

function readMachines(text: string): NativeMachine[] {
  return text.split(",").map((name) => machineOf(name.trim()));
}

function readPrograms(text: string): ProgramName[] {
  return text.split(",").map((name) => {
    const known = PROGRAMS.find((program) => program === name.trim());
    if (known !== undefined) return known;
    throw new UsageError("there is no such program", {
      where: "option --programs",
      expected: PROGRAMS.join(", "),
      got: `"${name}"`,
    });
  });
}

async function build(path: string, options: BuildOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const isKernels = isKernelFile(path);
  const file = isKernels ? path : modelPath(path);
  // What is missing is found before anything is written.
  const toolchain = findToolchain();
  const machines = options.cpu ?? [hostMachine()];
  const graphs = isKernels
    ? await graphsOfKernels(file)
    : await graphsOfModel(file, settingsOf(path, options), options);
  const folder = options.out ?? prebuiltBeside(file);
  const writer = new PrebuiltWriter(folder, toolchain);
  const built: BuiltProgram[] = [];
  for (const machine of machines) {
    for (const { graph, options: compileOptions } of graphs) {
      built.push(await writer.add(graph, compileOptions, machine));
    }
  }
  writer.finish();
  output.line(formatBuilt(built));
  const totalBytes = built.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  output.line(`\n${plural(built.length, "program")}, ${formatSize(totalBytes)} in ${folder}`);
  output.result({ model: path, folder, programs: built });
  return EXIT_OK;
}

function formatBuilt(built: readonly BuiltProgram[]): string {
  const rows = built.map(({ machine, name, sizeBytes, timeMs }) => {
    return [machine, name, formatSize(sizeBytes), formatDuration(timeMs / 1000)];
  });
  return formatTable([["machine", "program", "code", "time"], ...rows], ["left", "left", "right", "right"]);
}

/** One graph for each kernel of a file, as `compileKernel` of a device hands it in. */
async function graphsOfKernels(path: string): Promise<Captured[]> {
  // What cannot be read has a name.
  readText(path);
  const { kernels } = await loadKernels(path);
  if (kernels.length === 0) throw noKernels(path);
  return kernels.map(({ graph, name, signature: { donations } }) => ({ graph, options: { name, donations } }));
}

/** Code is made for texts of up to this many tokens; longer ones need LLVM, or a model without a limit. */
const SESSION_TOKENS_MAX = 4096;

/** The graphs of a model's programs, found on a device that has no memory. */
async function graphsOfModel(path: string, settings: TrainSettings, options: BuildOptions): Promise<Captured[]> {
  const { model, tensors } = describeModel(path);
  const captured: Captured[] = [];
  const device = nullDevice(captured);
  // Of the file's tensors only their types are needed: which of them are packed, and how.
  const stored = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const parameters: DeviceParameters = new Map(
    namedParameters(model.parameters).map(({ path: name, leaf }) => {
      return [name, device.tensor({ dtype: loadedDtype(leaf, stored.get(name), "native"), shape: leaf.shape })];
    }),
  );
  const { parallel = 1, cacheDtype } = options;
  for (const capacity of capacitiesUpTo(model, SESSION_TOKENS_MAX)) {
    const session = { capacity, cacheDtype };
    if (options.programs.includes("step")) (await openSession(model, parameters, device, session)).close();
    if (options.programs.includes("prefill")) await traceChunk(model, parameters, session, captured);
    if (parallel === 1) continue;
    const pool = openSequencePool(model, parameters, device, batchSettings(parallel, capacity, cacheDtype));
    await pool.prepare();
    for (let lanes = 2; lanes < 2 * parallel; lanes *= 2) await pool.prepare(pool.widthFor(lanes));
    pool.close();
  }
  if (options.programs.includes("evaluate")) await Evaluation.compile(device, model, parameters, settings);
  if (options.programs.includes("train")) {
    const step = await TrainStep.compile(device, model, settings, options);
    const { parameters: float32 } = await FinishedWeights.compile(
      device,
      model,
      { estimation: step.estimation, settings },
      step,
    );
    await Evaluation.compile(device, model, float32, settings);
    await packParameters(model, float32, device);
  }
  return captured;
}

/** A session compiles the programs for chunks of a prompt, long and short ones, when a prompt has one. */
async function traceChunk(
  model: Model,
  parameters: DeviceParameters,
  options: SessionOptions,
  captured: Captured[],
): Promise<void> {
  const programs: Captured[] = [];
  const session = await openSession(model, parameters, nullDevice(programs), options);
  for (const length of session.chunkLengths.filter((tokens) => tokens < session.limit)) {
    session.reset();
    await session.prefill(new Int32Array(length + 1));
  }
  session.close();
  // The first one is that for a single token; a context that is shorter than a chunk has no other.
  captured.push(...programs.slice(1));
}

/** The settings that evaluate and train depend on: those of the path's run, if it has one, but for what is given. */
function settingsOf(path: string, options: BuildOptions): TrainSettings {
  const { batch: batchSize, context: contextLength, precision, gradients, optimizer, accumulate, estimator } = options;
  const given = { batchSize, contextLength, precision, gradients, optimizer, accumulate, estimator };
  const chosen = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return trainSettings({ steps: 1, ...runSettings(path), ...chosen });
}

function runSettings(path: string): TrainSettings | undefined {
  const { checkpoint } = new RunFolder(path);
  if (existsSync(checkpoint)) return savedSettings(checkpoint);
  return existsSync(path) && statSync(path).isFile() && describeModel(path).kind === "checkpoint"
    ? savedSettings(path)
    : undefined;
}
