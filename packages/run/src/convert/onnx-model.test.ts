// Models written as ONNX: what onnxruntime computed for the files (goldens/onnx.json), what our own reader makes of them,
// interpreted and compiled, and what the model computes itself, agree.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { jit } from "@fidelity/core";
import { onnxFunction, readOnnx } from "@fidelity/formats/onnx";
import { createModel, sampleConfigs } from "@fidelity/models";
import { ModelFileError } from "../errors.ts";
import { onnxOfModel } from "./onnx-model.ts";
import { ONNX_MODELS, ONNX_TEST_TOKENS, onnxTestFile, onnxTestModel, ownResult } from "./testing-onnx.ts";

const goldens = JSON.parse(readFileSync(new URL("../../goldens/onnx.json", import.meta.url), "utf8")) as Readonly<
  Record<string, readonly number[]>
>;
const device = createDevice({ threads: 1 });
after(() => device.close());

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(actual.length, expected.length, what);
  const worst = Array.from(actual).reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
  assert.ok(worst <= 1e-4, `${what}: differs by ${worst}`);
}

for (const architecture of Object.keys(ONNX_MODELS)) {
  test(`${architecture} as ONNX computes what onnxruntime and the model itself compute`, async () => {
    const model = onnxTestModel(architecture);
    const own = ownResult(model);
    assertClose(own.data, goldens[architecture], "onnxruntime");
    const file = readOnnx(onnxTestFile(model));
    assert.deepEqual(file.inputs, [{ name: "input_ids", dtype: "i64", shape: [1, ONNX_TEST_TOKENS.length] }]);
    const onnx = onnxFunction(file);
    const compiled = await jit(device, onnx.apply, [onnx.parameterTypes, onnx.inputTypes()]);
    const weights = Object.keys(onnx.parameterTypes).map((name) => [name, onnx.parameterValues(name)]);
    const results = compiled(Object.fromEntries(weights), { input_ids: ONNX_TEST_TOKENS }) as Record<
      string,
      Float32Array
    >;
    const output = model.encoder === undefined ? "logits" : "last_hidden_state";
    assertClose(results[output], own.data, "our reader");
    compiled.free();
  });
}

test("a model with a loop over time, and a sequence that is too long, are refused by name", () => {
  const mamba = createModel({ ...sampleConfigs["mamba"], architecture: "mamba", vocabSize: 24 });
  const refused = (text: RegExp) => (error: unknown) => error instanceof ModelFileError && text.test(error.message);
  assert.throws(() => onnxOfModel({ model: mamba, tokens: 4, weights: [] }), refused(/mamba model[^]*no form in ONNX/));
  const llama = onnxTestModel("llama");
  assert.throws(() => onnxOfModel({ model: llama, tokens: 33, weights: [] }), refused(/from 1 to 32/));
});
