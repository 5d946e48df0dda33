import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  blockOf,
  decodeTensorValues,
  encodeValues,
  FileSizeError,
  findTensor,
  FormatError,
  InvalidHeaderError,
  InvalidTensorError,
  readSafetensors,
  readSafetensorsIndex,
  safetensorsPieces,
  UnsupportedFormatError,
} from "./index.ts";
import type { SafetensorsInput, TensorToWrite } from "./index.ts";
import { openSafetensors, openSafetensorsIndex, writeSafetensorsFile } from "./index.node.ts";
import { mutations } from "./testing-mutations.ts";

const write = (input: SafetensorsInput): Uint8Array => Buffer.concat([...safetensorsPieces(input)]);

function tensor(
  name: string,
  dtype: TensorToWrite["dtype"],
  shape: readonly number[],
  bytes: Uint8Array,
): TensorToWrite {
  return { name, dtype, shape, bytes: () => bytes };
}

const input: SafetensorsInput = {
  metadata: { format: "pt", __proto__x: "a" },
  tensors: [
    tensor("mask", "bool", [3], Uint8Array.of(1, 0, 1)),
    tensor("byte", "u8", [], Uint8Array.of(7)),
    tensor("signed", "i8", [2], Uint8Array.of(255, 1)),
    tensor("short", "i16", [1], Uint8Array.of(254, 255)),
    tensor("int", "i32", [1], Uint8Array.of(1, 0, 0, 0)),
    tensor("long", "i64", [1], Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255)),
    tensor("half", "f16", [2], encodeValues("f16", [2], Float32Array.of(1, -2))),
    tensor("brain", "bf16", [2], encodeValues("bf16", [2], Float32Array.of(3, 0.5))),
    tensor("single", "f32", [2, 2], encodeValues("f32", [2, 2], Float32Array.of(1, 2, 3, 4))),
    tensor("double", "f64", [1], encodeValues("f64", [1], Float32Array.of(0.25))),
    tensor("empty", "f32", [0, 4], new Uint8Array(0)),
  ],
};

test("what is written is read, aligned to its element's width", () => {
  const bytes = write(input);
  const source = readSafetensors(bytes);
  assert.deepEqual(source.config, input.metadata);
  assert.equal(source.tensors.length, input.tensors.length);
  const expected: Record<string, readonly number[]> = {
    mask: [1, 0, 1],
    byte: [7],
    signed: [-1, 1],
    short: [-2],
    int: [1],
    long: [-1],
    half: [1, -2],
    brain: [3, 0.5],
    single: [1, 2, 3, 4],
    double: [0.25],
    empty: [],
  };
  for (const { name, dtype, shape } of input.tensors) {
    const found = findTensor(source, name);
    assert.deepEqual([found.dtype, found.shape], [dtype, shape]);
    assert.deepEqual([...decodeTensorValues(found)], expected[name], name);
    assert.equal(found.byteOffset % blockOf(dtype).blockBytes, 0, name);
  }
});

/** A file with this header and so many bytes of data. */
function handMade(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

test("hostile headers are refused by name", () => {
  const f32 = (start: number, end: number, shape: unknown = [1]): object => {
    return { dtype: "F32", shape, data_offsets: [start, end] };
  };
  assert.equal(readSafetensors(handMade({ a: f32(0, 4) }, 4)).tensors.length, 1);
  const tooLong = new Uint8Array(16);
  new DataView(tooLong.buffer).setBigUint64(0, 2n ** 62n, true);
  const cases: [Uint8Array, RegExp][] = [
    [tooLong, /header length[^]*byte 0/],
    [new Uint8Array([0, 1, 0, 0, 0, 0, 0, 0]), /ends inside of the header/],
    [new Uint8Array(4), /ends inside of/],
    [handMade("", 0), /not JSON/],
    [handMade("{", 0), /not JSON/],
    [handMade("[]", 0), /not JSON/],
    [handMade("{".repeat(50_000), 0), /not JSON/],
    [handMade(`{"a":${"[".repeat(50_000)}`, 0), /not JSON/],
    [handMade({ a: 1 }, 0), /describes tensor "a" wrongly/],
    [handMade({ a: { dtype: "F32" } }, 4), /shape/],
    [handMade({ a: f32(0, 8) }, 8), /4 bytes apart/],
    [handMade({ a: f32(4, 0) }, 4), /4 bytes apart/],
    [handMade({ a: f32(0, 4, [-1]) }, 4), /a shape/],
    [handMade({ a: f32(0, 4, [2 ** 52, 2 ** 52]) }, 4), /below 2\^53/],
    [handMade({ a: f32(0, 4), b: f32(0, 4) }, 4), /overlap/],
    [handMade({ a: f32(0, 4), b: f32(8, 12) }, 12), /gap/],
    [handMade({ a: f32(4, 8) }, 8), /gap/],
    [handMade({ a: f32(0, 4) }, 3), /ends inside of its tensors/],
    [handMade({ a: f32(0, 4) }, 5), /goes on after its tensors/],
    [handMade({ a: { ...f32(0, 4), dtype: "F8_E4M3" } }, 4), /F8_E4M3/],
    [handMade({ __metadata__: { a: 1 } }, 0), /impossible metadata/],
    [handMade({ __metadata__: [] }, 0), /impossible metadata/],
  ];
  for (const [bytes, expected] of cases) {
    assert.throws(
      () => readSafetensors(bytes),
      (error) => error instanceof FormatError && expected.test(error.message),
      String(expected),
    );
  }
  assert.throws(() => readSafetensors(handMade({ a: { ...f32(0, 4), dtype: "?" } }, 4)), UnsupportedFormatError);
  assert.throws(() => readSafetensors(handMade({ a: f32(0, 4) }, 3)), FileSizeError);
});

test("nothing is written that the format cannot hold", () => {
  const one = new Uint8Array(4);
  const refused = (...tensors: TensorToWrite[]): void => assert.throws(() => write({ tensors }), InvalidTensorError);
  refused(tensor("a", "q4_0", [32], new Uint8Array(18)));
  refused(tensor("a", "f32", [2], one));
  refused(tensor("a", "f32", [1], one), tensor("a", "f32", [1], one));
  refused(tensor("__metadata__", "f32", [1], one));
});

test("several files are one model by their index, and an index leads nowhere else", () => {
  const folder = mkdtempSync(join(tmpdir(), "fidelity-safetensors-"));
  try {
    const [first, second] = [input.tensors.slice(0, 5), input.tensors.slice(5)];
    writeSafetensorsFile(join(folder, "m-1.safetensors"), { ...input, tensors: first });
    const sizeBytes = writeSafetensorsFile(join(folder, "m-2.safetensors"), { ...input, tensors: second });
    assert.equal(readFileSync(join(folder, "m-2.safetensors")).length, sizeBytes);
    const map = Object.fromEntries(input.tensors.map(({ name }, i) => [name, `m-${i < 5 ? 1 : 2}.safetensors`]));
    const indexPath = join(folder, "model.safetensors.index.json");
    writeFileSync(indexPath, JSON.stringify({ metadata: { total_size: 1 }, weight_map: map }));
    {
      using opened = openSafetensorsIndex(indexPath);
      for (const { name, bytes } of input.tensors) {
        assert.deepEqual(findTensor(opened.source, name).bytes(), bytes(), name);
      }
      using part = openSafetensors(join(folder, "m-1.safetensors"));
      assert.equal(part.source.tensors.length, 5);
    }
    writeFileSync(indexPath, JSON.stringify({ weight_map: { ...map, lost: "m-1.safetensors" } }));
    assert.throws(() => openSafetensorsIndex(indexPath), InvalidTensorError);
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const file of [
    "../m.safetensors",
    "/etc/passwd",
    "a/b.safetensors",
    "m.bin",
    1,
    `${"m".repeat(201)}.safetensors`,
    "\u001b.safetensors",
  ]) {
    assert.throws(() => readSafetensorsIndex(JSON.stringify({ weight_map: { a: file } })), InvalidHeaderError);
  }
  for (const text of ["", "[]", "{}", '{"weight_map":[]}']) {
    assert.throws(() => readSafetensorsIndex(text), InvalidHeaderError);
  }
});

test("mutated files give a named error or a model whose tensors lie inside of the file", () => {
  let accepted = 0;
  for (const bytes of mutations(write(input), { seed: 21, count: 3000 })) {
    try {
      for (const item of readSafetensors(bytes).tensors) decodeTensorValues(item);
      accepted++;
    } catch (error) {
      assert.ok(error instanceof FormatError, String(error));
    }
  }
  assert.ok(accepted > 0 && accepted < 3000);
});
