// Model files: what is saved is what is opened, in place where the device can, and everything else is refused by name.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { ChecksumError, TruncatedContainerError } from "@fidelity/barewire";
import { FileError, readContainerHeader, writeContainerFile } from "@fidelity/barewire/node";
import { createInterpreter } from "@fidelity/core";
import type { Device, TernaryDtype } from "@fidelity/core";
import { writeLlama2c } from "@fidelity/formats";
import {
  ArchitectureError,
  CharacterTokenizer,
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
} from "@fidelity/models";
import { packParameters, parameterTypes, writeVocabularyFile } from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import { ModelFileError } from "./index.ts";
import { describeModel, openModel, saveModel } from "./index.node.ts";

const base = mkdtempSync(join(tmpdir(), "fidelity-model-"));
const wasm = createDevice({ threads: 2 });
after(async () => {
  await wasm.close();
  rmSync(base, { recursive: true });
});
const tokenizer = CharacterTokenizer.fromTexts(["she sells sea shells by the sea shore"]);
const model = createModel({
  architecture: "matmul-free",
  dim: 16,
  hiddenDim: 32,
  layerCount: 2,
  vocabSize: tokenizer.vocabSize,
});

function initialised(device: Device, of: Model): DeviceParameters {
  const specs = new Map(namedParameters(of.parameters).map(({ path, leaf }) => [path, leaf]));
  return createParameters(device, parameterTypes(of.parameters, { packed: false }), (tensor, path) =>
    fillParameter(specs.get(path)!, path, 3, tensor.f32()),
  );
}

async function savedModel(name: string, packed: boolean | TernaryDtype): Promise<string> {
  const path = join(base, name);
  const parameters = initialised(wasm, model);
  await saveModel(path, { device: wasm, model, parameters, tokenizer, packed, metadata: { validationLoss: 1.5 } });
  return path;
}

for (const device of [wasm, createInterpreter()]) {
  for (const packed of [false, "ternary", "ternary5"] as const) {
    test(`a ${packed || "float32"} model opens on the ${device.target} with the bytes that were saved`, async () => {
      const path = await savedModel(`${device.target}-${packed}.fid`, packed);
      const float32 = initialised(wasm, model);
      const expected = packed ? await packParameters(model, float32, wasm, packed) : float32;
      using opened = await openModel(path, device);
      assert.deepEqual(opened.model.config, model.config);
      assert.deepEqual(opened.tokenizer?.toJSON(), tokenizer.toJSON());
      assert.equal(opened.info.isPacked, packed !== false);
      assert.equal(opened.info.metadata["validationLoss"], 1.5);
      if (device.target === "wasm" && process.platform === "linux") assert.equal(opened.how, "mapped");
      assert.deepEqual([...opened.parameters.keys()], [...expected.keys()]);
      for (const [name, tensor] of expected) {
        assert.deepEqual(opened.parameters.get(name)!.type, tensor.type);
        assert.ok(Buffer.from(opened.parameters.get(name)!.bytes()).equals(Buffer.from(tensor.bytes())), name);
      }
    });
  }
}

test("a packed file names its layout, its parts and its sizes", async () => {
  const path = await savedModel("packed.fid", true);
  const header = readContainerHeader(path);
  const forget = header.tensors.find(({ name }) => name === "blocks.1.mixer.forget.weight");
  assert.deepEqual([forget?.dtype, forget?.layout, forget?.component], ["ternary", "ternary2x16", "blocks.1"]);
  assert.equal(forget?.sizeBytes, (16 * 16) / 4 + 64);
  const info = describeModel(path);
  assert.deepEqual([info.format, info.kind, info.model.architecture], ["fidelity", "model", "matmul-free"]);
  assert.equal(info.tensors.length, namedParameters(model.parameters).length);
});

test("damaged files are refused by what is wrong with them", async () => {
  const path = await savedModel("damaged.fid", true);
  const bytes = readFileSync(path);
  bytes[bytes.length - 70] ^= 1;
  writeFileSync(path, bytes);
  for (const device of [wasm, createInterpreter()]) await assert.rejects(openModel(path, device), ChecksumError);
  truncateSync(path, 6000);
  for (const device of [wasm, createInterpreter()])
    await assert.rejects(openModel(path, device), TruncatedContainerError);
  await assert.rejects(openModel(join(base, "nowhere.fid"), wasm), FileError);
  await assert.rejects(openModel(base, wasm), FileError);
  writeFileSync(path, "It was a dark and stormy night; the rain fell in torrents.");
  await assert.rejects(openModel(path, wasm), (error) => {
    assert.ok(error instanceof ModelFileError);
    assert.match(error.message, /got: +plain text \("It was a dark/);
    return true;
  });
});

test("a container that does not fit its architecture is refused with both sides", async () => {
  const path = await savedModel("whole.fid", false);
  const { config, components, tensors } = readContainerHeader(path);
  const bytes = readFileSync(path);
  const inputs = tensors.map((entry) => ({
    ...entry,
    bytes: bytes.subarray(entry.offset, entry.offset + entry.sizeBytes),
  }));
  const refused = async (change: object, message: RegExp, kind: new (summary: string) => Error = ModelFileError) => {
    const other = join(base, "other.fid");
    writeContainerFile(other, { config, components, tensors: inputs, ...change });
    for (const device of [wasm, createInterpreter()]) {
      await assert.rejects(openModel(other, device), (error) => {
        assert.ok(error instanceof kind, String(error));
        assert.match(error.message, message);
        return true;
      });
    }
  };
  const { model: plain } = config as { model: Record<string, unknown> };
  const saved = config as object;
  await refused({ tensors: inputs.slice(1) }, /a tensor of the model is missing(.|\n)*"embedding\.weight"/);
  const extra = { ...inputs[0], name: "embedding.bias" };
  await refused({ tensors: [...inputs, extra] }, /the model does not have(.|\n)*"embedding\.bias"/);
  await refused(
    { config: { ...saved, model: { ...plain, dim: 32 } } },
    /"embedding\.weight" does not fit(.|\n)*another architecture/,
  );
  const { vocabSize } = tokenizer;
  const other = { architecture: "llama", dim: 16, layerCount: 2, headCount: 2, contextLength: 16, vocabSize };
  await refused({ config: { ...saved, model: other } }, /is missing(.|\n)*another architecture/);
  await refused(
    { config: { ...saved, model: { architecture: "perceptron" } } },
    /unknown architecture/,
    ArchitectureError,
  );
  await refused({ config: { ...saved, tokenizer: { kind: "byte" } } }, /tokenizer does not belong(.|\n)*256 tokens/);
  await refused({ config: [] }, /holds no model/);
});

test("a llama2.c model opens with the tokenizer beside it", async () => {
  const header = {
    dim: 8,
    hiddenDim: 16,
    layerCount: 1,
    headCount: 2,
    keyValueHeadCount: 1,
    vocabSize: 260,
    contextLength: 12,
    tiedEmbeddings: true,
  };
  const fill = (name: string): Float32Array => {
    const spec = namedParameters(createModel({ architecture: "llama", ...header }).parameters).find(
      ({ path }) => path === name,
    );
    return new Float32Array(spec!.leaf.shape.reduce((a, b) => a * b, 1)).fill(0.5);
  };
  const path = join(base, "tiny.bin");
  writeFileSync(path, writeLlama2c(header, fill));
  assert.equal(describeModel(path).tokenizer, undefined);
  const encoder = new TextEncoder();
  const hex = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
  const names = ["<unk>", "\n<s>\n", "\n</s>\n", ...Array.from({ length: 256 }, (_, byte) => hex(byte)), " "];
  const pieces = names.map((name) => ({ bytes: encoder.encode(name), score: 0 }));
  writeFileSync(join(base, "tok260.bin"), writeVocabularyFile(pieces));
  for (const device of [wasm, createInterpreter()]) {
    using opened = await openModel(path, device);
    assert.equal(opened.info.format, "llama2c");
    assert.equal(opened.tokenizer?.vocabSize, 260);
    assert.deepEqual(
      [...opened.parameters.keys()],
      namedParameters(opened.model.parameters).map(({ path: name }) => name),
    );
    for (const tensor of opened.parameters.values()) assert.ok(tensor.f32().every((value) => value === 0.5));
  }
  writeFileSync(join(base, "tokenizer.bin"), writeVocabularyFile([...pieces, pieces[0]]));
  await assert.rejects(openModel(path, wasm, { tokenizer: join(base, "tokenizer.bin") }), /260 tokens(.|\n)*261/);
  truncateSync(path, 100);
  await assert.rejects(openModel(path, wasm), /shorter than its header says/);
});
