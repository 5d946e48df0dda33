// Texts as vectors, by an encoder such as BERT.

import { encode, ModelKindError } from "@fidelity/models";
import type { DeviceParameters, Model, Tokenizer } from "@fidelity/models";
import type { Device } from "@fidelity/core";

export interface EmbedOptions {
  /** How the vectors of a text's tokens become one. Default: the model's own way. */
  readonly pooling?: "mean" | "first";
  /** Makes vectors of length 1, so that their dot product is the cosine of their angle. Default: true. */
  readonly normalize?: boolean;
}

export interface Embedding {
  /** [dim] */
  readonly vector: Float32Array;
  readonly tokens: number;
}

/** How an encoder makes one vector of a text. Throws `ModelKindError` for a language model. */
export function poolingOf({ encoder, architecture }: Model): "mean" | "first" {
  if (encoder !== undefined) return encoder.pooling;
  throw new ModelKindError("embed needs an encoder", {
    expected: "a model of an architecture such as bert",
    got: `a language model of architecture ${architecture}`,
    hint: "of those that fidelity architectures shows, encoders have no state",
  });
}

/** The vector of a text. Throws what `encode` of models throws. */
export async function embedText(
  {
    model,
    tokenizer,
    parameters,
    device,
  }: {
    readonly model: Model;
    readonly tokenizer: Tokenizer;
    readonly parameters: DeviceParameters;
    readonly device: Device;
  },
  text: string,
  { pooling = poolingOf(model), normalize = true }: EmbedOptions,
): Promise<Embedding> {
  const tokens = tokenizer.encode(text, { addBos: true, addEos: true });
  const values = await encode(model, parameters, device, tokens, pooling);
  return { vector: normalize ? unit(values) : values, tokens: tokens.length };
}

/** A vector of length 1 in the same direction; zeros stay zeros. */
function unit(values: Float32Array): Float32Array {
  const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? values : values.map((value) => value / length);
}
