// The quick way to store a ternary matrix writes the bytes of the plain one.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeTensor, packTernary } from "./host.ts";
import { storageBytes } from "./storage.ts";

test("packTernary writes what encodeTensor writes", () => {
  const side = fc.integer({ min: 1, max: 40 });
  fc.assert(
    fc.property(side, side, fc.infiniteStream(fc.integer({ min: -1, max: 1 })), (rows, columns, stream) => {
      const codes = Float64Array.from({ length: rows * columns }, () => Number(stream.next().value));
      const type = { dtype: "ternary", shape: [rows, columns] } as const;
      const [expected, got] = [new Uint8Array(storageBytes(type)), new Uint8Array(storageBytes(type))];
      encodeTensor({ type, data: codes, scales: Float64Array.of(0.5) }, expected);
      packTernary(
        Float32Array.from(codes, (code) => 0.5 * code),
        type,
        0.5,
        got,
      );
      assert.deepEqual(got, expected);
    }),
    { numRuns: 60, seed: 1 },
  );
});
