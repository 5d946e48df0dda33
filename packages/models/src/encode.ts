// What an encoder computes for a text: the vectors of its tokens, one vector for all of them, or what a head makes of
// them.
//
// Leaves out: batches, and programs kept for the next text of the same length.

import type { Device, DeviceTensor, Tensor, TensorType, Tree } from "@fidelity/core";
import { trace } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { pool } from "./blocks/pooling.ts";
import type { DeviceParameters } from "./device_parameters.ts";
import { orderedParameters } from "./device_parameters.ts";
import type { EncoderHead, Model } from "./model.ts";
import { ModelKindError } from "./model.ts";
import { mapParameters } from "./parameters.ts";
import { ContextLimitError, TokenRangeError } from "./session.ts";

/** What to compute: "vectors" [tokens, dim], a pooled vector [dim], or a head's result. */
export type Encoding = "vectors" | "mean" | "first" | EncoderHead;

/**
 * Encodes a text of tokens. Throws `ModelKindError` for a model that is no encoder, `TokenRangeError` for what is no
 * token or an empty text, `ContextLimitError` for one that is too long, and `ModelConfigError` for a head that there is
 * not.
 */
export async function encode(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  tokens: ArrayLike<number>,
  encoding: Encoding = "vectors",
): Promise<Float32Array> {
  requireTokens(model, tokens);
  const types: unknown = mapParameters(model.parameters, (_spec, path) => parameters.get(path)!.type);
  const inputs = orderedParameters(model, parameters);
  const tokensType: TensorType = { dtype: "i32", shape: [1, tokens.length] };
  const { graph } = trace(
    `encode ${tokens.length}`,
    (tree, text) => encodingOf(model, encoding, tree as Tree<Tensor>, text as Tensor<Shape, "i32">),
    [types, tokensType],
  );
  const owned: { free(): void }[] = [];
  const allocate = (type: TensorType): DeviceTensor => {
    const tensor = device.tensor(type);
    owned.push(tensor);
    return tensor;
  };
  try {
    const executable = await device.compile(graph);
    owned.push(executable);
    const text = allocate(tokensType);
    const result = allocate(graph.results[0].type);
    text.i32().set(tokens);
    executable.bind([...inputs, text], [result]);
    executable.run();
    return result.f32().slice();
  } finally {
    for (const one of owned.reverse()) one.free();
  }
}

function encodingOf(
  model: Model,
  encoding: Encoding,
  parameters: Tree<Tensor>,
  tokens: Tensor<Shape, "i32">,
): Tensor<Shape, "f32"> {
  const vectors = model.forward(parameters, tokens).logits;
  if (encoding === "vectors") return vectors;
  if (encoding === "mean" || encoding === "first") return pool(vectors, encoding);
  return model.encoder!.head(encoding, parameters, vectors);
}

function requireTokens(model: Model, tokens: ArrayLike<number>): void {
  if (model.encoder === undefined) {
    throw new ModelKindError(`a ${model.architecture} model is not an encoder`, {
      expected: "an encoder, such as bert",
      got: `a language model of architecture ${model.architecture}`,
      hint: "open a session to read its logits",
    });
  }
  const limit = model.contextLimit ?? Infinity;
  if (tokens.length > limit) {
    throw new ContextLimitError("the text is longer than the model allows", {
      expected: `at most ${limit} tokens`,
      got: `${tokens.length} tokens`,
      hint: "cut the text into pieces",
    });
  }
  const wrong = Array.from(tokens).find((token) => !(Number.isInteger(token) && token >= 0 && token < model.vocabSize));
  if (tokens.length > 0 && wrong === undefined) return;
  throw new TokenRangeError(tokens.length === 0 ? "the text is empty" : "the model has no such token", {
    expected: `integers from 0 to ${model.vocabSize - 1}`,
    got: tokens.length === 0 ? "no tokens" : String(wrong),
    hint: "use the tokenizer that the model was trained with",
  });
}
