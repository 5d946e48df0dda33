// Every type that is written, byte for byte beside llama.cpp's own library; and every type that is read.

import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeValues, encodeValues, SOURCE_DTYPES, tensorSizeBytes } from "../index.ts";
import type { SourceDtype } from "../index.ts";
import { loadGgml } from "../testing-ggml.node.ts";
import { ggufIdOf } from "./table.ts";

const { ggml, reason } = loadGgml();
const withGgml = { skip: ggml === undefined ? reason : false };

const COLUMNS = 512;
const ROWS = 8;
const SHAPE = [ROWS, COLUMNS] as const;

const BLOCK_TYPES = SOURCE_DTYPES.filter((dtype) => /^(q\d|iq4|tq)/.test(dtype));
const SEARCHED = BLOCK_TYPES.filter((dtype) => /_k$|iq4/.test(dtype));

function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  };
}

/** Numbers of many kinds; the float16 factors of all types hold the largest. */
function families(seed: number): Readonly<Record<string, Float32Array>> {
  const random = uniform(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(random() + 2 ** -24)) * Math.cos(2 * Math.PI * random());
  const fill = (make: (i: number) => number): Float32Array =>
    Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => make(i));
  return {
    normal: fill(normal),
    "small as weights": fill(() => normal() * 0.02),
    positive: fill(random),
    zeros: fill(() => 0),
    "zeros of both signs": fill(() => (random() < 0.5 ? -0 : 0)),
    constant: fill(() => 0.7),
    "constant and negative": fill(() => -0.7),
    "each sixteen of another size": fill((i) => normal() * 2 ** ((Math.floor(i / 16) % 21) - 12)),
    sparse: fill(() => (random() < 0.05 ? normal() : 0)),
    "one large": fill((i) => (i % 97 === 5 ? 1000 : normal())),
    large: fill(() => normal() * 10_000),
    "too small for float16": fill(() => normal() * 1e-7),
    "about what counts as 0": fill(() => normal() * 1e-14),
    subnormal: fill(() => normal() * 1e-40),
    "of all sizes": fill(() => normal() * 10 ** (random() * 40 - 38)),
    ternary: fill(() => (Math.floor(3 * random()) - 1) * 0.3),
    integers: fill(() => Math.floor(17 * random()) - 8),
  };
}

function differing(dtype: SourceDtype, values: Float32Array, importance?: Float32Array): number {
  const sizeBytes = tensorSizeBytes(dtype, SHAPE) ?? 0;
  const expected = ggml!.quantize(ggufIdOf(dtype) ?? -1, values, COLUMNS, sizeBytes, importance);
  return encodeValues(dtype, SHAPE, values, importance).reduce((n, byte, i) => n + Number(byte !== expected[i]), 0);
}

test("what is written is llama.cpp's, byte for byte", withGgml, () => {
  for (const seed of [1, 2]) {
    for (const [family, values] of Object.entries(families(seed))) {
      for (const dtype of BLOCK_TYPES) assert.equal(differing(dtype, values), 0, `${dtype}, ${family}, seed ${seed}`);
    }
  }
});

test("and with importance", withGgml, () => {
  const random = uniform(5);
  // A column in ten does not count at all.
  const importance = Float32Array.from({ length: COLUMNS }, () => Math.max(0, random() - 0.1) ** 2);
  for (const [family, values] of Object.entries(families(3))) {
    for (const dtype of SEARCHED) assert.equal(differing(dtype, values, importance), 0, `${dtype}, ${family}`);
  }
});

test("importance makes what counts more exact", () => {
  const { normal: values } = families(4);
  const importance = Float32Array.from({ length: COLUMNS }, (_, i) => (i % 16 === 0 ? 100 : 1));
  const error = (bytes: Uint8Array, dtype: SourceDtype): number =>
    decodeValues(dtype, SHAPE, bytes).reduce((sum, x, i) => sum + (i % 16 === 0 ? (x - values[i]) ** 2 : 0), 0);
  for (const dtype of SEARCHED) {
    const plain = error(encodeValues(dtype, SHAPE, values), dtype);
    assert.ok(error(encodeValues(dtype, SHAPE, values, importance), dtype) < plain, dtype);
  }
  assert.throws(() => encodeValues("q4_k", SHAPE, values, importance.subarray(1)), /512 columns/);
  assert.throws(() => encodeValues("q8_0", SHAPE, values, importance), /none, or a K type/);
});

test("float16 and bfloat16 round as llama.cpp's do, subnormal, infinite and no numbers included", withGgml, () => {
  const lower = [0, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x7fff, 0x8000, 0x8001, 0xffff];
  const bits = Uint32Array.from({ length: lower.length << 16 }, (_, i) => ((i << 16) | lower[i >>> 16]) >>> 0);
  const values = new Float32Array(bits.buffer);
  const half = new Uint16Array(encodeValues("f16", [values.length], values).buffer);
  const expected = ggml!.halves(values);
  for (let i = 0; i < half.length; i++) {
    // A NaN has no sign that JavaScript keeps.
    const isSame =
      half[i] === expected[i] || (Number.isNaN(values[i]) && (half[i] & 0x7fff) === (expected[i] & 0x7fff));
    assert.ok(isSame, `${values[i]}: ${half[i]}, not ${expected[i]}`);
  }
  assert.deepEqual(new Uint16Array(encodeValues("bf16", [values.length], values).buffer), ggml!.brains(values));
});

test("what is read is what llama.cpp reads, from any bytes whose factors are numbers", withGgml, () => {
  const random = uniform(6);
  for (const dtype of BLOCK_TYPES) {
    const decode = ggml!.dequantizer(dtype.replace("_k", "_K"));
    for (const values of Object.values(families(7))) {
      const bytes = encodeValues(dtype, SHAPE, values);
      for (let i = 0; i < bytes.length; i += 3) if (random() < 0.2) bytes[i] ^= 1 << Math.floor(8 * random());
      const expected = decode(bytes, ROWS * COLUMNS);
      assert.deepEqual(decodeValues(dtype, SHAPE, bytes), expected, dtype);
    }
  }
});
