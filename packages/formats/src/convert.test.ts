import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  convertTensor,
  decodeTensorValues,
  encodeValues,
  findTensor,
  InvalidTensorError,
  readGguf,
  writeGguf,
} from "./index.ts";
import type { ConvertOptions, GgufInput, SourceDtype, SourceTensor } from "./index.ts";
import { openGguf, writeGgufFile } from "./index.node.ts";

const values = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => (((i * 7919) % 1009) / 1009 - 0.5) * 0.1);

function model(dtype: SourceDtype, shape: readonly number[], data: Float32Array): GgufInput {
  const bytes = (): Uint8Array => encodeValues(dtype, shape, data);
  return { metadata: new Map(), tensors: [{ name: "a", dtype, shape, bytes }] };
}

/** The tensor of a file that is read in ranges, and the largest range that was asked for. */
function watched(input: GgufInput): { readonly tensor: SourceTensor; readonly largest: () => number } {
  const file = writeGguf(input);
  let most = 0;
  const source = readGguf(file, "file", {
    fileSizeBytes: file.length,
    read(byteOffset, sizeBytes) {
      most = Math.max(most, sizeBytes);
      return file.subarray(byteOffset, byteOffset + sizeBytes);
    },
  });
  return { tensor: findTensor(source, "a"), largest: () => most };
}

test("pieces are the bytes of the whole, in every type, and what is held at a time is bounded", () => {
  const rows = 700;
  const shape = [rows, 1536];
  const data = values(rows * 1536);
  const dtypes = ["f32", "q8_0", "q3_k", "tq2_0"] as const;
  for (const dtype of dtypes) {
    const { tensor, largest } = watched(model("f32", shape, data));
    const converted = convertTensor(tensor, { dtype, name: "b" });
    assert.equal(converted.name, "b");
    const pieces = [...converted.pieces!()];
    assert.ok(pieces.length > 1 && largest() <= 4 << 20, dtype);
    assert.ok(Buffer.concat(pieces).equals(encodeValues(dtype, shape, data)), dtype);
  }
});

test("a row that is longer than a piece, and a tensor in its own type", () => {
  const shape = [1, (1 << 20) + 512];
  const data = values(shape[1]);
  const { tensor } = watched(model("q8_0", shape, data));
  const decoded = decodeTensorValues(tensor);
  const importance = new Float32Array(shape[1]).fill(1);
  const cases: readonly ConvertOptions[] = [{}, { dtype: "q4_1" }, { dtype: "tq2_0" }, { dtype: "q6_k", importance }];
  for (const options of cases) {
    const { dtype = "q8_0" } = options;
    const pieces = [...convertTensor(tensor, options).pieces!()];
    assert.equal(pieces.length, 2);
    const expected = dtype === "q8_0" ? tensor.bytes() : encodeValues(dtype, shape, decoded, options.importance);
    assert.ok(Buffer.concat(pieces).equals(expected), dtype);
  }
});

test("a scale of the whole tensor needs the whole tensor", () => {
  const ternary = Float32Array.from({ length: 512 }, (_, i) => ((i % 3) - 1) * 0.5);
  const { tensor } = watched(model("f32", [4, 128], ternary));
  const converted = convertTensor(tensor, { dtype: "i2_s" });
  assert.equal(converted.pieces, undefined);
  const again = watched({ metadata: new Map(), tensors: [converted] });
  assert.deepEqual(decodeTensorValues(again.tensor), ternary);
  const back = watched({ metadata: new Map(), tensors: [convertTensor(again.tensor, { dtype: "f16" })] });
  assert.deepEqual(decodeTensorValues(back.tensor), ternary);
});

test("a file is converted to another, and what does not fit leaves none", () => {
  const folder = mkdtempSync(join(tmpdir(), "fidelity-convert-"));
  try {
    const shape = [8, 256];
    const data = values(2048);
    writeGgufFile(join(folder, "f32.gguf"), model("f32", shape, data));
    using from = openGguf(join(folder, "f32.gguf"));
    const { metadata, tensors } = from.source;
    const write = (dtype: SourceDtype, importance?: Float32Array) => () =>
      writeGgufFile(join(folder, "out.gguf"), {
        metadata,
        tensors: tensors.map((t) => convertTensor(t, { dtype, importance })),
      });
    assert.throws(write("i32"), InvalidTensorError);
    assert.throws(write("q4_k", new Float32Array(5)), /256 columns/);
    assert.throws(write("q4_0", new Float32Array(256)), /none, or a K type/);
    assert.throws(() => openGguf(join(folder, "out.gguf")), /out\.gguf/);
    write("q4_k", new Float32Array(256).fill(2))();
    using to = openGguf(join(folder, "out.gguf"));
    const expected = encodeValues("q4_k", shape, data, new Float32Array(256).fill(2));
    assert.deepEqual(findTensor(to.source, "a").bytes(), expected);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
