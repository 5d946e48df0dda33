// The reader beside onnxruntime: every operator, and files that PyTorch's exporter wrote (goldens/onnx). The interpreter
// computes here; compiled code does in the room `run`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { interpret, trace } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { onnxFunction, readOnnx } from "./index.ts";
import { OPERATOR_MODELS } from "./testing-operators.ts";
import type { OnnxFeed } from "./testing-operators.ts";
import { writeOnnx } from "./write.ts";

interface Golden {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}
interface Goldens {
  readonly models: Readonly<
    Record<
      string,
      { readonly feeds: Readonly<Record<string, OnnxFeed>>; readonly outputs: Readonly<Record<string, Golden>> }
    >
  >;
  readonly operators: Readonly<Record<string, Readonly<Record<string, Golden>>>>;
}

const folder = new URL("../../goldens/onnx/", import.meta.url);
const goldens = JSON.parse(readFileSync(new URL("goldens.json", folder), "utf8")) as Goldens;

/** What the interpreter computes for an ONNX file. */
function run(bytes: Uint8Array, feeds: Readonly<Record<string, OnnxFeed>>): Record<string, Golden> {
  const model = readOnnx(bytes);
  const onnx = onnxFunction(model);
  const dims: Record<string, number> = {};
  for (const { name, shape = [] } of model.inputs) {
    for (const [axis, dim] of shape.entries()) if (typeof dim === "string") dims[dim] = feeds[name].shape[axis];
  }
  const inputs = onnx.inputTypes(dims);
  const { graph, inputPaths, resultPaths } = trace("onnx", onnx.apply, [onnx.parameterTypes, inputs]);
  const given = graph.parameters.map(({ type }: Tensor, i: number) => {
    const [which, name] = [inputPaths[i][0], inputPaths[i].slice(2)];
    return { type, data: which === "0" ? onnx.parameterValues(name) : Float64Array.from(feeds[name].values) };
  });
  const results = interpret(graph, given).map(({ type, data }, i): [string, Golden] => {
    return [resultPaths[i], { shape: type.shape, values: Array.from(data) }];
  });
  return Object.fromEntries(results);
}

function assertClose(actual: Readonly<Record<string, Golden>>, expected: Readonly<Record<string, Golden>>): void {
  assert.deepEqual(Object.keys(actual).toSorted(), Object.keys(expected).toSorted());
  for (const [name, { shape, values }] of Object.entries(expected)) {
    assert.deepEqual(actual[name].shape, shape, name);
    for (const [i, value] of values.entries()) {
      const error = Math.abs(actual[name].values[i] - value);
      assert.ok(error <= 1e-4 * Math.max(1, Math.abs(value)), `${name}[${i}]: ${actual[name].values[i]}, not ${value}`);
    }
  }
}

for (const [file, { feeds, outputs }] of Object.entries(goldens.models)) {
  test(`${file} computes what onnxruntime computes`, () => {
    assertClose(run(readFileSync(new URL(file, folder)), feeds), outputs);
  });
}

for (const { name, model, feeds } of OPERATOR_MODELS) {
  test(`operator ${name} computes what onnxruntime computes`, () => {
    assertClose(run(writeOnnx(model), feeds), goldens.operators[name]);
  });
}
