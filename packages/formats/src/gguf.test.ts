import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SharedArena, WASM_PAGE_BYTES } from "@fidelity/barewire";
import { FileError } from "@fidelity/barewire/node";
import {
  decodeTensorValues,
  encodeValues,
  FileSizeError,
  findTensor,
  FormatError,
  ggufArray,
  InvalidHeaderError,
  InvalidTensorError,
  MoreBytesNeeded,
  readGguf,
  tensorSizeBytes,
  UnsupportedFormatError,
  writeGguf,
} from "./index.ts";
import type { GgufInput, GgufValue, SourceDtype, TensorToWrite } from "./index.ts";
import { openGguf, writeGgufFile } from "./index.node.ts";
import { mutations } from "./testing-mutations.ts";

const parity = join(import.meta.dirname, "../../../../shared/data/parity");
const withoutParity = { skip: existsSync(parity) ? false : "the reference models are not here" };

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
  ["a.empty", ggufArray("u16", [])],
  ["tokens", ggufArray("string", ["<s>", "é", ""])],
  ["flags", ggufArray("bool", [true, false])],
  ["counts", ggufArray("i64", [-1n, 2n])],
]);

function tensor(name: string, dtype: SourceDtype, shape: readonly number[], fill = 1): TensorToWrite {
  return { name, dtype, shape, bytes: () => new Uint8Array(tensorSizeBytes(dtype, shape) ?? 0).fill(fill) };
}

const input: GgufInput = {
  metadata,
  tensors: [
    tensor("a.weight", "f32", [3, 2]),
    tensor("b.weight", "q4_0", [2, 32]),
    tensor("c.weight", "tq1_0", [1, 256]),
    tensor("d.weight", "i2_s", [2, 64]),
    tensor("e.weight", "bf16", [5]),
    tensor("f.scalar", "i16", []),
  ],
};

test("what is written is read: metadata of every type, tensors of several", () => {
  const source = readGguf(writeGguf(input));
  assert.equal(source.version, 3);
  assert.deepEqual([...source.metadata.keys()], [...metadata.keys()]);
  for (const [key, expected] of metadata) {
    const got = source.metadata.get(key);
    if (expected.type === "array" && got?.type === "array") {
      assert.equal(got.elementType, expected.elementType);
      assert.deepEqual(got.values(), expected.values(), key);
    } else {
      assert.deepEqual(got, expected, key);
    }
  }
  assert.equal(source.config["a.u64"], "18446744073709551615");
  assert.equal(source.config["a.i64"], -5);
  assert.deepEqual(
    source.tensors.map(({ name, dtype, shape, byteOffset }) => [name, dtype, shape, byteOffset % 32]),
    input.tensors.map(({ name, dtype, shape }) => [name, dtype, shape, 0]),
  );
  for (const { name, bytes } of input.tensors) assert.deepEqual(findTensor(source, name).bytes(), bytes(), name);
  assert.deepEqual(writeGguf({ metadata: source.metadata, tensors: source.tensors }), writeGguf(input));
});

test("version 2 is read as 3 is, versions of a kind that is not read are named", () => {
  const bytes = writeGguf(input);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, 2, true);
  assert.equal(readGguf(bytes).version, 2);
  view.setUint32(4, 1, true);
  assert.throws(() => readGguf(bytes), UnsupportedFormatError);
  view.setUint32(4, 3, false);
  assert.throws(() => readGguf(bytes), /big-endian/);
});

/** A file of one entry and one tensor, from its fields, each of which may be absurd. */
function handMade(fields: Partial<Record<string, number | bigint>> = {}, entry = "k"): Uint8Array {
  const { tensors = 1, entries = 1, type = 4, value = 1, rank = 1, extent = 8, dtype = 0, offset = 0 } = fields;
  const { keyLength = entry.length } = fields;
  const pieces: number[] = [];
  const put = (count: number, number: number | bigint): void => {
    for (let i = 0; i < count; i++) pieces.push(Number((BigInt(number) >> BigInt(8 * i)) & 255n));
  };
  const text = (characters: string): void => {
    for (const character of characters) pieces.push(character.charCodeAt(0));
  };
  text("GGUF");
  put(4, 3);
  put(8, tensors);
  put(8, entries);
  put(8, keyLength);
  text(entry);
  put(4, type);
  put(4, value);
  put(8, 1);
  text("t");
  put(4, rank);
  put(8, extent);
  put(4, dtype);
  put(8, offset);
  while (pieces.length % 32 !== 0) pieces.push(0);
  return Uint8Array.from([...pieces, ...new Uint8Array(32)]);
}

test("hostile headers are refused by name and place before anything is allocated", () => {
  assert.equal(readGguf(handMade()).tensors[0].shape[0], 8);
  const huge = 2n ** 63n;
  const cases: [fields: Partial<Record<string, number | bigint>>, expected: RegExp, key?: string][] = [
    [{ tensors: huge }, /number of tensors[^]*byte 8/],
    [{ entries: huge }, /number of metadata entries[^]*byte 16/],
    [{ keyLength: huge }, /length of key 0[^]*byte 24/],
    [{ keyLength: 60_000 }, /ends inside of key 0/],
    [{ type: 13 }, /unknown type of "k"[^]*byte 33/],
    [{ type: 7, value: 2 }, /0 or 1 for a boolean/],
    [{ rank: 5 }, /impossible rank/],
    [{ extent: 0 }, /empty tensor/],
    [{ extent: huge }, /extent of "t"/],
    [{ extent: 2n ** 52n }, /impossible shape/],
    [{ extent: 8, dtype: 2 }, /whole blocks of q4_0/],
    [{ extent: 9 }, /ends before tensor "t"/],
    [{ dtype: 19 }, /19 \(IQ1_S\)/],
    [{ dtype: 4 }, /type that is not read/],
    [{ offset: 8 }, /unaligned/],
    [{ offset: 32 }, /ends before tensor/],
    [{ value: 3 }, /impossible general.alignment/, "general.alignment"],
    [{ value: 0 }, /impossible general.alignment/, "general.alignment"],
  ];
  for (const [fields, expected, key] of cases) {
    assert.throws(
      () => readGguf(handMade(fields, key)),
      (error) => {
        assert.ok(error instanceof FormatError, String(error));
        assert.match(error.message, expected);
        return true;
      },
    );
  }
  assert.throws(() => readGguf(new TextEncoder().encode("GGML....")), InvalidHeaderError);
  assert.throws(() => readGguf(new Uint8Array(3)), FileSizeError);
});

test("tensors that overlap, and names and keys that come twice, are refused", () => {
  const twins = { metadata: new Map(), tensors: [tensor("one", "f32", [8]), tensor("two", "f32", [8])] };
  const bytes = writeGguf(twins);
  const at = (text: string): number => Buffer.from(bytes).indexOf(text);
  const overlapping = bytes.slice();
  overlapping[at("two") + 3 + 4 + 8 + 4] = 0; // the second tensor's offset
  assert.throws(() => readGguf(overlapping), /overlap/);
  const renamed = bytes.slice();
  renamed.set(new TextEncoder().encode("one"), at("two"));
  assert.throws(() => readGguf(renamed), /a tensor twice/);
  const keys = new Map<string, GgufValue>([
    ["k1", { type: "u8", value: 1 }],
    ["k2", { type: "u8", value: 1 }],
  ]);
  const twice = writeGguf({ metadata: keys, tensors: [] });
  twice[Buffer.from(twice).indexOf("k2") + 1] = 0x31;
  assert.throws(() => readGguf(twice), /a key twice/);
});

test("nothing is written that no reader takes", () => {
  const write = (tensors: readonly TensorToWrite[], entries: [string, GgufValue][] = []) => {
    return () => writeGguf({ metadata: new Map(entries), tensors });
  };
  assert.throws(write([tensor("a", "q4_0", [31])]), InvalidTensorError);
  assert.throws(write([tensor("a", "u8", [4])]), /a type that GGUF has/);
  assert.throws(write([tensor("a", "f32", [1, 1, 1, 1, 1])]), /at most 4 axes/);
  assert.throws(write([tensor("a".repeat(64), "f32", [1])]), /at most 63 bytes/);
  assert.throws(write([tensor("a", "f32", [1]), tensor("a", "f32", [1])]), /twice/);
  assert.throws(write([{ ...tensor("a", "f32", [1]), bytes: () => new Uint8Array(3) }]), /4 bytes/);
  assert.throws(write([], [["a", { type: "u8", value: 256 }]]), /256 as u8/);
  assert.throws(write([], [["a", { type: "i32", value: 0.5 }]]), /0.5 as i32/);
  assert.throws(write([], [["a", { type: "string", value: 1 }]]), /number as string/);
  assert.throws(write([], [["a", ggufArray("bool", [1])]]), /number as bool/);
  assert.throws(write([], [["general.alignment", { type: "u32", value: 33 }]]), /power of two/);
});

test("an alignment of its own holds", () => {
  const entries = new Map<string, GgufValue>([["general.alignment", { type: "u32", value: 256 }]]);
  const source = readGguf(writeGguf({ metadata: entries, tensors: input.tensors }));
  assert.ok(source.tensors.every(({ byteOffset }) => byteOffset % 256 === 0));
});

test("files: read in parts, mapped, written whole or not at all", () => {
  const folder = mkdtempSync(join(tmpdir(), "fidelity-gguf-"));
  try {
    const path = join(folder, "model.gguf");
    // A header longer than the first read, so that more is asked for.
    const tokens = ggufArray(
      "string",
      Array.from({ length: 150_000 }, (_, i) => `token ${i}`),
    );
    const large = { metadata: new Map([...metadata, ["vocabulary", tokens] as const]), tensors: input.tensors };
    const sizeBytes = writeGgufFile(path, large);
    const bytes = readFileSync(path);
    assert.equal(bytes.length, sizeBytes);
    {
      using arena = SharedArena.create({ initialBytes: WASM_PAGE_BYTES, maximumBytes: 2 ** 26 });
      using read = openGguf(path);
      using mapped = openGguf(path, { arena });
      for (const { source } of [read, mapped]) {
        const vocabulary = source.metadata.get("vocabulary");
        assert.ok(vocabulary?.type === "array" && vocabulary.values()[149_999] === "token 149999");
        for (const { name, bytes: expected } of input.tensors) {
          assert.deepEqual(Uint8Array.from(findTensor(source, name).bytes()), expected(), name);
        }
      }
    }
    const broken = { ...large, tensors: [...input.tensors, { ...tensor("z", "f32", [8]), bytes: () => bytes }] };
    assert.throws(() => writeGgufFile(path, broken), InvalidTensorError);
    assert.deepEqual(readFileSync(path), bytes);
    assert.deepEqual(readdirSync(folder), ["model.gguf"]);
    assert.throws(() => openGguf(join(folder, "nowhere.gguf")), FileError);
    assert.throws(() => openGguf(folder), FileError);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("mutated files give a named error or a model whose tensors lie inside of the file", () => {
  const original = writeGguf(input);
  let accepted = 0;
  for (const bytes of mutations(original, { seed: 20, count: 4000 })) {
    try {
      const source = readGguf(bytes);
      for (const value of source.metadata.values()) if (value.type === "array") value.values();
      for (const item of source.tensors)
        assert.equal(
          decodeTensorValues(item).length,
          item.shape.reduce((a, b) => a * b, 1),
        );
      accepted++;
    } catch (error) {
      assert.ok(error instanceof FormatError && !(error instanceof MoreBytesNeeded), String(error));
    }
  }
  assert.ok(accepted > 0 && accepted < 4000);
});

test("llama.cpp's own files: every tensor is finite, and read as a plain loop reads it", withoutParity, () => {
  const files = readdirSync(parity).filter((name) => name.endsWith(".gguf"));
  assert.ok(files.length > 0);
  for (const file of files) {
    using opened = openGguf(join(parity, file));
    const { tensors, config } = opened.source;
    assert.equal(typeof config["general.architecture"], "string", file);
    for (const item of tensors) assert.ok(decodeTensorValues(item).every(Number.isFinite), `${file}, ${item.name}`);
  }
  using opened = openGguf(join(parity, "llama-q4_0.gguf"));
  const weight = findTensor(opened.source, "blk.0.attn_q.weight");
  assert.equal(weight.dtype, "q4_0");
  const bytes = weight.bytes();
  const expected = new Float32Array((bytes.length / 18) * 32);
  for (let block = 0; block < bytes.length / 18; block++) {
    const scale = new Float16Array(bytes.slice(18 * block, 18 * block + 2).buffer)[0];
    for (let j = 0; j < 16; j++) {
      const byte = bytes[18 * block + 2 + j];
      expected[32 * block + j] = ((byte % 16) - 8) * scale;
      expected[32 * block + 16 + j] = (Math.floor(byte / 16) - 8) * scale;
    }
  }
  const values = decodeTensorValues(weight);
  assert.deepEqual(values, expected);
  // Codes are found from values by dividing, so that quantising what was quantised gives the same codes again.
  const again = decodeTensorValues({ ...weight, bytes: () => encodeValues("q4_0", weight.shape, values) });
  assert.deepEqual(again, expected);
});

test("a name in a message is cut, and cannot steer a terminal", () => {
  const key = `\u001b[2J\u009b${"k".repeat(1000)}`;
  const bytes = writeGguf({ metadata: new Map([[key, { type: "u8", value: 1 }]]), tensors: [] });
  bytes[24 + 8 + new TextEncoder().encode(key).length] = 99; // the type
  assert.throws(
    () => readGguf(bytes),
    (error) => error instanceof InvalidHeaderError && error.message.length < 500 && !/[^\n\P{Cc}]/u.test(error.message),
  );
});
