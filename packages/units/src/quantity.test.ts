import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addr, bytes, formatBytes, QuantityError } from "./quantity.ts";

test("sizes and addresses are the whole numbers from 0 to 2^53 - 1", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      assert.equal(bytes(value), value);
      assert.equal(addr(value), value);
    }),
  );
  for (const wrong of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => bytes(wrong), QuantityError);
    assert.throws(() => addr(wrong), QuantityError);
  }
});

test("sizes print with three digits and a binary prefix", () => {
  const printed = [0, 1, 999, 1000, 1536, 1024 ** 2, 1023.9 * 1024, 5 * 1024 ** 3, 2 ** 53].map(formatBytes);
  assert.deepEqual(printed, [
    "0 B",
    "1 B",
    "999 B",
    "0.977 KiB",
    "1.50 KiB",
    "1.00 MiB",
    "1.00 MiB",
    "5.00 GiB",
    "8.00 PiB",
  ]);
});
