// Tiny models with random weights, for tests of what runs them.

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
