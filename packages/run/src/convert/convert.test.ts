// Conversions: the model that comes out computes what the one that went in did, and a report that says how nearly.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import { encodeValues } from "@fidelity/formats";
import type { SourceDtype } from "@fidelity/formats";
import { openGguf, writeGgufFile } from "@fidelity/formats/node";
import {
  createModel,
  createParameters,
  fillParameter,
  logitsOf,
  namedParameters,
  parameterTypes,
} from "@fidelity/models";
import { convertModel, openModel, saveModel } from "../index.node.ts";
import type { ConvertReport } from "../index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-convert-"));
after(() => rmSync(folder, { recursive: true }));
const device = createInterpreter();
const tokens = [3, 1, 4, 1, 5];

async function logits(path: string): Promise<number[]> {
  using opened = await openModel(path, device);
  const rows: number[] = [];
  for await (const piece of logitsOf(opened.model, opened.parameters, device, [tokens])) rows.push(...piece);
  return rows;
}

async function savedModel(name: string, config: object, packed: boolean): Promise<string> {
  const model = createModel(config);
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    fillParameter(specs.get(path)!, path, 5, tensor.f32()),
  );
  const path = join(folder, name);
  await saveModel(path, { device, model, parameters, tokenizer: undefined, packed });
  return path;
}

const llama = {
  architecture: "llama",
  dim: 64,
  hiddenDim: 96,
  layerCount: 2,
  headCount: 4,
  keyValueHeadCount: 2,
  vocabSize: 40,
  contextLength: 16,
  tiedEmbeddings: false,
};

function changes({ tensors }: ConvertReport): string[] {
  return [...new Set(tensors.map(({ from, to }) => `${from} -> ${to}`))].toSorted();
}

test("a container goes to GGUF and back", async () => {
  const original = await savedModel("llama.fid", llama, false);
  const expected = await logits(original);
  const [gguf, back] = [join(folder, "llama.gguf"), join(folder, "back.fid")];
  const report = await convertModel(original, gguf, { format: "gguf" });
  assert.deepEqual(changes(report), ["f32 -> f32"]);
  assert.ok(report.tensors.every(({ largestError }) => largestError === 0));
  assertClose(await logits(gguf), expected);
  await convertModel(gguf, back, { format: "fidelity" });
  assertClose(await logits(back), expected);
});

function assertClose(got: readonly number[], expected: readonly number[]): void {
  assert.equal(got.length, expected.length);
  for (const [i, value] of got.entries()) assert.ok(Math.abs(value - expected[i]) < 1e-5, `${value}, ${expected[i]}`);
}

test("packed weights stay packed, and their scale is kept", async () => {
  const config = { architecture: "matmul-free", dim: 16, hiddenDim: 32, layerCount: 2, vocabSize: 40 };
  const original = await savedModel("ternary.fid", config, true);
  const copy = join(folder, "copy.fid");
  const report = await convertModel(original, copy, { format: "fidelity" });
  assert.ok(changes(report).includes("ternary -> ternary"));
  assert.deepEqual(await logits(copy), await logits(original));
});

test("a GGUF file of any architecture gets other types, and keeps its metadata", async () => {
  const input = join(folder, "unknown.gguf");
  const values = Float32Array.from({ length: 64 * 96 }, (_, i) => Math.sin(i));
  const tensor = (name: string, dtype: SourceDtype, shape: number[]) => {
    const data = values.subarray(
      0,
      shape.reduce((a, b) => a * b, 1),
    );
    return { name, dtype, shape, bytes: () => encodeValues(dtype, shape, data) };
  };
  writeGgufFile(input, {
    metadata: new Map([["general.architecture", { type: "string", value: "perceptron" }]]),
    tensors: [tensor("weight", "f16", [96, 64]), tensor("odd", "f16", [64, 40]), tensor("bias", "f32", [96])],
  });
  const output = join(folder, "smaller.gguf");
  const report = await convertModel(input, output, { format: "gguf", dtype: "q4_0" });
  assert.deepEqual(
    report.tensors.map(({ name, to }) => [name, to]),
    [
      ["weight", "q4_0"],
      ["odd", "f16"], // rows that are no whole blocks
      ["bias", "f32"],
    ],
  );
  const [weight, odd] = report.tensors;
  assert.ok(weight.relativeError > 0.01 && weight.relativeError < 0.2, `${weight.relativeError}`);
  assert.equal(odd.largestError, 0);
  assert.ok(report.bytesAfter < report.bytesBefore);
  using opened = openGguf(output);
  assert.equal(opened.source.config["general.architecture"], "perceptron");
});

test("a conversion that is stopped leaves nothing behind", async () => {
  const original = await savedModel("stopped.fid", llama, false);
  const before = readdirSync(folder).toSorted();
  const stop = new AbortController();
  const onProgress = (done: number): void => {
    if (done === 3) stop.abort();
  };
  for (const [name, format] of [
    ["stopped.gguf", "gguf"],
    ["stopped-2.fid", "fidelity"],
  ] as const) {
    const converted = convertModel(original, join(folder, name), { format, onProgress, signal: stop.signal });
    await assert.rejects(converted, { name: "AbortError" });
  }
  assert.deepEqual(readdirSync(folder).toSorted(), before);
});
