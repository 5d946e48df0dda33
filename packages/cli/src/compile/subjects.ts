// What `fidelity compile` looks at: the kernels of a TypeScript file, or a program of a model, which comes from a file
// or is named by its sizes. Each is compiled as far as the program; texts of the stages behind that are made on
// demand.

import { existsSync, readFileSync, statSync } from "node:fs";
import { extname } from "node:path";
import { compileStages, writtenTensor } from "@fidelity/alex/node";
import type { CompiledStages, CompilerOptions, CpuDevice } from "@fidelity/alex/node";
import { compileKernelSource, KernelError } from "@fidelity/alex/kernels/compile";
import type { CompiledKernel, SourceText } from "@fidelity/alex/kernels/compile";
import { FileError, toFileError } from "@fidelity/barewire/node";
import { storageBytes } from "@fidelity/core";
import type { Device, DeviceTensor, TensorType } from "@fidelity/core";
import {
  createParameters,
  fillParameter,
  freeParameters,
  namedParameters,
  openSession,
  packParameters,
  parameterTypes,
} from "@fidelity/models";
import type { DeviceParameters, Model, ParameterSpec } from "@fidelity/models";
import { describeModel, loadedDtype, openModel } from "@fidelity/run/node";
import { TrainStep, trainSettings } from "@fidelity/train";
import { Option } from "commander";
import { nullDevice, recordingDevice } from "../capture.ts";
import type { Captured } from "../capture.ts";
import { UsageError } from "../errors.ts";
import { identifyFile } from "../identify.ts";
import { choiceOption, integerOption } from "../options.ts";
import { modelPath } from "../run-folder.ts";
import { ARCHITECTURES, modelOfSizes } from "../training.ts";
import type { ModelSizes } from "../training.ts";

/** Programs of a model. */
export const MODEL_PROGRAMS = ["step", "prefill", "train"] as const;
export type ModelProgram = (typeof MODEL_PROGRAMS)[number];

export interface SubjectOptions extends Omit<ModelSizes, "architecture"> {
  readonly architecture?: ModelSizes["architecture"];
  readonly vocabularySize: number;
  readonly what: ModelProgram;
  readonly batch: number;
  readonly precision: "f32" | "bf16";
  /** Tokens that are in the state when a model's step or chunk is timed. */
  readonly position?: number;
  /** The one kernel of a file to look at. */
  readonly kernel?: string;
}

/** Options that name a model where no file does, and the sizes of its programs. */
export function programOptions(): Option[] {
  return [
    choiceOption("--architecture <name>", "a model without a file", ARCHITECTURES),
    integerOption("--layers <count>", "blocks of the model", { max: 4096 }).default(4),
    integerOption("--width <size>", "numbers that stand for a token", { max: 1 << 17 }).default(128),
    integerOption("--hidden <size>", "width inside a block (default: 8/3 of --width)", { max: 1 << 20 }),
    integerOption("--heads <count>", "heads, where there are any (default: 4)", { max: 4096 }),
    integerOption("--kv-heads <count>", "heads of keys and values (default: --heads)", { max: 4096 }),
    new Option("--set <name=value...>", "other fields of the configuration, such as weights=ternary pattern=MMMA"),
    integerOption("--vocabulary-size <count>", "kinds of tokens", { max: 1 << 24 }).default(256),
    integerOption("--context <tokens>", "tokens of a sequence", { max: 1 << 20 }).default(128),
    integerOption("--batch <count>", "sequences of a training step", { max: 1 << 20 }).default(16),
    choiceOption("--precision <name>", "of dense products in training", ["f32", "bf16"]).default("f32"),
  ];
}

/** What programs are lowered for, and by which schedules. */
export type LowerOptions = Pick<CompilerOptions, "target" | "schedules">;

/** A program, with what it was made from. */
export interface Subject {
  readonly title: string;
  readonly stages: CompiledStages;
  /** Where a kernel's text is, and what its compiler knows of it. */
  readonly kernel?: CompiledKernel;
  readonly source?: SourceText;
  /** Gives `use` tensors of a device for every parameter and result of the program, with plausible values. */
  withTensors<T>(device: CpuDevice, use: (tensors: readonly DeviceTensor[]) => Promise<T>): Promise<T>;
}

const KERNEL_EXTENSIONS = new Set([".ts", ".mts", ".cts", ".js", ".mjs"]);

/** Whether a path is that of a program's text, in which kernels are looked for. */
export function isKernelFile(path: string): boolean {
  return KERNEL_EXTENSIONS.has(extname(path));
}

/** What is said of a file without kernels, or without the one that is wanted. */
export function noKernels(path: string, names = "", wanted?: string): UsageError {
  return new UsageError(wanted === undefined ? "the file has no kernels" : "the file has no such kernel", {
    where: path,
    expected: wanted === undefined ? "functions given to kernel() of @fidelity/alex/kernels" : `one of ${names}`,
    ...(wanted !== undefined && { got: wanted }),
  });
}

/**
 * The programs that a path or the sizes of a model stand for. Throws `FileError`, `KernelError` with every diagnostic
 * of a file, and `UsageError` when neither or both are given.
 */
export async function openSubjects(
  path: string | undefined,
  options: SubjectOptions,
  lower: LowerOptions,
): Promise<Subject[]> {
  const { architecture } = options;
  if (path !== undefined && architecture !== undefined) {
    throw new UsageError("a file and an architecture are given", {
      got: `${path} and --architecture ${architecture}`,
      hint: "give one of them",
    });
  }
  if (path !== undefined && isKernelFile(path)) return kernelSubjects(path, options, lower);
  if (path !== undefined) return [await fileSubject(modelPath(path), options, lower)];
  if (architecture !== undefined) return [await sizesSubject({ ...options, architecture }, lower)];
  throw new UsageError("what is to be compiled?", {
    expected: "a TypeScript file with kernels, a model or run folder, or --architecture",
    hint: "fidelity compile --architecture matmul-free --emit loops",
  });
}

function kernelSubjects(path: string, { kernel: wanted }: SubjectOptions, lower: LowerOptions): Subject[] {
  const { kernels, diagnostics } = compileKernelSource(readText(path), { file: path });
  if (diagnostics.length > 0) throw new KernelError(diagnostics);
  const names = kernels.map(({ name }) => name).join(", ");
  const chosen = kernels.filter(({ name }) => wanted === undefined || name === wanted);
  if (chosen.length === 0) throw noKernels(path, names, wanted);
  return chosen.map((kernel) => {
    const { donations } = kernel.signature;
    const stages = compileStages(kernel.graph, { name: kernel.name, donations, ...lower });
    return { title: kernel.name, stages, kernel, source: kernel.source, withTensors: randomTensors(stages) };
  });
}

/** Throws `FileError`. */
export function readText(path: string): string {
  try {
    if (existsSync(path) && !statSync(path).isFile()) throw new FileError("read", path, "NOT_REGULAR");
    return readFileSync(path, "utf8");
  } catch (error) {
    throw toFileError(error, "read", path);
  }
}

/** Tensors with small random numbers, and zeros where bytes are not numbers. */
function randomTensors({ traced, compilation }: CompiledStages): Subject["withTensors"] {
  return async (device, use) => {
    const owned: DeviceTensor[] = [];
    try {
      for (const { type } of traced.parameters) {
        const tensor = writtenTensor(device, type);
        owned.push(tensor);
        const values = type.dtype === "f32" ? tensor.f32() : new Float32Array(0);
        for (let i = 0; i < values.length; i++) values[i] = ((i * 7919) % 2003) / 2003 - 0.5;
      }
      const results = traced.results.map(({ type }, result) => {
        const donation = compilation.donations.find((candidate) => candidate.result === result);
        if (donation !== undefined) return owned[donation.parameter];
        const tensor = device.tensor(type);
        owned.push(tensor);
        return tensor;
      });
      return await use([...owned.slice(0, traced.parameters.length), ...results]);
    } finally {
      for (const tensor of owned) tensor.free();
    }
  };
}

async function fileSubject(path: string, options: SubjectOptions, lower: LowerOptions): Promise<Subject> {
  identifyFile(path, "a TypeScript file with kernels, ");
  const { model, tensors } = describeModel(path);
  const stored = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  // Of the targets, those with instructions for f16 keep it.
  const target = lower.target?.halves === true ? "native" : "wasm";
  const types = typesOf(model, (leaf, name) => loadedDtype(leaf, stored.get(name), target));
  const load = async <T>(device: Device, use: (parameters: DeviceParameters) => Promise<T>): Promise<T> => {
    using opened = await openModel(path, device);
    return await use(opened.parameters); // which is to end before the model is closed
  };
  return modelSubject(model, types, load, options, lower);
}

/** The types of a model's parameters, by path. */
function typesOf(
  { parameters }: Model,
  dtypeOf: (leaf: ParameterSpec, path: string) => TensorType["dtype"],
): Record<string, TensorType> {
  const leaves = namedParameters(parameters);
  return Object.fromEntries(leaves.map(({ path, leaf }) => [path, { dtype: dtypeOf(leaf, path), shape: leaf.shape }]));
}

async function sizesSubject(
  options: SubjectOptions & Pick<ModelSizes, "architecture">,
  lower: LowerOptions,
): Promise<Subject> {
  const model = modelOfSizes(options, options.vocabularySize);
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const isPacked = options.what !== "train";
  const load = async <T>(device: Device, use: (parameters: DeviceParameters) => Promise<T>): Promise<T> => {
    const types = parameterTypes(model.parameters, { packed: false }) as Parameters<typeof createParameters>[1];
    const made = createParameters(device, types, (tensor, path) => {
      fillParameter(specs.get(path)!, path, 1, tensor.f32());
    });
    const packed = isPacked ? await packParameters(model, made, device) : made;
    try {
      return await use(packed);
    } finally {
      freeParameters(packed);
      freeParameters(made);
    }
  };
  const types = typesOf(model, ({ role }) => (isPacked && role === "ternary" ? "ternary" : "f32"));
  return modelSubject(model, types, load, options, lower);
}

type LoadParameters = <T>(device: Device, use: (parameters: DeviceParameters) => Promise<T>) => Promise<T>;

/** The graph is found on a device that has no memory; profiles trace it again on one that has. */
async function modelSubject(
  model: Model,
  types: Readonly<Record<string, TensorType>>,
  load: LoadParameters,
  options: SubjectOptions,
  lower: LowerOptions,
): Promise<Subject> {
  const captured: Captured[] = [];
  const device = nullDevice(captured);
  await traceProgram(
    model,
    createParameters(device, types, () => undefined),
    device,
    options,
    () => Promise.resolve(),
  );
  const { graph, options: compileOptions } = captured[captured.length - 1];
  const stages = compileStages(graph, { ...compileOptions, ...lower });
  return {
    title: titleOf(model, options),
    stages,
    withTensors: (real, use) =>
      load(real, (parameters) => {
        const entries: Captured[] = [];
        // Caches that are read far behind what has been written to them.
        const recording = {
          ...recordingDevice(real, entries),
          tensor: (type: TensorType) => writtenTensor(real, type),
        };
        return traceProgram(model, parameters, recording, options, () => {
          const { parameters: inputs = [], results = [] } = entries[entries.length - 1];
          // A session's programs take the position last.
          if (options.what !== "train" && options.position !== undefined) {
            inputs[inputs.length - 1].i32()[0] = options.position;
          }
          return use([...inputs, ...results]);
        });
      }),
  };
}

function titleOf({ architecture, config }: Model, { what, batch, context }: SubjectOptions): string {
  const program = {
    step: "one token",
    prefill: "a chunk of a prompt",
    train: `a training step of ${batch} x ${context} tokens`,
  }[what];
  return `${architecture}, ${String(config["layerCount"])} layers of width ${String(config["dim"])}: ${program}`;
}

/** Tokens of a prompt's chunk. */
const CHUNK_TOKENS = 64;

/** Has a model compile the program that is asked for, and calls `use` while its tensors are bound. */
async function traceProgram<T>(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  { what, batch, context, precision }: SubjectOptions,
  use: () => Promise<T>,
): Promise<T> {
  if (what === "train") {
    const settings = trainSettings({ steps: 1000, batchSize: batch, contextLength: context, precision });
    const step = await TrainStep.compile(device, model, settings);
    try {
      for (const { path, leaf } of namedParameters(model.parameters)) {
        const values = step.parameters.get(path)!.f32();
        if (values.byteLength === storageBytes(leaf)) fillParameter(leaf, path, 1, values);
      }
      return await use();
    } finally {
      step.free();
      freeParameters(step.parameters);
    }
  }
  const session = await openSession(model, parameters, device, { chunkLength: CHUNK_TOKENS });
  try {
    if (what === "prefill") await session.prefill(new Int32Array(CHUNK_TOKENS + 1));
    return await use();
  } finally {
    session.close();
  }
}
