// `open`: from a path to a model that generates.

import { createDevice } from "@fidelity/alex/node";
import type { DeviceTarget } from "@fidelity/alex/node";
import type { Device } from "@fidelity/core";
import { chatTemplateOf } from "./chat-template.node.ts";
import { ModelFileError } from "./errors.ts";
import { freeBytes } from "./free-memory.ts";
import { LanguageModel } from "./language-model.ts";
import type { LanguageModelOptions } from "./language-model.ts";
import { requirePlan } from "./memory-fit.ts";
import { describeModel, openModel } from "./model-file.node.ts";
import type { OpenModel, OpenModelOptions } from "./model-file.node.ts";

export interface OpenOptions extends OpenModelOptions, LanguageModelOptions {
  /** Where the model runs; it stays the caller's. Default: a device of its own. */
  readonly device?: Device;
  /** What a device of its own compiles to: "wasm" (the default), "native", "cuda", or "auto". */
  readonly target?: DeviceTarget | "auto" | "cuda";
  /** Threads of a device of its own. Default: as many as the machine has processors. */
  readonly threads?: number;
}

/**
 * Opens a model file of any format, to generate with it. Close it to give everything back. Throws what `openModel` and
 * `createDevice` throw, `ModelFileError` for a model without a tokenizer, and `OutOfRoomError` where there is no memory
 * for the `context` or for as many generations at a time as it is asked for.
 */
export async function open(path: string, options: OpenOptions = {}): Promise<LanguageModel> {
  const started = performance.now();
  const { device: given, target, threads } = options;
  const device = given ?? (target === "cuda" ? createDevice({ target }) : createDevice({ target, threads }));
  const freeDevice = async (): Promise<void> => (given === undefined ? device.close() : undefined);
  try {
    const { context, parallel } = options;
    if ((context ?? parallel) !== undefined) requirePlan(describeModel(path, options), device.target, options);
    const opened = await openModel(path, device, options);
    return languageModelOf(
      opened,
      device,
      { ...options, loadSeconds: (performance.now() - started) / 1000 },
      freeDevice,
    );
  } catch (error) {
    await freeDevice();
    throw error;
  }
}

/**
 * An opened file as a model that generates, which closes it. Throws `ModelFileError`, and closes it, where it has no
 * tokenizer.
 */
export function languageModelOf(
  opened: OpenModel,
  device: Device,
  options: LanguageModelOptions & { readonly loadSeconds?: number } = {},
  onClosed: () => Promise<void> = () => Promise.resolve(),
): LanguageModel {
  const { model, tokenizer, parameters, info } = opened;
  if (tokenizer === undefined) {
    opened.close();
    throw new ModelFileError("this model needs its tokenizer", {
      where: info.path,
      expected: "a file that holds one, or the option tokenizer: the vocabulary that the model was trained with",
      hint: "it lies beside the model and is called tokenizer.bin, tok512.bin or tokenizer.json",
    });
  }
  const release = async (): Promise<void> => {
    opened.close();
    await onClosed();
  };
  const { loadSeconds } = options;
  const chatTemplate = () => chatTemplateOf(info);
  const parts = { model, tokenizer, parameters, device, chatTemplate, loadSeconds, freeBytes, release };
  try {
    return new LanguageModel(parts, options);
  } catch (error) {
    opened.close();
    throw error;
  }
}
