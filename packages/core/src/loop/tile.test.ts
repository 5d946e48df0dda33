// Matrix registers in the evaluator, and what the verifier says of their instructions and of tables.

import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../testing.ts";
import { buildKernel } from "./builder.ts";
import type { KernelBuilder } from "./builder.ts";
import { evaluateKernel } from "./evaluate.ts";
import { F32, TILE, loopType } from "./ir.ts";
import type { LoopValue } from "./ir.ts";
import { LoopVerifyError, verifyKernel } from "./verify.ts";

const STRIDE = 80;

test("a product adds signed bytes times unsigned bytes to sums of 32 bits", () => {
  const random = seededRandom(3);
  const memory = new ArrayBuffer(8192);
  const bytes = new Uint8Array(memory);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256);
  const [leftAt, rightAt, sumsAt] = [0, 2048, 4096];
  const before = new DataView(memory.slice(0));
  const kernel = buildKernel("product", 1, (k, [base]) => {
    k.tileLoad(2, base!, sumsAt, TILE.rowBytes);
    k.tileLoad(0, base!, leftAt, STRIDE);
    k.tileLoad(1, base!, rightAt, TILE.rowBytes);
    k.tileMultiply(2, 0, 1);
    k.tileStore(2, base!, sumsAt, TILE.rowBytes);
  });
  verifyKernel(kernel);
  evaluateKernel(kernel, memory, 0, 0, [0]);
  const after = new DataView(memory);
  for (let i = 0; i < 16; i++) {
    for (let j = 0; j < 16; j++) {
      let sum = before.getInt32(sumsAt + 64 * i + 4 * j, true);
      for (let kk = 0; kk < 64; kk++) {
        const weight = before.getUint8(rightAt + 64 * (kk >> 2) + 4 * j + (kk & 3));
        sum = (sum + before.getInt8(leftAt + STRIDE * i + kk) * weight) | 0;
      }
      assert.equal(after.getInt32(sumsAt + 64 * i + 4 * j, true), sum);
    }
  }
});

function rejects(pattern: RegExp, generate: (k: KernelBuilder, base: LoopValue) => void): void {
  const kernel = buildKernel("bad", 1, (k, [base]) => generate(k, base!));
  assert.throws(
    () => verifyKernel(kernel),
    (error: unknown) => error instanceof LoopVerifyError && pattern.test(error.message),
  );
}

test("rejects matrix registers that there are not, and rows that overlap", () => {
  rejects(/no matrix register 8/, (k) => k.tileZero(8));
  rejects(/no matrix register -1/, (k, base) => k.tileLoad(-1, base, 0, 64));
  rejects(/rows of a tile do not overlap/, (k, base) => k.tileStore(0, base, 0, 60));
  rejects(/three matrix registers/, (k) => k.tileMultiply(0, 1, 1));
  rejects(/wrong type/, (k, base) => k.tileLoad(0, k.load(F32, base), 0, 64));
});

test("rejects tables of other sizes, of other types, and entries that are no bytes", () => {
  const bytes = loopType("i8", 16);
  const table = (length: number, entry = 1): number[] => Array.from({ length }, () => entry);
  rejects(/a power of two from 16 to 256/, (k, base) => k.store(k.lookup(k.load(bytes, base), table(8)), base));
  rejects(/a power of two from 16 to 256/, (k, base) => k.store(k.lookup(k.load(bytes, base), table(48)), base));
  rejects(/entries of a table are bytes/, (k, base) => k.store(k.lookup(k.load(bytes, base), table(16, 256)), base));
  rejects(/vector of bytes/, (k, base) => k.store(k.lookup(k.load(loopType("i32", 4), base), table(16)), base));
});
