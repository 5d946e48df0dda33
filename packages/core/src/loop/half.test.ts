// float16 by integer arithmetic, bit by bit beside the engine's Float16Array and DataView: all 65,536 numbers one way,
// and the other way every number where rounding changes, with its neighbours, and random ones.

import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../testing.ts";
import { buildKernel } from "./builder.ts";
import { evaluateKernel } from "./evaluate.ts";
import { loopType } from "./ir.ts";

const LANES = 4;

/** Runs a conversion of vectors over `bytes`, whose results are behind them. */
function convert(bytes: Uint8Array, count: number, cellBytes: number, toHalf: boolean): ArrayBuffer {
  const memory = new ArrayBuffer(2 * bytes.byteLength + 4 * count + 64);
  new Uint8Array(memory).set(bytes);
  const kernel = buildKernel("convert", 2, (k, [from, to]) => {
    k.loop(0, count, LANES, (at) => {
      const memoryOf = (half: boolean): "f16" | undefined => (half ? "f16" : undefined);
      const x = k.load(loopType("f32", LANES), k.offset(from!, at, cellBytes), 0, memoryOf(!toHalf));
      k.store(x, k.offset(to!, at, 6 - cellBytes), 0, memoryOf(toHalf));
    });
  });
  evaluateKernel(kernel, memory, 0, 0, [0, bytes.byteLength]);
  return memory.slice(bytes.byteLength);
}

test("every float16 is the float32 that the engine says", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const got = new Float32Array(convert(new Uint8Array(bits.buffer), 65536, 2, false), 0, 65536);
  const wanted = Float32Array.from(new Float16Array(bits.buffer));
  const at = got.findIndex((value, i) => !Object.is(value, wanted[i]));
  assert.equal(at, -1, `${got[at]} for ${wanted[at]}`);
});

test("a float32 becomes the nearest float16, ties to even, with subnormals, infinities and signs", () => {
  const numbers: number[] = [0, -0, NaN, Infinity, -Infinity, 65519.996, 65520, 65535.9, 65536, 1e30, 1e-45, 2 ** -25];
  const halves = new Float16Array(Uint16Array.from({ length: 0x7c00 }, (_, i) => i).buffer);
  const words = new DataView(new ArrayBuffer(4));
  // Each number between two neighbours, and the float32 on either side of it.
  for (let i = 0; i + 1 < halves.length; i += 7) {
    words.setFloat32(0, (halves[i]! + halves[i + 1]!) / 2);
    const middle = words.getInt32(0);
    for (const bits of [middle - 1, middle, middle + 1]) {
      words.setInt32(0, bits);
      numbers.push(words.getFloat32(0), -words.getFloat32(0));
    }
  }
  const random = seededRandom(3);
  for (let i = 0; i < 5000; i++) {
    words.setUint32(0, Math.floor(random() * 2 ** 32));
    numbers.push(words.getFloat32(0));
  }
  while (numbers.length % LANES !== 0) numbers.push(0);
  const floats = Float32Array.from(numbers);
  const got = new Uint16Array(convert(new Uint8Array(floats.buffer), floats.length, 4, true), 0, floats.length);
  const wanted = new Uint16Array(Float16Array.from(floats).buffer);
  // All numbers of infinite exponent and a fraction are NaN; which one is open.
  const same = (bits: number): number => ((bits & 0x7fff) > 0x7c00 ? 0x7e00 : bits);
  assert.deepEqual(got.map(same), wanted.map(same));
});
