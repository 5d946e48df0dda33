// A model as an ONNX file: its forward over a whole sequence of a fixed length, without a past, traced and written op
// by op. A causal model gives the logits of every position, so that a shorter text is read by filling up its end; an
// encoder gives the vectors of its tokens, and its texts have the length that was chosen.

import { trace } from "@fidelity/core";
import type { Tensor, TensorType, Tree } from "@fidelity/core";
import type { TensorToWrite } from "@fidelity/formats";
import { exportOnnx } from "@fidelity/formats/onnx";
import { parameterTypes } from "@fidelity/models";
import type { Model } from "@fidelity/models";
import { FidelityError } from "@fidelity/units";
import type { Shape } from "@fidelity/units";
import { ModelFileError } from "../errors.ts";

/** What to write. */
export interface OnnxModelInput {
  readonly model: Model;
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** The parameters by their paths, in types that ONNX has; computed with in float32. */
  readonly weights: readonly TensorToWrite[];
  readonly metadata?: Readonly<Record<string, string>>;
}

function outputName(model: Model): string {
  return model.encoder === undefined ? "logits" : "last_hidden_state";
}

/**
 * The bytes of an ONNX file with input `input_ids`, int64 [1, tokens], and output `logits` [1, tokens, vocabulary], or
 * `last_hidden_state` [1, tokens, dim]. Throws `ModelFileError` where the model has no such sequence, or is made of
 * ops that have no form in ONNX.
 */
export function onnxOfModel({ model, tokens, weights: given, metadata }: OnnxModelInput): Uint8Array {
  const limit = model.contextLimit ?? Infinity;
  if (!(Number.isInteger(tokens) && tokens >= 1 && tokens <= limit)) {
    throw new ModelFileError("an ONNX file has sequences of one length", {
      expected: `a whole number of tokens, from 1 to ${limit}`,
      got: String(tokens),
      hint: "choose another --context",
    });
  }
  const types: unknown = parameterTypes(model.parameters, { packed: false });
  const tokensType: TensorType = { dtype: "i32", shape: [1, tokens] };
  const forward = (parameters: unknown, text: unknown): Tensor =>
    model.forward(parameters as Tree<Tensor>, text as Tensor<Shape, "i32">).logits;
  const weights = new Map(given.map((weight) => [`0.${weight.name}`, weight]));
  try {
    const traced = trace(`${model.architecture} ${tokens}`, forward, [types, tokensType]);
    return exportOnnx({
      traced,
      weights,
      inputNames: { 1: "input_ids" },
      outputNames: { "": outputName(model) },
      metadata,
    });
  } catch (error) {
    if (!(error instanceof FidelityError)) throw error;
    throw new ModelFileError(`a ${model.architecture} model cannot be written as ONNX: ${error.summary}`, {
      ...error.details,
      cause: error,
    });
  }
}
