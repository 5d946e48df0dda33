// From a path on the command line to a model in the memory of a device: what `generate` and `eval` start with.

import { createDevice } from "@fidelity/alex/node";
import { createInterpreter } from "@fidelity/core";
import type { Device } from "@fidelity/core";
import type { DeviceParameters, Model, Tokenizer } from "@fidelity/models";
import { openModel } from "@fidelity/train";
import type { ModelInfo } from "@fidelity/train";
import { UsageError } from "./errors.ts";
import type { Target } from "./options.ts";

/**
 * Makes the device of --target and --threads. The interpreter and a GPU have one thread, whatever is asked for. Throws
 * `ToolMissingError` when native code cannot be made here, with what to install, and `CudaUnavailableError`.
 */
export function openDevice(target: Target, threads: number): Device {
  if (target === "interpreter") return createInterpreter();
  return target === "cuda" ? createDevice({ target }) : createDevice({ threads, target });
}

/** A model with its vocabulary and its parameters on a device; what it takes to generate and to evaluate. */
export interface LoadedModel {
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  /** As the file has them: float32, or with ternary weights packed. */
  readonly parameters: DeviceParameters;
  readonly device: Device;
  readonly info: ModelInfo;
}

export interface LoadOptions {
  readonly target: Target;
  readonly threads: number;
  /** Path of a llama2.c tokenizer file, for models that do not hold their own. */
  readonly tokenizer?: string;
}

/** Loads a model file, gives it to `use`, and frees everything. Throws what `openModel` and `use` throw. */
export async function withModel<T>(
  path: string,
  options: LoadOptions,
  use: (loaded: LoadedModel) => Promise<T>,
): Promise<T> {
  const device = openDevice(options.target, options.threads);
  try {
    using opened = await openModel(path, device, { tokenizer: options.tokenizer });
    const { model, tokenizer, parameters, info } = opened;
    if (tokenizer !== undefined) return await use({ model, tokenizer, parameters, device, info });
    throw new UsageError("this model needs its tokenizer", {
      where: path,
      expected: "--tokenizer FILE, the vocabulary that the model was trained with",
      hint: "it lies beside the model and is called tokenizer.bin or tok512.bin",
    });
  } finally {
    await device.close();
  }
}
