import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { assertFinite, findTensor, float32Values, readLlama2c, readLlama2cHeader, writeLlama2c } from "./index.ts";
import { FileSizeError, InvalidHeaderError, InvalidTensorError, llama2cFileSizeBytes } from "./index.ts";
import type { Llama2cHeader } from "./index.ts";

const small: Llama2cHeader = {
  dim: 8,
  hiddenDim: 12,
  layerCount: 2,
  headCount: 4,
  keyValueHeadCount: 2,
  vocabSize: 16,
  contextLength: 6,
  tiedEmbeddings: true,
};
const sharedModel = join(import.meta.dirname, "../../../../shared/data/stories260K/stories260K.bin");

/** A file in which every element of the tensors tells its place, so that a misread tensor cannot go unnoticed. */
function numberedFile(header: Llama2cHeader): { bytes: Uint8Array; values: Map<string, Float32Array> } {
  const values = new Map<string, Float32Array>();
  let next = 0;
  const elementCount = (name: string): number => {
    const { dim, hiddenDim, vocabSize } = header;
    const keyValueDim = (dim / header.headCount) * header.keyValueHeadCount;
    if (/^(embedding|head)\./.test(name)) return vocabSize * dim;
    if (/Norm\./.test(name)) return dim;
    if (/\.(key|value)\./.test(name)) return keyValueDim * dim;
    if (/feedForward\./.test(name)) return hiddenDim * dim;
    return dim * dim;
  };
  const bytes = writeLlama2c(header, (name) => {
    const tensor = Float32Array.from({ length: elementCount(name) }, () => next++);
    values.set(name, tensor);
    return tensor;
  });
  return { bytes, values };
}

test("what the writer writes, the reader names and finds, tied or not", () => {
  for (const tiedEmbeddings of [true, false]) {
    const header = { ...small, tiedEmbeddings };
    const { bytes, values } = numberedFile(header);
    const source = readLlama2c(bytes);
    assert.deepEqual(readLlama2cHeader(bytes), header);
    assert.equal(source.tensors.length, values.size);
    assert.equal(values.has("head.weight"), !tiedEmbeddings);
    for (const [name, expected] of values) assert.deepEqual(float32Values(findTensor(source, name)), expected);
    assertFinite(source);
  }
});

test("the file has the layout of run.c: stacked by kind, gate before down before up, rotary tables at the end", () => {
  const { bytes } = numberedFile({ ...small, tiedEmbeddings: false });
  const offsets = Object.fromEntries(readLlama2c(bytes).tensors.map((tensor) => [tensor.name, tensor.byteOffset]));
  const element = (name: string): number => (offsets[name] - 28) / 4;
  assert.equal(element("embedding.weight"), 0);
  assert.equal(element("blocks.0.attentionNorm.weight"), 16 * 8);
  assert.equal(element("blocks.1.attentionNorm.weight"), 16 * 8 + 8);
  assert.equal(element("blocks.0.attention.query.weight"), 16 * 8 + 16);
  assert.equal(element("blocks.0.attention.key.weight"), 16 * 8 + 16 + 2 * 64);
  assert.equal(element("blocks.0.attention.value.weight"), 16 * 8 + 16 + 2 * 64 + 2 * 32);
  const gate = 16 * 8 + 16 + 4 * 64 + 4 * 32 + 16;
  assert.equal(element("blocks.0.feedForward.gate.weight"), gate);
  assert.equal(element("blocks.0.feedForward.down.weight"), gate + 2 * 96);
  assert.equal(element("blocks.0.feedForward.up.weight"), gate + 4 * 96);
  assert.equal(element("finalNorm.weight"), gate + 6 * 96);
  assert.equal(element("head.weight"), gate + 6 * 96 + 8 + 2 * 6 * 1);
  // Head size 2 has one pair, which turns by the position itself.
  const view = new DataView(bytes.buffer);
  assert.equal(view.getFloat32(28 + 4 * (gate + 6 * 96 + 8 + 3), true), Math.fround(Math.cos(3)));
  assert.equal(view.getFloat32(28 + 4 * (gate + 6 * 96 + 8 + 6 + 3), true), Math.fround(Math.sin(3)));
});

test("tensors are views of the file wherever it lies, and only an odd address makes a copy", () => {
  const { bytes, values } = numberedFile(small);
  for (const offset of [0, 4, 64, 3]) {
    const region = Buffer.alloc(bytes.length + 100); // a Buffer is what a reader of files has in hand
    region.set(bytes, offset);
    const source = readLlama2c(region.subarray(offset, offset + bytes.length));
    const tensor = findTensor(source, "blocks.1.feedForward.up.weight");
    assert.equal(tensor.bytes().buffer, region.buffer);
    assert.equal(float32Values(tensor).buffer === region.buffer, offset !== 3);
    assert.deepEqual(float32Values(tensor), values.get("blocks.1.feedForward.up.weight"));
  }
});

test("a file of any other size is refused, and says by how much", () => {
  const { bytes } = numberedFile(small);
  assert.equal(bytes.length, llama2cFileSizeBytes(small));
  fc.assert(
    fc.property(fc.integer({ min: 0, max: bytes.length - 1 }), (length) => {
      assert.throws(() => readLlama2c(bytes.subarray(0, length), "cut.bin"), FileSizeError);
    }),
    { numRuns: 50 },
  );
  const longer = new Uint8Array(bytes.length + 4);
  longer.set(bytes);
  assert.throws(() => readLlama2c(longer, "long.bin"), /long\.bin is longer(.|\n)*expected: +\d+ bytes/);
});

test("absurd headers are named before anything is allocated", () => {
  const { bytes } = numberedFile(small);
  const withField = (index: number, value: number): Uint8Array => {
    const copy = bytes.slice();
    new DataView(copy.buffer).setInt32(4 * index, value, true);
    return copy;
  };
  const cases: readonly (readonly [index: number, value: number, message: RegExp])[] = [
    [0, 0, /impossible dim/],
    [1, -5, /impossible hiddenDim/],
    [2, 0x7fc00000, /impossible layerCount(.|\n)*byte 8/], // the bits of a float NaN
    [3, 3, /contradicts itself(.|\n)*dim 8 with 3 heads/],
    [3, 8, /even head size/],
    [4, 3, /4 heads, 3 key and value heads/],
    [5, 0, /impossible vocabSize/],
    [5, -(2 ** 31), /impossible vocabSize/],
    [6, 2 ** 30, /impossible contextLength/],
    [0, 0x616b3432, /version 12(.|\n)*--version 0/],
  ];
  for (const [index, value, message] of cases) {
    assert.throws(
      () => readLlama2c(withField(index, value)),
      (error) => {
        assert.ok(error instanceof InvalidHeaderError);
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("any seven numbers give a header or a named error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 64 }), (bytes) => {
      try {
        readLlama2c(bytes);
      } catch (error) {
        assert.ok(error instanceof InvalidHeaderError || error instanceof FileSizeError, String(error));
      }
    }),
  );
});

test("a NaN is found by name and place, and a missing or wrong tensor is named", () => {
  const { bytes } = numberedFile(small);
  const source = readLlama2c(bytes);
  const tensor = findTensor(source, "blocks.1.attention.output.weight");
  float32Values(tensor)[5] = NaN;
  assert.throws(() => assertFinite(source), /blocks\.1\.attention\.output\.weight(.|\n)*element 5 of shape \[8, 8\]/);
  assert.throws(() => findTensor(source, "lm_head"), InvalidTensorError);
  assert.throws(() => writeLlama2c(small, () => new Float32Array(3)), /"embedding\.weight" does not fit/);
});

test("the documented shapes of stories260K, where its file is present", () => {
  const bytes = existsSync(sharedModel) ? readFileSync(sharedModel) : undefined;
  const header = { ...small, dim: 64, hiddenDim: 172, layerCount: 5, headCount: 8, keyValueHeadCount: 4 };
  const documented = { ...header, vocabSize: 512, contextLength: 512 };
  assert.equal(llama2cFileSizeBytes(documented), 1056540);
  if (bytes === undefined) return;
  const source = readLlama2c(bytes, sharedModel);
  assert.deepEqual(readLlama2cHeader(bytes), documented);
  assertFinite(source);
  const rewritten = writeLlama2c(documented, (name) => float32Values(findTensor(source, name)));
  // Everything but the rotary tables, whose last bit is the maths library's.
  const tableStart = bytes.length - 2 * 512 * 4 * 4;
  assert.ok(Buffer.from(rewritten.subarray(0, tableStart)).equals(bytes.subarray(0, tableStart)));
  const elements = (file: Uint8Array): Float32Array => new Float32Array(new Uint8Array(file).buffer, tableStart);
  const ours = elements(rewritten);
  assert.ok(elements(bytes).every((value, index) => Math.abs(value - ours[index]) < 1e-4));
});
