// Powers of two where vectors are scaled by one instruction; the functions of all other targets are tested where they
// run (alex/src/targets/wasm/math.test.ts).

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildKernel } from "./builder.ts";
import { evaluateKernel } from "./evaluate.ts";
import { loopType } from "./ir.ts";
import { exp2Of, exp2OfAll } from "./math.ts";
import { verifyKernel } from "./verify.ts";

const TYPE = loopType("f32", 4);

/** 2^x of each of some numbers, a multiple of eight. */
function powers(numbers: Float32Array, together: boolean): Float32Array {
  const bytes = numbers.byteLength;
  const memory = new ArrayBuffer(2 * bytes);
  new Float32Array(memory).set(numbers);
  const generate = buildKernel(
    "powers",
    2,
    (k, [from, to]) => {
      k.loop(0, bytes, 32, (at) => {
        const xs = [0, 16].map((offset) => k.load(TYPE, k.add(from!, at), offset));
        const results = together ? exp2OfAll(k, xs) : xs.map((x) => exp2Of(k, x));
        results.forEach((result, i) => k.store(result, k.add(to!, at), i * 16));
      });
    },
    { scales: true },
  );
  verifyKernel(generate);
  evaluateKernel(generate, memory, 0, 0, [0, bytes]);
  return new Float32Array(memory, bytes);
}

test("powers of two by scaling are exact to two units, subnormal ones included, and need no bounds", () => {
  const points = Float32Array.from({ length: 4000 }, (_, i) => -160 + ((i * 0.6180339887498949) % 1) * 287);
  for (const together of [false, true]) {
    powers(points, together).forEach((found, i) => {
      const exact = 2 ** points[i]!;
      const unit = 2 ** (Math.max(-126, Math.floor(points[i]!)) - 23);
      assert.ok(Math.abs(found - exact) <= 2 * unit, `2^${points[i]} = ${found}, not ${exact}`);
    });
  }
  const edges = Float32Array.of(0, -0, -Infinity, -1e30, Infinity, 1e30, NaN, 128);
  assert.deepEqual([...powers(edges, false)], [1, 1, 0, 0, Infinity, Infinity, NaN, Infinity]);
});
