// One door for every kind of file: the same model in each format, opened by its path.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ChecksumError, SharedArena, WASM_PAGE_BYTES } from "@fidelity/barewire";
import type { TensorInput } from "@fidelity/barewire";
import { FileError, writeContainerFile } from "@fidelity/barewire/node";
import { encodeTensor, storageBytes } from "@fidelity/core";
import {
  convertTensor,
  decodeTensorValues,
  encodeValues,
  findTensor,
  FormatError,
  ggufArray,
  InvalidHeaderError,
  UnsupportedFormatError,
  writeLlama2c,
} from "./index.ts";
import type { GgufValue, TensorToWrite } from "./index.ts";
import { openGguf, openSource, writeGgufFile, writeSafetensorsFile } from "./index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-open-"));
after(() => rmSync(folder, { recursive: true }));
const at = (...names: string[]): string => join(folder, ...names);

const data = Float32Array.from({ length: 64 }, (_, i) => i / 8 - 3);
const names = ["one", "two", "three", "four"];
const tensors = names.map((name): TensorToWrite => {
  return { name, dtype: "f32", shape: [2, 32], bytes: () => encodeValues("f32", [2, 32], data) };
});
const metadata = new Map<string, GgufValue>([
  ["general.architecture", { type: "string", value: "llama" }],
  ["general.big", { type: "u64", value: 2n ** 60n }],
  ["tokens", ggufArray("string", ["<s>", "a"])],
]);

function checkTensors(path: string, expected: readonly string[] = names): void {
  using arena = SharedArena.create({ initialBytes: WASM_PAGE_BYTES, maximumBytes: 2 ** 26 });
  for (const options of [{}, { arena }]) {
    using opened = openSource(path, options);
    assert.deepEqual(
      opened.source.tensors.map(({ name }) => name),
      expected,
    );
    for (const tensor of opened.source.tensors) assert.deepEqual(decodeTensorValues(tensor), data);
    const [first] = opened.source.tensors;
    assert.deepEqual(Uint8Array.from(first.bytes(4, 12)), Uint8Array.from(first.bytes()).subarray(4, 12));
  }
}

/** Writes a model in three parts; `change` may make a part another than it should be. */
function writeParts(
  stem: string,
  change: (part: number, entries: Map<string, GgufValue>) => void = () => {},
): string[] {
  const places = [tensors.slice(0, 2), tensors.slice(2, 3), tensors.slice(3)];
  return places.map((part, i) => {
    const entries = new Map<string, GgufValue>([
      ...(i === 0 ? metadata : []),
      ["split.no", { type: "u16", value: i }],
      ["split.count", { type: "u16", value: 3 }],
      ["split.tensors.count", { type: "i32", value: 4 }],
    ]);
    change(i, entries);
    const path = `${stem}-0000${i + 1}-of-00003.gguf`;
    writeGgufFile(path, { metadata: entries, tensors: part });
    return path;
  });
}

test("GGUF, in one file and in three, from any part", () => {
  writeGgufFile(at("model.gguf"), { metadata, tensors });
  checkTensors(at("model.gguf"));
  const parts = writeParts(at("split"));
  for (const part of parts) checkTensors(part);
  for (const path of [at("model.gguf"), parts[1]]) {
    using opened = openSource(path);
    assert.deepEqual(opened.metadata.keys, [...metadata.keys()]);
    assert.equal(opened.metadata.get("general.architecture"), "llama");
    assert.equal(opened.metadata.get("general.big"), String(2n ** 60n));
    assert.deepEqual(opened.metadata.get("tokens"), ["<s>", "a"]);
    assert.equal(opened.metadata.get("general.name"), undefined);
  }
  using joined = openGguf(parts[0]);
  writeGgufFile(at("joined.gguf"), {
    metadata: joined.source.metadata,
    tensors: joined.source.tensors.map((t) => convertTensor(t)),
  });
  checkTensors(at("joined.gguf"));
});

test("parts that do not belong together are named", () => {
  const refused = (change: (part: number, entries: Map<string, GgufValue>) => void, expected: RegExp): void => {
    const [path] = writeParts(at("wrong"), change);
    assert.throws(
      () => openSource(path),
      (error) => error instanceof InvalidHeaderError && expected.test(error.message),
      String(expected),
    );
  };
  const set =
    (key: string, value: GgufValue, which = 1) =>
    (part: number, entries: Map<string, GgufValue>): void => {
      if (part === which) entries.set(key, value);
    };
  refused(set("split.no", { type: "u16", value: 2 }), /name of another part/);
  refused(set("split.count", { type: "u16", value: 4 }), /name of another part/);
  refused(set("split.count", { type: "u16", value: 4 }, 0), /-of-00004/);
  refused(set("split.count", { type: "u16", value: 1 }), /a model in one file/);
  refused(set("split.no", { type: "string", value: "x" }, 0), /impossible split.no/);
  refused(set("split.tensors.count", { type: "i32", value: 5 }, 0), /5 tensors/);
  refused(set("split.tensors.count", { type: "i32", value: -1 }, 0), /a whole number/);
  const [first, second] = writeParts(at("lost"));
  rmSync(second);
  assert.throws(
    () => openSource(first),
    (error) => error instanceof FileError && error.message.includes("lost-00002-of-00003"),
  );
  const twins = writeParts(at("twins"));
  writeGgufFile(twins[2], { ...splitEntries(2), tensors: tensors.slice(0, 1) });
  assert.throws(() => openSource(twins[0]), /a tensor of another part/);
});

function splitEntries(part: number): { readonly metadata: ReadonlyMap<string, GgufValue> } {
  const entries: [string, GgufValue][] = [
    ["split.no", { type: "u16", value: part }],
    ["split.count", { type: "u16", value: 3 }],
    ["split.tensors.count", { type: "i32", value: 4 }],
  ];
  return { metadata: new Map(entries) };
}

test("safetensors: a file, with a config.json beside it, by an index, and a folder", () => {
  const model = at("hf");
  mkdirSync(model);
  const path = join(model, "model.safetensors");
  writeSafetensorsFile(path, { metadata: { format: "pt" }, tensors });
  checkTensors(path);
  using alone = openSource(path);
  assert.deepEqual([alone.metadata.keys, alone.metadata.get("format")], [["format"], "pt"]);
  assert.throws(() => openSource(model), FileError); // without config.json
  writeFileSync(join(model, "config.json"), JSON.stringify({ model_type: "llama", rope: { theta: 10 } }));
  checkTensors(model);
  for (const given of [path, model]) {
    using opened = openSource(given);
    assert.deepEqual(opened.metadata.keys, ["model_type", "rope"]);
    assert.equal(opened.metadata.get("rope.theta"), 10);
    assert.equal(opened.metadata.get("rope.theta.deeper"), undefined);
    assert.equal(opened.metadata.get("__proto__"), undefined);
  }
  const sharded = at("sharded");
  mkdirSync(sharded);
  names.forEach((_, i) => writeSafetensorsFile(join(sharded, `model-${i}.safetensors`), { tensors: [tensors[i]] }));
  writeFileSync(join(sharded, "config.json"), "{}");
  assert.throws(() => openSource(sharded), /fetch the index as well/);
  const map = Object.fromEntries(names.map((name, i) => [name, `model-${i}.safetensors`]));
  writeFileSync(join(sharded, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  checkTensors(sharded);
  checkTensors(join(sharded, "model.safetensors.index.json"));
});

test("a config.json that is none, and a folder without a model, are named", () => {
  const model = at("broken");
  mkdirSync(model);
  assert.throws(() => openSource(model), /holds no model[^]*nothing/);
  writeSafetensorsFile(join(model, "weights.safetensors"), { tensors });
  for (const text of ["", "[]", "1", "{", "null"]) {
    writeFileSync(join(model, "config.json"), text);
    assert.throws(() => openSource(model), InvalidHeaderError, text);
    assert.throws(() => openSource(join(model, "weights.safetensors")), InvalidHeaderError, text);
  }
  truncateSync(join(model, "config.json"), 2 ** 24 + 1); // sparse
  assert.throws(() => openSource(model), /too large/);
});

test("llama2.c, and what is no model", () => {
  const header = {
    dim: 4,
    hiddenDim: 8,
    layerCount: 1,
    headCount: 2,
    keyValueHeadCount: 2,
    vocabSize: 8,
    contextLength: 4,
    tiedEmbeddings: true,
  };
  const elementsOf = (name: string): number => {
    if (/Norm/.test(name)) return 4;
    return /feedForward|embedding/.test(name) ? 32 : 16;
  };
  writeFileSync(
    at("stories.bin"),
    writeLlama2c(header, (name) => new Float32Array(elementsOf(name)).fill(0.5)),
  );
  using opened = openSource(at("stories.bin"));
  assert.equal(opened.source.tensors.length, 11);
  assert.equal(opened.source.format, "llama2c");
  assert.equal(opened.metadata.get("vocabSize"), 8);
  assert.ok(decodeTensorValues(findTensor(opened.source, "embedding.weight")).every((x) => x === 0.5));
  writeFileSync(at("text"), "Once upon a time");
  assert.throws(
    () => openSource(at("text")),
    (error) => error instanceof UnsupportedFormatError && /plain text/.test(error.message),
  );
  assert.throws(() => openSource(at("nowhere")), FileError);
});

test("a container: dense tensors as they are, packed ones as float32, damage by its checksum", () => {
  const trits = Float64Array.from({ length: 64 }, (_, i) => (i % 3) - 1);
  const packed = (["ternary", "ternary5"] as const).map((dtype): TensorInput => {
    const type = { dtype, shape: [2, 32] };
    const bytes = new Uint8Array(storageBytes(type));
    encodeTensor({ type, data: trits, scales: Float64Array.of(0.25) }, bytes);
    return {
      name: dtype,
      component: "a",
      dtype,
      shape: [2, 32],
      layout: dtype === "ternary" ? "ternary2x16" : "ternary5x16",
      bytes,
    };
  });
  const dense: TensorInput = {
    name: "one",
    component: "a",
    dtype: "f32",
    shape: [2, 32],
    layout: "dense",
    bytes: tensors[0].bytes(),
  };
  const write = (path: string, inputs: readonly TensorInput[]): void => {
    const config = { model: { architecture: "llama" } };
    writeContainerFile(path, { metadata: { steps: 3 }, config, components: [{ id: "a", kind: "a" }], tensors: inputs });
  };
  write(at("dense.fid"), [dense]);
  checkTensors(at("dense.fid"), ["one"]);
  write(at("packed.fid"), [dense, ...packed]);
  {
    using opened = openSource(at("packed.fid"));
    assert.deepEqual([opened.source.config, opened.metadata.get("model.architecture")], [{ steps: 3 }, "llama"]);
    for (const name of ["ternary", "ternary5"]) {
      const tensor = findTensor(opened.source, name);
      assert.deepEqual(
        decodeTensorValues(tensor),
        Float32Array.from(trits, (trit) => trit * 0.25),
      );
      const parts = [0, 64, 128, 192].map((start) => tensor.bytes(start, start + 64));
      assert.deepEqual(Buffer.concat(parts), Buffer.from(tensor.bytes()));
    }
  }
  using damaged = openSource(at("dense.fid"));
  const [tensor] = damaged.source.tensors;
  const bytes = readFileSync(at("dense.fid"));
  bytes[tensor.byteOffset] ^= 1;
  writeFileSync(at("dense.fid"), bytes);
  assert.throws(() => tensor.bytes(), ChecksumError);
  write(at("odd.fid"), [{ ...dense, layout: "diagonal" }]);
  assert.throws(() => openSource(at("odd.fid")), /a type that is not read/);
  write(at("short.fid"), [{ ...packed[0], shape: [2, 16, 2] }]);
  assert.throws(() => openSource(at("short.fid")), FormatError);
});
