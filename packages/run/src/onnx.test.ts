// ONNX files of PyTorch's exporter, compiled: what onnxruntime computed for them is in goldens/onnx of the room formats,
// whose own tests compute them with the interpreter.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { jit } from "@fidelity/core";
import { onnxFunction, readOnnx } from "@fidelity/formats/onnx";

interface Numbers {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}
type Golden = Readonly<Record<"feeds" | "outputs", Readonly<Record<string, Numbers>>>>;

const folder = new URL("../../formats/goldens/onnx/", import.meta.url);
const { models } = JSON.parse(readFileSync(new URL("goldens.json", folder), "utf8")) as {
  readonly models: Readonly<Record<string, Golden>>;
};

for (const [file, { feeds, outputs }] of Object.entries(models)) {
  test(`${file}, compiled, computes what onnxruntime computes`, async () => {
    const onnx = onnxFunction(readOnnx(readFileSync(new URL(file, folder)), file));
    const inputs = onnx.inputTypes({ batch: 2, time: 7 });
    const device = createDevice({ threads: 1 });
    try {
      const compiled = await jit(device, onnx.apply, [onnx.parameterTypes, inputs]);
      const weights = Object.keys(onnx.parameterTypes).map((name) => [name, onnx.parameterValues(name)]);
      const given = Object.entries(feeds).map(([name, { values }]) => [name, values]);
      const results = compiled(Object.fromEntries(weights), Object.fromEntries(given)) as Record<
        string,
        ArrayLike<number>
      >;
      for (const [name, { values }] of Object.entries(outputs)) {
        assert.equal(results[name].length, values.length, name);
        values.forEach((value, i) => {
          const error = Math.abs(results[name][i] - value);
          assert.ok(error <= 1e-4 * Math.max(1, Math.abs(value)), `${name}[${i}]: ${results[name][i]}, not ${value}`);
        });
      }
    } finally {
      await device.close();
    }
  });
}
