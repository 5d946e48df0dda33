// Weights that stay as a file stores them: which do, that they are computed with as float32 of the same numbers are, by
// activations rounded to 8 bits where they are of blocks, and that they are kept by Fidelity's own files.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { BLOCK_FORMATS, createInterpreter, fileBlock } from "@fidelity/core";
import type { BlockDtype, Device, HalfDtype } from "@fidelity/core";
import { InvalidTensorError } from "@fidelity/formats";
import { openGguf } from "@fidelity/formats/node";
import {
  createModel,
  createParameters,
  fillParameter,
  logitsOf,
  namedParameters,
  parameterTypes,
} from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import { convertModel, describeModel, memoryFit, openModel, openValues, saveModel } from "./index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-narrow-"));
const wasm = createDevice({ threads: 2 });
const interpreter = createInterpreter();
after(async () => {
  await wasm.close();
  rmSync(folder, { recursive: true });
});
const tokens = [3, 1, 4, 1, 5, 9, 2];

const HALVES: readonly HalfDtype[] = ["bf16", "f16"];
const BLOCKS = Object.keys(BLOCK_FORMATS) as BlockDtype[];

/** A small model with rows of whole blocks. */
function modelFor(dtype: HalfDtype | BlockDtype): Model {
  const block = isBlock(dtype) ? BLOCK_FORMATS[dtype].blockColumns : 32;
  return createModel({
    architecture: "llama",
    dim: Math.max(64, block),
    hiddenDim: Math.max(96, block),
    layerCount: 1,
    headCount: 4,
    keyValueHeadCount: 2,
    vocabSize: 40,
    contextLength: 16,
    tiedEmbeddings: true,
  });
}

function isBlock(dtype: HalfDtype | BlockDtype): dtype is BlockDtype {
  return dtype in BLOCK_FORMATS;
}

/** A GGUF file with the matrices of a small model in one type. */
async function written(dtype: HalfDtype | BlockDtype): Promise<string> {
  const model = modelFor(dtype);
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const parameters = createParameters(
    interpreter,
    parameterTypes(model.parameters, { packed: false }),
    (tensor, path) => fillParameter(specs.get(path)!, path, 7, tensor.f32()),
  );
  const [saved, path] = [join(folder, `${dtype}-source.fid`), join(folder, `${dtype}.gguf`)];
  await saveModel(saved, { device: interpreter, model, parameters, tokenizer: undefined, packed: false });
  await convertModel(saved, path, { format: "gguf", dtype });
  return path;
}

/** The logits of a text, and those of its last token after the others. */
async function logits(device: Device, of: Model, parameters: DeviceParameters): Promise<number[]> {
  const rows: number[] = [];
  for await (const piece of logitsOf(of, parameters, device, [tokens, [6]])) rows.push(...piece);
  return rows;
}

/** The same with float32 of the numbers that a file has. */
async function expandedLogits(path: string): Promise<number[]> {
  using source = openValues(path);
  const parameters = createParameters(
    interpreter,
    parameterTypes(source.model.parameters, { packed: false }),
    (to, at) => to.f32().set(source.parameters.get(at)!.values()),
  );
  return await logits(interpreter, source.model, parameters);
}

function matrixTypes(parameters: DeviceParameters): string[] {
  const matrices = [...parameters.values()].filter(({ type }) => type.shape.length === 2);
  return [...new Set(matrices.map(({ type }) => type.dtype))];
}

/** The largest difference, relative to the largest of the expected numbers. */
function errorOf(actual: readonly number[], expected: readonly number[]): number {
  assert.equal(actual.length, expected.length);
  const most = Math.max(...expected.map(Math.abs));
  return Math.max(...actual.map((value, i) => Math.abs(value - expected[i]))) / most;
}

for (const dtype of [...HALVES, ...BLOCKS]) {
  test(`${dtype}: a file's weights stay, and give what float32 gives`, async () => {
    const path = await written(dtype);
    const expected = await expandedLogits(path);
    for (const device of [interpreter, wasm]) {
      using opened = await openModel(path, device);
      const kept = dtype === "f16" && device.target === "wasm" ? "f32" : dtype;
      assert.deepEqual(matrixTypes(opened.parameters), [kept]);
      const error = errorOf(await logits(device, opened.model, opened.parameters), expected);
      assert.ok(error < (isBlock(dtype) ? 0.05 : 1e-5), `${device.target}: ${error}`);
      const sizeBytes = [...opened.parameters.values()].reduce((sum, tensor) => sum + tensor.bytes().byteLength, 0);
      assert.equal(memoryFit(describeModel(path), device.target).parameterBytes, sizeBytes);
    }
  });

  test(`${dtype}: activations that are not rounded give exactly that`, async () => {
    const path = await written(dtype);
    using opened = await openModel(path, wasm, { exactActivations: true });
    const error = errorOf(await logits(wasm, opened.model, opened.parameters), await expandedLogits(path));
    assert.ok(error < 1e-5, String(error));
  });

  test(`${dtype}: Fidelity's own file keeps them too`, async () => {
    using opened = await openModel(await written(dtype), interpreter);
    const [path, { parameters }] = [join(folder, `${dtype}.fid`), opened];
    await saveModel(path, {
      device: interpreter,
      model: opened.model,
      parameters,
      tokenizer: undefined,
      packed: false,
    });
    using again = await openModel(path, wasm);
    for (const [name, tensor] of parameters) {
      assert.deepEqual(again.parameters.get(name)!.type, tensor.type);
      assert.ok(Buffer.from(again.parameters.get(name)!.bytes()).equals(Buffer.from(tensor.bytes())), name);
    }
  });

  test(`${dtype}: a number that is not finite is named`, async () => {
    const path = await written(dtype);
    const file = readFileSync(path);
    using source = openGguf(path);
    const tensor = source.source.tensors.find(({ name }) => name === "blk.0.ffn_up.weight")!;
    const half = isBlock(dtype) ? fileBlock(dtype).halves.at(-1)! : 0;
    file.writeUInt16LE(dtype === "bf16" ? 0x7f80 : 0xfc00, tensor.byteOffset + half);
    const damaged = join(folder, `${dtype}-damaged.gguf`);
    writeFileSync(damaged, file);
    await assert.rejects(openModel(damaged, interpreter), (error) => {
      return error instanceof InvalidTensorError && /ffn_up.*not finite/u.test(error.message);
    });
  });
}
