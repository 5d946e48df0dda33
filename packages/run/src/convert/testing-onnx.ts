// Small models with weights that follow from a seed, for the tests of what is written as ONNX.

import type { HostTensor, Tensor, Tree } from "@fidelity/core";
import { interpret, trace } from "@fidelity/core";
import { encodeValues } from "@fidelity/formats";
import { createModel, fillParameter, namedParameters, parameterTypes } from "@fidelity/models";
import type { Model } from "@fidelity/models";
import type { Shape } from "@fidelity/units";
import { onnxOfModel } from "./onnx-model.ts";

const SIZES = { vocabSize: 24, dim: 16, hiddenDim: 32, layerCount: 2, headCount: 4, contextLength: 32 };

/** Architectures that have a form in ONNX, by a name that a test can have. */
export const ONNX_MODELS: Readonly<Record<string, Readonly<Record<string, number | boolean>>>> = {
  llama: { ...SIZES, keyValueHeadCount: 2 },
  qwen2: { ...SIZES, keyValueHeadCount: 2 },
  qwen3: { ...SIZES, keyValueHeadCount: 2 },
  gemma2: { ...SIZES, keyValueHeadCount: 2, window: 4 },
  gemma3: { ...SIZES, keyValueHeadCount: 2, window: 4 },
  bitnet: { ...SIZES, keyValueHeadCount: 2 },
  bert: SIZES,
};

export const ONNX_TEST_TOKENS: readonly number[] = [3, 10, 17, 0, 7, 14, 21, 4, 11];

export function onnxTestModel(architecture: string): Model {
  return createModel({ ...ONNX_MODELS[architecture], architecture });
}

/** The numbers of a parameter. */
function values(model: Model, path: string): Float32Array {
  const { leaf } = namedParameters(model.parameters).find((named) => named.path === path)!;
  const numbers = new Float32Array(leaf.shape.reduce((count, dim) => count * dim, 1));
  fillParameter(leaf, path, 3, numbers);
  // Larger than a model begins with, so that errors in attention show.
  return leaf.shape.length > 1 ? numbers.map((value) => 8 * value) : numbers;
}

/** The file. */
export function onnxTestFile(model: Model): Uint8Array {
  const weights = namedParameters(model.parameters).map(({ path: name, leaf: { shape } }) => {
    return { name, dtype: "f32", shape, bytes: () => encodeValues("f32", shape, values(model, name)) } as const;
  });
  return onnxOfModel({ model, tokens: ONNX_TEST_TOKENS.length, weights });
}

/** What the model itself computes, by the interpreter: [1, tokens, ...]. */
export function ownResult(model: Model): HostTensor {
  const types: unknown = parameterTypes(model.parameters, { packed: false });
  const tokens = { dtype: "i32", shape: [1, ONNX_TEST_TOKENS.length] } as const;
  const { graph, inputPaths } = trace(
    "own",
    (parameters, text) => model.forward(parameters as Tree<Tensor>, text as Tensor<Shape, "i32">).logits,
    [types, tokens],
  );
  const given = graph.parameters.map(({ type }, i) => {
    const numbers = inputPaths[i] === "1" ? ONNX_TEST_TOKENS : values(model, inputPaths[i].slice(2));
    return { type, data: Float64Array.from(numbers) };
  });
  return interpret(graph, given)[0];
}
