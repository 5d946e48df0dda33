// What is said of addresses: what a reader would say of simple kernels, and never more than is true of random ones.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { INDEX, I32, buildKernel, evaluateKernel } from "@fidelity/core";
import type { KernelBuilder, LoopValue } from "@fidelity/core";
import { ALIGNMENT_MAX_BYTES, alignmentOf, alignmentsOf } from "./alignment.ts";

test("numbers are multiples of their lowest bit", () => {
  assert.deepEqual([1, 2, 6, 48, 256, 1024, 0].map(alignmentOf), [1, 2, 2, 16, 256, 256, 256]);
  assert.equal(alignmentOf(-24), 8, "strides go back, too");
  assert.equal(alignmentOf(2 ** 40 + 32), 32);
});

/** The alignments of values that a generator gives. */
function alignmentsIn(
  buffers: readonly number[],
  generate: (k: KernelBuilder, bases: readonly LoopValue[]) => LoopValue[],
) {
  let values: LoopValue[] = [];
  const kernel = buildKernel("test", buffers.length, (k, bases) => void (values = generate(k, bases)));
  const known = alignmentsOf(kernel, buffers);
  return values.map(({ id }) => known[id]);
}

test("addresses follow from rows and columns", () => {
  const found = alignmentsIn([256, 8], (k, [a, b]) => [
    k.offset(a, k.chunk, 64),
    k.offset(a, k.chunk, 12),
    k.offset(b, k.chunk, 64),
    k.offset(a, k.rem(k.chunk, k.index(16)), 16),
    k.div(k.offset(a, k.chunk, 64), k.index(4)),
    k.allocateScratch(16),
  ]);
  assert.deepEqual(found, [64, 4, 8, 16, 1, 64]);
});

test("carried addresses are as aligned as what every turn adds", () => {
  const found = alignmentsIn([256], (k, [a]) => [
    ...k.for(0, 8, 1, [a, a], (_turn, [x, y]) => [k.offset(x, 1, 32), k.offset(y, k.chunk, 4)]),
    // One value needs the other's second round.
    ...k.for(0, 8, 1, [a, a], (_turn, [, y]) => [y, k.offset(y, 1, 8)]),
  ]);
  assert.deepEqual(found, [32, 4, 8, 8]);
});

const OPERATIONS = ["add", "sub", "mul", "min", "max", "rem", "and", "or", "div"] as const;

test("no address is less aligned than was said", () => {
  const steps = fc.array(fc.tuple(fc.nat(OPERATIONS.length - 1), fc.nat(99), fc.nat(99)), { maxLength: 12 });
  const constants = fc.array(fc.nat(200), { minLength: 2, maxLength: 4 });
  const property = fc.property(steps, constants, fc.nat(9), fc.nat(20), (list, numbers, chunk, low) => {
    const values: LoopValue[] = [];
    const kernel = buildKernel("random", 1, (k, [out]) => {
      values.push(k.chunk, ...numbers.map((number) => k.index(number)));
      const store = (value: LoopValue): void => k.store(value, out, 4 * values.indexOf(value));
      k.loop(low * 4, low * 4 + 4, 4, (counter) => {
        values.push(counter);
        for (const [operation, a, b] of list) {
          const [x, y] = [values[a % values.length], values[b % values.length]];
          const op = OPERATIONS[operation];
          // Small numbers stay within 32 bits, in which they are stored; nothing is divided by 0.
          const small = k.rem(x, k.index(256));
          const divisor = k.add(k.rem(y, k.index(64)), k.index(8));
          values.push(k.binary(op, op === "sub" ? k.add(small, k.index(4096)) : small, divisor));
        }
        values.forEach(store);
      });
    });
    const memory = new ArrayBuffer(1024);
    evaluateKernel(kernel, memory, chunk, 0, [0]);
    const known = alignmentsOf(kernel, [ALIGNMENT_MAX_BYTES]);
    const found = new Uint32Array(memory);
    values.forEach((value, i) => assert.equal(found[i] % known[value.id], 0, `value ${i} is ${found[i]}`));
  });
  fc.assert(property, { seed: 1, numRuns: 300 });
});

test("only scalars that count are followed", () => {
  const found = alignmentsIn([16], (k, [a]) => {
    const loaded = k.load(I32, a);
    return [loaded, k.convert(INDEX, loaded), k.offset(a, k.convert(INDEX, loaded), 8)];
  });
  assert.deepEqual(found, [1, 1, 8]);
});
