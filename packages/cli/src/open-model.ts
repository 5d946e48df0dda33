// From a path on the command line to a model in the memory of a device: what `generate` and `eval` start with.

import { createDevice } from "@fidelity/alex/node";
import { createInterpreter } from "@fidelity/core";
import type { Device } from "@fidelity/core";
import { freeParameters } from "@fidelity/models";
import type { LanguageModel, LanguageModelOptions } from "@fidelity/run";
import { languageModelOf, OpenModel, openModel } from "@fidelity/run/node";
import type { ImportProgress, ModelInfo, OpenModelOptions } from "@fidelity/run/node";
import { finishCheckpoint } from "@fidelity/train";
import { UsageError } from "./errors.ts";
import type { DeviceChoice, Target } from "./options.ts";
import { remark } from "./output.ts";
import { prebuiltBeside } from "./run-folder.ts";
import { progressBar } from "./table.ts";

/**
 * Makes the device of --target and --threads. The interpreter and a GPU have one thread, whatever is asked for. Throws
 * `ToolMissingError` when native code cannot be made here, with what to install, and `CudaUnavailableError`.
 */
export function openDevice(
  target: Target,
  threads: number,
  { prebuilt, pin }: DeviceChoice = {},
  model?: string,
): Device {
  if (prebuilt !== undefined && target !== "native") {
    throw new UsageError("--prebuilt holds native code", { expected: "--target native", got: `--target ${target}` });
  }
  if (target === "interpreter") return createInterpreter();
  if (target === "cuda") return createDevice({ target });
  const device = createDevice({ threads, target, pin: pin ?? false, ...prebuiltFolder(prebuilt, model) });
  if (device.pinning.reason !== undefined) remark(`threads are not pinned: ${device.pinning.reason}`);
  return device;
}

function prebuiltFolder(prebuilt: DeviceChoice["prebuilt"], model: string | undefined): { readonly prebuilt?: string } {
  if (prebuilt === undefined) return {};
  if (prebuilt !== true) return { prebuilt };
  if (model !== undefined) return { prebuilt: prebuiltBeside(model) };
  throw new UsageError("--prebuilt needs a folder here", { hint: "give the --out of fidelity build" });
}

export interface LoadOptions extends DeviceChoice, LanguageModelOptions {
  readonly target: Target;
  readonly threads: number;
  /** Path of a llama2.c tokenizer file, for models that do not hold their own. */
  readonly tokenizer?: string;
}

/**
 * Opens a model file or a checkpoint, of which the parameters are those that its run would save now: what some
 * estimators and optimisers train is not yet that. Throws what `openModel` and `finishCheckpoint` throw.
 */
export async function openTrained(path: string, device: Device, options: OpenModelOptions = {}): Promise<OpenModel> {
  const opened = await openModel(path, device, options);
  if (opened.info.kind !== "checkpoint") return opened;
  try {
    const finished = await finishCheckpoint(path, device, opened.model);
    if (finished === undefined) return opened;
    const release = (): void => {
      freeParameters(finished);
      opened.close();
    };
    return new OpenModel(opened.info, finished, opened.how, release);
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** How far the weights of another program's file are, for those that take time. */
export function showImport({ parameter, done, total }: ImportProgress): void {
  if (!process.stderr.isTTY) return;
  const isLast = done === total - 1;
  process.stderr.write(isLast ? "\r\x1b[K" : `\r\x1b[K${progressBar(done, total)} ${parameter}`);
}

/** Loads a model file, gives it to `use`, and frees everything. Throws what `openModel` and `use` throw. */
export async function withModel<T>(
  path: string,
  options: LoadOptions,
  use: (loaded: LanguageModel, info: ModelInfo) => Promise<T>,
): Promise<T> {
  const started = performance.now();
  const device = openDevice(options.target, options.threads, options, path);
  try {
    const opened = await openTrained(path, device, { tokenizer: options.tokenizer, onProgress: showImport });
    if (opened.tokenizer === undefined) {
      opened.close();
      throw new UsageError("this model needs its tokenizer", {
        where: path,
        expected: "--tokenizer FILE, the vocabulary that the model was trained with",
        hint: "it lies beside the model and is called tokenizer.bin, tok512.bin or tokenizer.json",
      });
    }
    const loadSeconds = (performance.now() - started) / 1000;
    await using loaded = languageModelOf(opened, device, { ...options, loadSeconds });
    return await use(loaded, opened.info);
  } finally {
    await device.close();
  }
}
