// Opening and closing files a thousand times leaves nothing: no memory, no file descriptors, no room in an arena.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SharedArena, WASM_PAGE_BYTES } from "@fidelity/barewire";
import { decodeTensorValues, FormatError, ggufArray, tensorSizeBytes } from "./index.ts";
import type { GgufValue, TensorToWrite } from "./index.ts";
import { openSource, writeGgufFile, writeSafetensorsFile } from "./index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-opens-"));
after(() => rmSync(folder, { recursive: true }));

const TIMES = 1000;
/** What is kept of each file, at 130 KB or more, would come to several times that. */
const GROWTH_BYTES_MAX = 2 ** 24;

const bytes = (): Uint8Array => new Uint8Array(tensorSizeBytes("f16", [64, 512]) ?? 0);
const tensors = ["a", "b"].map((name): TensorToWrite => ({ name, dtype: "f16", shape: [64, 512], bytes }));
const tokens = Array.from({ length: 5000 }, (_, i) => `token ${i}`);

function writeModels(): string[] {
  const entries = new Map<string, GgufValue>([["tokens", ggufArray("string", tokens)]]);
  writeGgufFile(join(folder, "model.gguf"), { metadata: entries, tensors });
  const model = join(folder, "model");
  mkdirSync(model);
  writeFileSync(join(model, "config.json"), "{}");
  for (const [i, tensor] of tensors.entries()) {
    const metadata = { text: tokens.join(" ") };
    writeSafetensorsFile(join(model, `part-${i}.safetensors`), { metadata, tensors: [tensor] });
  }
  const map = { a: "part-0.safetensors", b: "part-1.safetensors" };
  writeFileSync(join(model, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  return [join(folder, "model.gguf"), model];
}

function usedBytes(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const openFiles = (): number => readdirSync("/proc/self/fd").length;

test("a thousand times", { skip: process.platform !== "linux" && "file descriptors are counted on Linux" }, () => {
  const paths = writeModels();
  const broken = join(folder, "broken.gguf");
  writeFileSync(broken, "GGUF\x03\0\0\0\xff\xff");
  using arena = SharedArena.create({ initialBytes: WASM_PAGE_BYTES, maximumBytes: 2 ** 22 });
  let before = { memory: 0, files: 0 };
  for (let time = 0; time < TIMES; time++) {
    // The engine compiles what runs often, and keeps that.
    if (time === TIMES / 5) before = { memory: usedBytes(), files: openFiles() };
    for (const options of time % 5 === 0 ? [{}, { arena }] : [{}]) {
      using opened = openSource(paths[time % paths.length], options);
      if (time % 10 > 1) continue;
      opened.metadata.get("tokens");
      for (const tensor of opened.source.tensors) decodeTensorValues(tensor);
    }
    assert.throws(() => openSource(broken), FormatError);
  }
  assert.equal(openFiles(), before.files);
  const growth = usedBytes() - before.memory;
  assert.ok(growth < GROWTH_BYTES_MAX, `${growth} bytes more than before`);
});
