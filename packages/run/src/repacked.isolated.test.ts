// Ternary files of other programs: repacked once, mapped from then on, and made again where the kept file is damaged.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import {
  createModel,
  createParameters,
  fillParameter,
  logitsOf,
  namedParameters,
  parameterTypes,
} from "@fidelity/models";
import { convertModel, openModel, saveModel } from "./index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-repacked-"));
process.env.FIDELITY_CACHE_DIR = join(folder, "cache");
const device = createDevice({ threads: 1 });
after(async () => {
  await device.close();
  rmSync(folder, { recursive: true });
});

const gguf = join(folder, "ternary.gguf");
const kept = (): string[] => readdirSync(join(folder, "cache", "models")).filter((name) => name.endsWith(".fid"));

async function opened(
  keptBytesMin: number,
): Promise<{ how: string; made: number; logits: Float32Array; dtypes: string[] }> {
  let made = 0;
  using model = await openModel(gguf, device, { keptBytesMin, onProgress: () => made++ });
  assert.equal(model.parameters.get("blocks.0.attention.query.weight")?.type.dtype, "ternary");
  for await (const rows of logitsOf(model.model, model.parameters, device, [[1, 2, 3]])) {
    const dtypes = Array.from(model.parameters.values(), ({ type }) => type.dtype);
    return { how: model.how, made, logits: rows.slice(), dtypes };
  }
  return assert.fail("no logits");
}

test("a ternary file is repacked once and mapped afterwards", async () => {
  const model = createModel({
    architecture: "bitnet",
    dim: 256,
    hiddenDim: 256,
    layerCount: 1,
    headCount: 2,
    vocabSize: 8,
    contextLength: 8,
  });
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    fillParameter(specs.get(path)!, path, 2, tensor.f32()),
  );
  const original = join(folder, "ternary.fid");
  await saveModel(original, { device, model, parameters, tokenizer: undefined, packed: true });
  const report = await convertModel(original, gguf, { format: "gguf", dtype: "tq2_0" });
  assert.ok(report.tensors.some(({ from, to }) => from === "ternary" && to === "tq2_0"));

  const small = await opened(Infinity);
  assert.equal(small.how, "read");
  const first = await opened(0);
  assert.ok(first.made > 0);
  assert.equal(kept().length, 1);
  const second = await opened(0);
  assert.equal(second.made, 0);
  assert.deepEqual([first.how, second.how], [second.how, second.how]);
  assert.deepEqual(first.dtypes, small.dtypes);
  assert.deepEqual(first.logits, small.logits);
  assert.deepEqual(second.logits, small.logits);

  const path = join(folder, "cache", "models", kept()[0]);
  truncateSync(path, statSync(path).size - 1);
  const again = await opened(0);
  assert.ok(again.made > 0);
  assert.deepEqual(again.logits, small.logits);
});
