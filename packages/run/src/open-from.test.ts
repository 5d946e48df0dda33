// A model opened from a path, from bytes in memory and from a source that must be asked for every range: in all formats
// it writes the same, and what is missing is named.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { memorySource } from "@fidelity/barewire";
import type { ByteSource } from "@fidelity/barewire";
import { createInterpreter } from "@fidelity/core";
import { ChatTemplate } from "@fidelity/models";
import { ModelFileError } from "./errors.ts";
import { convertModel, open, saveModel } from "./index.node.ts";
import type { LanguageModel } from "./language-model.ts";
import { openFrom } from "./open-from.ts";
import type { OpenFromOptions } from "./open-from.ts";
import { tinyModel } from "./testing.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-open-"));
after(() => rmSync(folder, { recursive: true }));
const device = createInterpreter();
const path = (name: string): string => join(folder, name);

before(async () => {
  const parts = tinyModel(device);
  await saveModel(path("tiny.fid"), { ...parts, packed: false });
  await convertModel(path("tiny.fid"), path("tiny.gguf"), { format: "gguf" });
  await convertModel(path("tiny.fid"), path("folder"), { format: "safetensors" });
});

/** Bytes that are nowhere in memory until they are fetched, as those of an address. */
function distant(name: string): ByteSource & { fetched: number } {
  const bytes = readFileSync(path(name));
  const source = {
    name,
    sizeBytes: bytes.length,
    fetched: 0,
    readInto: async (targets: readonly { offset: number; into: Uint8Array }[]) => {
      for (const { offset, into } of targets) {
        into.set(bytes.subarray(offset, offset + into.length));
        source.fetched += into.length;
      }
    },
  };
  return source;
}

const json = (name: string): unknown => JSON.parse(readFileSync(path(join("folder", name)), "utf8"));
const beside = () => ({ config: json("config.json"), tokenizer: { tokenizer: json("tokenizer.json") } });

async function textOf(loaded: LanguageModel): Promise<string> {
  const { text } = await loaded.generate("hello", { maxTokens: 12, seed: 1 }).result();
  await loaded.close();
  return text;
}

test("a path, bytes in memory and bytes to be fetched give one model, in every format", async () => {
  const expected = await textOf(await open(path("tiny.fid"), { device }));
  assert.equal(expected.length, 12);
  assert.equal(await textOf(await open(path("tiny.fid"), { threads: 1 })), expected, "on a device of its own");
  const files: readonly [string, Partial<OpenFromOptions>][] = [
    ["tiny.fid", {}],
    ["tiny.gguf", {}],
    ["folder/model.safetensors", beside()],
  ];
  for (const [name, options] of files) {
    assert.equal(await textOf(await open(path(name.split("/model")[0]), { device })), expected, name);
    const whole = memorySource(readFileSync(path(name)), name);
    assert.equal(await textOf(await openFrom(whole, { device, ...options })), expected, name);
    assert.equal(await textOf(await openFrom(distant(name), { device, ...options })), expected, name);
  }
});

test("what is told while it opens: each parameter, and time", async () => {
  const seen: string[] = [];
  const onProgress = ({ parameter }: { parameter: string }): void => void seen.push(parameter);
  const loaded = await openFrom(distant("tiny.gguf"), { device, onProgress });
  assert.deepEqual(seen, [...loaded.parameters.keys()]);
  const { timings } = await loaded.generate("a", { maxTokens: 1 }).result();
  assert.ok(timings.loadSeconds > 0);
  await loaded.close();
});

test("what is missing, or is no model, is refused by name", async () => {
  const { config, tokenizer } = beside();
  const source = distant("folder/model.safetensors");
  await assert.rejects(openFrom(source, { device, tokenizer }), /what model they hold(.|\n)*config\.json/);
  await assert.rejects(openFrom(source, { device, config }), /needs its tokenizer(.|\n)*tokenizer\.json/);
  const text = memorySource(new TextEncoder().encode("It was a dark and stormy night."), "story");
  await assert.rejects(openFrom(text, { device }), ModelFileError);
  await assert.rejects(openFrom(distant("tiny.gguf"), { device, signal: AbortSignal.abort() }), /abort/i);
});

test("what has no room is refused before a tensor is fetched", async () => {
  const sizes = { contextLength: 2 ** 24, layerCount: 256 }; // 8 KiB a token, 128 GiB in all
  await saveModel(path("long.fid"), { ...tinyModel(device, "llama", sizes), packed: false });
  await convertModel(path("long.fid"), path("long.gguf"), { format: "gguf" });
  const refused = /needs [^]*, have [^]*weights[^]*try: /;
  for (const name of ["long.fid", "long.gguf"]) {
    const context = sizes.contextLength;
    await assert.rejects(openFrom(distant(name), { device, context }), refused);
    await assert.rejects(open(path(name), { device, context }), refused);
    const many = open(path(name), { device, context: 2 ** 20, parallel: 1000 });
    await assert.rejects(many, /needs [^]*1000 generations at a time[^]*parallel: 1/);
  }
  const source = distant("long.fid");
  await assert.rejects(openFrom(source, { device, context: sizes.contextLength }), refused);
  assert.ok(source.fetched < source.sizeBytes / 2);
});

test("a template that is given takes the place of the file's own", async () => {
  const chatTemplate = new ChatTemplate("{{ messages[-1].content }}!");
  const tiny = await openFrom(distant("tiny.gguf"), { device, chatTemplate });
  assert.throws(() => tiny.generate([{ role: "user", content: "a" }]), /U\+21/);
  await tiny.close();
});
