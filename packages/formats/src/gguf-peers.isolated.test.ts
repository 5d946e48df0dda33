// GGUF files between us and others: @huggingface/gguf and llama.cpp, by node-llama-cpp, take what we write; we take
// what @huggingface/gguf writes. In a process of its own, since llama.cpp's libraries stay in it.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { buildGgufHeader, gguf, ggufAllShards, GGUFValueType, serializeGgufMetadata } from "@huggingface/gguf";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import {
  encodeValues,
  GGUF_VALUE_TYPES,
  ggufArray,
  readGguf,
  SOURCE_DTYPES,
  tensorSizeBytes,
  UnsupportedFormatError,
} from "./index.ts";
import type { GgufInput, GgufValue, SourceDtype, TensorToWrite } from "./index.ts";
import { openGguf, writeGgufFile } from "./index.node.ts";
import { ggufIdOf } from "./quants/table.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-peers-"));
after(() => rmSync(folder, { recursive: true }));

const metadata = new Map<string, GgufValue>([
  ["general.architecture", { type: "string", value: "llama" }],
  ["a.u8", { type: "u8", value: 255 }],
  ["a.i8", { type: "i8", value: -128 }],
  ["a.u16", { type: "u16", value: 65_535 }],
  ["a.i16", { type: "i16", value: -2 }],
  ["a.u32", { type: "u32", value: 4_294_967_295 }],
  ["a.i32", { type: "i32", value: -3 }],
  ["a.f32", { type: "f32", value: 0.5 }],
  ["a.bool", { type: "bool", value: true }],
  ["a.u64", { type: "u64", value: 2n ** 64n - 1n }],
  ["a.i64", { type: "i64", value: -5n }],
  ["a.f64", { type: "f64", value: 0.1 }],
  ["a.text", { type: "string", value: "é \u{1f600} \n" }],
  ["a.none", { type: "string", value: "" }],
  ["a.empty", ggufArray("u16", [])],
  ["tokens", ggufArray("string", ["<s>", "é", ""])],
  ["flags", ggufArray("bool", [true, false])],
  ["counts", ggufArray("i64", [-1n, 2n])],
  ["scores", ggufArray("f32", [0.5, -1])],
]);

/** Every type that GGUF has a number for. */
const ggufTypes = SOURCE_DTYPES.filter((dtype) => ggufIdOf(dtype) !== undefined);

function tensor(name: string, dtype: SourceDtype, shape: readonly number[], seed = 1): TensorToWrite {
  const count = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: count }, (_, i) => (((i + seed) * 7919) % 1009) / 5045 - 0.1);
  const isWritten = /^(f|b|q|iq|tq)/.test(dtype);
  const bytes = (): Uint8Array =>
    isWritten ? encodeValues(dtype, shape, values) : new Uint8Array(tensorSizeBytes(dtype, shape) ?? 0).fill(1);
  return { name, dtype, shape, bytes };
}

test("@huggingface/gguf reads what we write: metadata of every kind, tensors of every type", async () => {
  const path = join(folder, "every.gguf");
  const tensors = ggufTypes.map((dtype) => tensor(dtype, dtype, [2, 256]));
  writeGgufFile(path, { metadata, tensors });
  const read = await gguf(path, { allowLocalFile: true, typedMetadata: true });
  for (const [key, expected] of metadata) {
    const { type, value, subType } = (read.typedMetadata as Readonly<Record<string, TypedValue>>)[key];
    assert.equal(type, GGUF_VALUE_TYPES.indexOf(expected.type), key);
    if (expected.type !== "array") assert.equal(value, expected.value, key);
    else {
      assert.equal(subType, expected.length === 0 ? subType : GGUF_VALUE_TYPES.indexOf(expected.elementType), key);
      assert.deepEqual(value, expected.values(), key);
    }
  }
  const dataOffset = Number(read.tensorDataOffset);
  using own = openGguf(path);
  assert.deepEqual(
    read.tensorInfos.map((info) => [info.name, info.shape.map(Number), info.dtype, dataOffset + Number(info.offset)]),
    own.source.tensors.map(({ name, shape, dtype, byteOffset }) => {
      return [name, shape.toReversed(), ggufIdOf(dtype), byteOffset];
    }),
  );
});

test("and we read what it writes", async () => {
  const path = join(folder, "theirs.gguf");
  const tensors = ggufTypes.map((dtype) => tensor(dtype, dtype, [2, 256]));
  writeGgufFile(path, { metadata, tensors });
  const { typedMetadata, tensorInfoByteRange, tensorDataOffset } = await gguf(path, {
    allowLocalFile: true,
    typedMetadata: true,
  });
  const file = readFileSync(path);
  typedMetadata["general.name"] = { type: GGUFValueType.STRING, value: "changed" };
  const header = await buildGgufHeader(new Blob([file]), typedMetadata, { littleEndian: true, tensorInfoByteRange });
  const theirs = readGguf(Buffer.concat([await header.bytes(), file.subarray(Number(tensorDataOffset))]));
  const ours = readGguf(file);
  assert.equal(theirs.config["general.name"], "changed");
  assert.deepEqual({ ...theirs.config, "general.name": undefined }, { ...ours.config, "general.name": undefined });
  for (const [key, entry] of ours.metadata) {
    const got = theirs.metadata.get(key);
    if (entry.type === "array" && got?.type === "array") assert.deepEqual(got.values(), entry.values(), key);
    else assert.deepEqual(got, entry, key);
  }
  theirs.tensors.forEach(({ name, shape, bytes }, i) => {
    assert.deepEqual([name, shape], [ours.tensors[i].name, ours.tensors[i].shape]);
    assert.ok(Buffer.from(bytes()).equals(ours.tensors[i].bytes()), name);
  });
});

test("a file of theirs with numbers of the other end first is refused by name", async () => {
  const path = join(folder, "big-endian.gguf");
  writeGgufFile(path, { metadata, tensors: [] });
  const { typedMetadata } = await gguf(path, { allowLocalFile: true, typedMetadata: true });
  const bytes = serializeGgufMetadata(typedMetadata, { littleEndian: false });
  assert.throws(() => readGguf(bytes), UnsupportedFormatError);
});

/** What @huggingface/gguf tells of an entry, without its types by key. */
interface TypedValue {
  readonly type: number;
  readonly value: unknown;
  readonly subType?: number;
}

/** A llama of one layer whose matrices have a type; llama.cpp keeps norms in float32. */
function tinyLlama(dtype: SourceDtype): GgufInput {
  const [dim, hidden, vocabulary] = [256, 512, 259];
  const byte = (i: number): string => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`;
  const tokens = ["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, i) => byte(i))];
  const tokenTypes = tokens.map((_, i) => [2, 3, 3][i] ?? 6);
  const entries: [string, GgufValue][] = [
    ["general.architecture", { type: "string", value: "llama" }],
    ["llama.context_length", { type: "u32", value: 64 }],
    ["llama.embedding_length", { type: "u32", value: dim }],
    ["llama.block_count", { type: "u32", value: 1 }],
    ["llama.feed_forward_length", { type: "u32", value: hidden }],
    ["llama.attention.head_count", { type: "u32", value: 8 }],
    ["llama.attention.head_count_kv", { type: "u32", value: 2 }],
    ["llama.attention.layer_norm_rms_epsilon", { type: "f32", value: 1e-5 }],
    ["llama.vocab_size", { type: "u32", value: vocabulary }],
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", ggufArray("string", tokens)],
    ["tokenizer.ggml.scores", ggufArray("f32", [...tokens.keys()])],
    ["tokenizer.ggml.token_type", ggufArray("i32", tokenTypes)],
  ];
  const matrices: [string, number, number][] = [
    ["token_embd", vocabulary, dim],
    ["output", vocabulary, dim],
    ["blk.0.attn_q", dim, dim],
    ["blk.0.attn_k", dim / 4, dim],
    ["blk.0.attn_v", dim / 4, dim],
    ["blk.0.attn_output", dim, dim],
    ["blk.0.ffn_gate", hidden, dim],
    ["blk.0.ffn_up", hidden, dim],
    ["blk.0.ffn_down", dim, hidden],
  ];
  const norms = ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"];
  const tensors = [
    ...matrices.map(([name, rows, columns], i) => tensor(`${name}.weight`, dtype, [rows, columns], i)),
    ...norms.map((name) => tensor(`${name}.weight`, "f32", [dim])),
  ];
  return { metadata: new Map(entries), tensors };
}

test("llama.cpp loads what we write in every type of its weights, and checks its tensors", async () => {
  const options = { build: "never", gpu: false, skipDownload: true, progressLogs: false } as const;
  const llama = await getLlama({ ...options, logLevel: LlamaLogLevel.disabled, maxThreads: 1 });
  try {
    for (const dtype of ggufTypes.filter((name) => /^(f32|f16|bf16|q|iq|tq)/.test(name))) {
      const input = tinyLlama(dtype);
      const path = join(folder, `${dtype}.gguf`);
      writeGgufFile(path, input);
      const model = await llama.loadModel({ modelPath: path, gpuLayers: 0, checkTensors: true });
      const sizeBytes = input.tensors.reduce(
        (sum, { dtype: type, shape }) => sum + (tensorSizeBytes(type, shape) ?? 0),
        0,
      );
      assert.equal(model.size, sizeBytes, dtype);
      await model.dispose();
    }
  } finally {
    await llama.dispose();
  }
});

test("llama.cpp and @huggingface/gguf take a model of ours in several files", async () => {
  const { metadata: entries, tensors } = tinyLlama("q8_0");
  const paths = [0, 1].map((part) => {
    const path = join(folder, `split-0000${part + 1}-of-00002.gguf`);
    const split = new Map<string, GgufValue>([
      ...(part === 0 ? entries : []),
      ["split.no", { type: "u16", value: part }],
      ["split.count", { type: "u16", value: 2 }],
      ["split.tensors.count", { type: "i32", value: tensors.length }],
    ]);
    writeGgufFile(path, { metadata: split, tensors: part === 0 ? tensors.slice(0, 5) : tensors.slice(5) });
    return path;
  });
  const { shards } = await ggufAllShards(paths[0], { allowLocalFile: true });
  assert.equal(shards.flatMap(({ tensorInfos }) => tensorInfos).length, tensors.length);
  const options = { build: "never", gpu: false, skipDownload: true, progressLogs: false } as const;
  const llama = await getLlama({ ...options, logLevel: LlamaLogLevel.disabled, maxThreads: 1 });
  const model = await llama.loadModel({ modelPath: paths[0], gpuLayers: 0 });
  const sizeBytes = tensors.reduce((sum, { dtype, shape }) => sum + (tensorSizeBytes(dtype, shape) ?? 0), 0);
  assert.equal(model.size, sizeBytes);
  await model.dispose();
  await llama.dispose();
});
