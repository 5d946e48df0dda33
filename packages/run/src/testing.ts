// Tiny models with random weights, for tests of what runs them.

import { createInterpreter } from "@fidelity/core";
import type { Device } from "@fidelity/core";
import {
  CharacterTokenizer,
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
  parameterTypes,
} from "@fidelity/models";
import type { DeviceParameters, Model, PlainConfig, Tokenizer } from "@fidelity/models";

export const tinyTokenizer = CharacterTokenizer.fromTexts(["abcdefghijklmnopqrstuvwxyz <>|_.,:\n"]);

/** Sizes of a model, without vocabulary. */
export const TINY: Readonly<Record<"llama" | "matmul-free" | "mamba2", PlainConfig>> = {
  llama: { dim: 8, hiddenDim: 12, layerCount: 1, headCount: 2, keyValueHeadCount: 1, contextLength: 64 },
  "matmul-free": { dim: 8, hiddenDim: 12, layerCount: 1 },
  mamba2: { dim: 8, layerCount: 1, headCount: 2 },
};

/** A device that counts the tensors and programs that are held, and writes down which programs run. */
export interface CountingDevice extends Device {
  live: number;
  /** The names of their graphs. */
  readonly runs: string[];
}

/** An interpreter that counts. */
export function countingDevice(): CountingDevice {
  const inner = createInterpreter();
  const counted = <T extends { free(): void }>(one: T): T => {
    device.live++;
    const free = one.free.bind(one);
    let isFree = false;
    one.free = () => {
      if (!isFree) device.live--;
      isFree = true;
      free();
    };
    return one;
  };
  const device = {
    live: 0,
    runs: [] as string[],
    target: inner.target,
    threads: 1,
    tensor: (type) => counted(inner.tensor(type)),
    compile: async (graph, options) => {
      const executable = counted(await inner.compile(graph, options));
      const run = executable.run.bind(executable);
      executable.run = () => {
        device.runs.push(graph.name);
        run();
      };
      return executable;
    },
    close: () => inner.close(),
  } as CountingDevice;
  return device;
}

/** All that a `LanguageModel` is made of. */
export interface TinyModel {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly parameters: DeviceParameters;
  readonly device: Device;
}

/** A model of random weights on a device. */
export function tinyModel(
  device: Device,
  architecture: keyof typeof TINY = "llama",
  sizes: PlainConfig = {},
  tokenizer: Tokenizer = tinyTokenizer,
): TinyModel {
  const model = createModel({ architecture, ...TINY[architecture], vocabSize: tokenizer.vocabSize, ...sizes });
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    fillParameter(specs.get(path)!, path, 5, tensor.f32()),
  );
  return { model, tokenizer, parameters, device };
}
