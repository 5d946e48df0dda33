// What conversions keep besides tensors: the tokenizer, the chat templates, and what the file says of the model.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import { ggufArray } from "@fidelity/formats";
import { openGguf, writeGgufFile } from "@fidelity/formats/node";
import {
  ByteTokenizer,
  CharacterTokenizer,
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
  parameterTypes,
  PipelineTokenizer,
  SentencePieceTokenizer,
  tokenizersDiffer,
  writeVocabularyFile,
} from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";
import { convertModel, openValues, saveModel } from "../index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-keeps-"));
after(() => rmSync(folder, { recursive: true }));
const device = createInterpreter();
const at = (name: string): string => join(folder, name);

async function savedModel(name: string, tokenizer: Tokenizer | undefined, config: object = {}): Promise<string> {
  const sizes = { dim: 16, hiddenDim: 24, layerCount: 1, headCount: 2, keyValueHeadCount: 1, contextLength: 8 };
  const llama = { architecture: "llama", ...sizes, vocabSize: tokenizer?.vocabSize ?? 40 };
  const model = createModel({ ...("architecture" in config ? {} : llama), ...config });
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    fillParameter(specs.get(path)!, path, 5, tensor.f32()),
  );
  await saveModel(at(name), { device, model, parameters, tokenizer, packed: false });
  return at(name);
}

function pieces(): SentencePieceTokenizer {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const texts = ["<unk>", "\n<s>\n", "\n</s>\n", ...bytes, " t", "he", " the", ...Array.from(" thecasé.")];
  return new SentencePieceTokenizer(
    writeVocabularyFile(texts.map((text, at) => ({ bytes: new TextEncoder().encode(text), score: -at }))),
  );
}

function tokenizerOf(path: string): Tokenizer {
  using values = openValues(path);
  const { tokenizer } = values;
  assert.ok(tokenizer !== undefined, path);
  return tokenizer;
}

test("a tokenizer goes from format to format, and the last is the first", async () => {
  const tokenizers = { bytes: new ByteTokenizer(), characters: CharacterTokenizer.fromTexts(["the cats. é€"]) };
  for (const [name, tokenizer] of Object.entries({ ...tokenizers, pieces: pieces() })) {
    const original = await savedModel(`${name}.fid`, tokenizer);
    const [gguf, hub, back] = [at(`${name}.gguf`), at(name), at(`${name}-back.fid`)];
    const reports = [
      await convertModel(original, gguf, { format: "gguf" }),
      await convertModel(gguf, hub, { format: "safetensors" }),
      await convertModel(hub, back, { format: "fidelity" }),
      await convertModel(gguf, at(`${name}-2.gguf`), { format: "gguf", dtype: "f16" }),
    ];
    for (const report of reports) {
      assert.equal(report.tokenizer?.vocabSize, tokenizer.vocabSize);
      assert.deepEqual(report.notices, []);
      assert.equal(tokenizersDiffer(tokenizer, tokenizerOf(report.output)), undefined, report.output);
      assert.deepEqual(tokenizerOf(report.output).stopTokens, tokenizer.stopTokens);
    }
  }
});

test("the MatMul-free model in its released form goes to safetensors and back", async () => {
  const sizes = { dim: 32, hiddenDim: 32, layerCount: 1, vocabSize: 256 };
  const config = {
    architecture: "matmul-free",
    form: "released",
    ...sizes,
    normEpsilon: 1e-6,
    projectionEpsilon: 1e-6,
  };
  const original = await savedModel("released.fid", new ByteTokenizer(), config);
  await convertModel(original, at("released"), { format: "safetensors" });
  const { tensors, notices } = await convertModel(at("released"), at("released-back.fid"), { format: "fidelity" });
  assert.ok(tensors.every(({ largestError }) => largestError === 0));
  assert.deepEqual(notices, []);
  assert.equal(tokenizerOf(at("released-back.fid")).encode("aé").join(), "97,195,169");
});

test("name, license, lists and chat templates go along, and no file takes them from another", async () => {
  const plain = at("plain.gguf");
  await convertModel(await savedModel("card.fid", new ByteTokenizer()), plain, { format: "gguf" });
  const card = at("card.gguf");
  const said: Record<string, string | readonly string[]> = {
    "general.name": "A model, [tiny]",
    "general.license": "mit",
    "general.languages": ["en", "[de]"],
    "tokenizer.chat_template": "{{ messages }}\n",
    "tokenizer.chat_template.tool_use": "{{ tools }}",
  };
  {
    using opened = openGguf(plain);
    const entries = Object.entries(said).map(([key, value]) => {
      const isText = typeof value === "string";
      return [key, isText ? ({ type: "string", value } as const) : ggufArray("string", value)] as const;
    });
    writeGgufFile(card, {
      metadata: new Map([...opened.source.metadata, ...entries]),
      tensors: opened.source.tensors.map((tensor) => ({ ...tensor, bytes: () => tensor.bytes() })),
    });
  }
  await convertModel(card, at("card"), { format: "safetensors" });
  await convertModel(at("card"), at("card-2.fid"), { format: "fidelity" });
  const { hasChatTemplate } = await convertModel(at("card-2.fid"), at("card-3.gguf"), { format: "gguf" });
  assert.ok(hasChatTemplate);
  using opened = openValues(at("card-3.gguf"));
  assert.deepEqual(Object.fromEntries(opened.card), said);
  // A model without a chat template and without tokenizer in the same folder leaves nothing of the first.
  await convertModel(await savedModel("bare.fid", undefined), at("card"), { format: "safetensors" });
  using bare = openValues(at("card"));
  assert.equal(bare.tokenizer, undefined);
  assert.deepEqual([...bare.card.keys()], ["general.name"]);
});

test("a tokenizer that a format cannot hold is left out with a notice, one of another model is refused", async () => {
  const names = Array.from({ length: 256 }, (_, byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
  const nothing = { added: [], normalizer: [], words: [], special: {}, before: [], after: [], stop: [] };
  const rwkv = new PipelineTokenizer({ kind: "rwkv", tokens: names, decoder: { type: "escaped" }, ...nothing });
  const original = await savedModel("rwkv.fid", rwkv);
  const report = await convertModel(original, at("rwkv"), { format: "safetensors" });
  assert.equal(report.tokenizer, undefined);
  assert.match(report.notices.join(), /left out/);
  assert.ok(!existsSync(at("rwkv/tokenizer.json")));
  await assert.rejects(convertModel(original, at("rwkv.gguf"), { format: "gguf", tokenizer: at("none.bin") }), {
    name: "FileError",
  });
  const { tokenizer } = await convertModel(original, at("rwkv.gguf"), { format: "gguf" });
  assert.equal(tokenizer?.kind, "rwkv");
});

test("a vocabulary is as long as the model's: padded, or without what was added beyond it", async () => {
  const spec = tokenizerOf(at("pieces.gguf")).toJSON();
  assert.ok("tokens" in spec);
  const added = { special: true, normalized: false, stripLeft: false, stripRight: false, wholeWord: false };
  const beyond = spec.tokens.length;
  const grown = new PipelineTokenizer({
    ...spec,
    tokens: [...spec.tokens, "<extra>"],
    scores: [...("scores" in spec ? spec.scores : []), 0],
    added: [...spec.added, { token: beyond, text: "<extra>", ...added }],
  } as typeof spec);
  const original = await savedModel("grown.fid", grown);
  await convertModel(original, at("grown"), { format: "safetensors" });
  const shorter = await savedModel("shorter.fid", pieces());
  const json = join(at("grown"), "tokenizer.json");
  await assert.rejects(convertModel(shorter, at("shorter.gguf"), { format: "gguf", tokenizer: json }), {
    name: "ModelFileError",
    message: /does not belong/,
  });
  const longer = await savedModel("longer.fid", undefined, { vocabSize: beyond + 7 });
  const report = await convertModel(longer, at("longer.gguf"), { format: "gguf", tokenizer: json });
  assert.equal(report.tokenizer?.vocabSize, beyond + 7);
  assert.deepEqual(report.notices, []);
});
