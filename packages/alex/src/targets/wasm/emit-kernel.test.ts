// Whole kernels: control flow, carried values, order of memory accesses, and random kernels, each run as WebAssembly and
// compared with the loop IR's evaluator over the same memory.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { F32, I32, INDEX, buildKernel, loopType, verifyKernel } from "@fidelity/core";
import type { KernelBuilder, LoopType, LoopValue } from "@fidelity/core";
import { compileProgramToWasm } from "./emit-program.ts";
import { PAGES, compareWithEvaluator, programOf } from "./testing.node.ts";

const f32x4 = loopType("f32", 4);
const i32x4 = loopType("i32", 4);
const i16x8 = loopType("i16", 8);
const i8x16 = loopType("i8", 16);
const f64x2 = loopType("f64", 2);

/** Floats, integers and room for both, for kernels of three buffers. */
const BUFFER_BYTES = 512;
const INPUTS = (() => {
  const bytes = new Uint8Array(3 * BUFFER_BYTES);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 128; i++) view.setFloat32(4 * i, ((i * 29) % 64) / 4 - 8, true);
  for (let i = BUFFER_BYTES; i < bytes.length; i++) bytes[i] = (i * 37 + 11) & 0xff;
  return bytes;
})();

function agrees(what: string, generate: (k: KernelBuilder, buffers: readonly LoopValue[]) => void, chunks = 1): void {
  const kernel = buildKernel(what, 3, generate);
  verifyKernel(kernel);
  compareWithEvaluator(programOf(kernel, BUFFER_BYTES, chunks), INPUTS);
}

test("carried values are assigned all at once", () => {
  agrees("rotate", (k, [a, , out]) => {
    const inits = [0, 4, 8].map((offset) => k.load(F32, a, offset));
    const rotated = k.for(0, k.add(k.chunk, k.index(4)), 1, inits, (_, [x, y, z]) => [y, z, x]);
    rotated.forEach((value, i) => k.store(value, out, 4 * i));
    const fibonacci = k.for(0, 20, 1, [k.i32(0), k.i32(1)], (_, [x, y]) => [y, k.add(x, y)]);
    fibonacci.forEach((value, i) => k.store(value, out, 16 + 4 * i));
    const kept = k.for(0, 3, 1, [k.i32(7), k.i32(9)], (iv, [x]) => [x, k.convert(I32, iv)]);
    kept.forEach((value, i) => k.store(value, out, 32 + 4 * i));
  });
});

test("loops run from low to below high, and not at all when there is nothing between", () => {
  agrees("bounds", (k, [, , out]) => {
    const bounds = [
      [0, 0],
      [5, 3],
      [0, 1],
      [2, 9],
      [7, 8],
    ];
    bounds.forEach(([low, high], i) => {
      const dynamic = (value: number): LoopValue => k.add(k.index(value), k.chunk);
      const count = (from: LoopValue, to: LoopValue): LoopValue =>
        k.for(from, to, 3, [k.i32(100)], (iv, [sum]) => [k.add(sum, k.add(k.convert(I32, iv), k.i32(1)))])[0];
      k.store(count(k.index(low), k.index(high)), out, 8 * i);
      k.store(count(dynamic(low), dynamic(high)), out, 8 * i + 4);
    });
  });
});

test("branches give values, with and without an else", () => {
  agrees("branches", (k, [a, , out]) => {
    k.loop(0, 8, 1, (i) => {
      const value = k.load(F32, k.offset(a, i, 4));
      const negative = k.compare("lt", value, k.constant(F32, 0));
      const [x, y] = k.if(
        negative,
        () => [value, k.unary("neg", value)],
        () => [k.unary("neg", value), value],
      );
      k.store(x, k.offset(out, i, 4));
      k.store(y, k.offset(out, i, 4), 64);
      k.if(k.compare("ge", i, k.index(5)), () => {
        k.store(value, k.offset(out, i, 4), 128);
        return [];
      });
    });
  });
});

test("a load keeps its place among the stores around it", () => {
  agrees("order", (k, [a]) => {
    const before = k.load(F32, a, 0);
    k.store(k.constant(F32, 42), a, 0);
    const after = k.load(F32, a, 0);
    k.loop(0, 2, 1, () => k.store(k.constant(F32, 43), a, 0));
    k.store(k.load(F32, a, 0), a, 12);
    k.store(before, a, 4);
    k.store(after, a, 8);
    const swapped = [k.load(f32x4, a, 32), k.load(f32x4, a, 48)];
    k.store(swapped[1], a, 32);
    k.store(swapped[0], a, 48);
  });
});

test("chunks and scratch memory reach the kernel", () => {
  agrees(
    "chunks",
    (k, [a, , out]) => {
      const scratch = k.allocateScratch(16);
      k.store(k.load(F32, k.offset(a, k.chunk, 4)), scratch);
      k.store(k.load(F32, scratch), k.offset(out, k.chunk, 4));
    },
    9,
  );
});

test("constant parts of an address become the instruction's offset, negative ones do not", () => {
  const kernel = buildKernel("fold", 1, (k, [a]) => {
    const p = k.add(k.add(a, k.index(16)), k.index(32));
    k.store(k.load(F32, p, 4), k.add(p, k.index(8)));
  });
  const bytes = compileProgramToWasm(programOf(kernel, 64), { maximumPages: PAGES });
  // local.get 2; local.get 2; f32.load align 2 offset 52; f32.store align 2 offset 56.
  const body = [0x20, 2, 0x20, 2, 0x2a, 2, 52, 0x38, 2, 56, 0x0b];
  assert.ok(Buffer.from(bytes).includes(Buffer.from(body)));
  agrees("negative", (k, [a, , out]) => {
    const p = k.add(k.offset(a, k.chunk, 4), k.index(-8));
    k.store(k.load(F32, k.add(p, k.index(16))), out);
    k.store(k.load(F32, k.add(k.add(a, k.index(32)), k.index(-8))), out, 4);
  });
});

/** Draws choices from a list of numbers, so that fast-check can shrink a kernel by shrinking the list. */
class Tape {
  readonly #choices: readonly number[];
  #next = 0;

  constructor(choices: readonly number[]) {
    this.#choices = choices;
  }

  get done(): boolean {
    return this.#next >= this.#choices.length;
  }

  below(limit: number): number {
    return (this.#choices[this.#next++] ?? 0) % limit;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)];
  }
}

const TYPES = [F32, f32x4, I32, i32x4, i16x8, i8x16, f64x2, INDEX];
const FLOAT_OPS = ["add", "sub", "mul", "div", "min", "max"] as const;
const INTEGER_OPS = ["add", "sub", "min", "max", "and", "or", "xor"] as const;

/** Random kernels: floats live in buffer 0, integers in buffer 1, f64 in buffer 2. */
class RandomKernel {
  readonly #k: KernelBuilder;
  readonly #tape: Tape;
  readonly #buffers: readonly LoopValue[];

  constructor(k: KernelBuilder, tape: Tape, buffers: readonly LoopValue[]) {
    this.#k = k;
    this.#tape = tape;
    this.#buffers = buffers;
  }

  #bufferOf(type: LoopType): LoopValue {
    return this.#buffers[type.kind === "f32" ? 0 : type.kind === "f64" ? 2 : 1];
  }

  /** An address inside the buffer, from a random index value. */
  #address(type: LoopType, values: readonly LoopValue[]): LoopValue {
    return this.#k.offset(this.#bufferOf(type), this.#k.rem(this.#value(INDEX, values), this.#k.index(28)), 16);
  }

  #value(type: LoopType, values: readonly LoopValue[]): LoopValue {
    const known = values.filter((value) => value.type === type);
    return known.length === 0 ? this.#k.constant(type, this.#tape.below(7)) : this.#tape.pick(known);
  }

  /** Adds up to `budget` instructions, loops and branches included; returns the values defined. */
  grow(outer: readonly LoopValue[], depth: number, budget: number): readonly LoopValue[] {
    const values = [...outer];
    for (let i = 0; i < budget && !this.#tape.done; i++) values.push(...this.#step(values, depth));
    return values;
  }

  #step(values: readonly LoopValue[], depth: number): readonly LoopValue[] {
    const k = this.#k;
    const tape = this.#tape;
    const type = tape.pick(TYPES);
    const isFloat = type.kind === "f32" || type.kind === "f64";
    switch (tape.below(depth < 2 ? 8 : 6)) {
      case 0:
        return [k.load(type, this.#address(type, values), tape.below(4) * 16)];
      case 1:
        k.store(this.#value(type, values), this.#address(type, values), tape.below(4) * 16);
        return [];
      case 2:
        return [
          k.binary(tape.pick(isFloat ? FLOAT_OPS : INTEGER_OPS), this.#value(type, values), this.#value(type, values)),
        ];
      case 3:
        return [
          k.select(k.compare("lt", this.#value(type, values), this.#value(type, values)), ...this.#pair(type, values)),
        ];
      case 4:
        return [k.unary(isFloat ? "floor" : "not", this.#value(type, values))];
      case 5:
        return [k.convert(I32, this.#value(F32, values)), k.splat(this.#value(I32, values), 4)];
      case 6: {
        const inits = [this.#value(type, values), this.#value(type, values), this.#value(tape.pick(TYPES), values)];
        const high = k.rem(this.#value(INDEX, values), k.index(5));
        return k.for(tape.below(2), high, 1 + tape.below(2), inits, (iv, carried) => {
          const inside = this.grow([...values, iv, ...carried], depth + 1, 4);
          return inits.map((init) => this.#value(init.type, inside));
        });
      }
      default: {
        const condition = k.compare("ge", this.#value(I32, values), this.#value(I32, values));
        const branch = (): readonly LoopValue[] => [this.#value(type, this.grow(values, depth + 1, 4))];
        return k.if(condition, branch, branch);
      }
    }
  }

  #pair(type: LoopType, values: readonly LoopValue[]): [LoopValue, LoopValue] {
    return [this.#value(type, values), this.#value(type, values)];
  }

  /** Stores the last value of each type, so that little of the kernel is dead. */
  keep(values: readonly LoopValue[]): void {
    for (const [place, type] of TYPES.entries()) {
      const last = values.findLast((value) => value.type === type);
      if (last !== undefined) this.#k.store(last, this.#bufferOf(type), 16 * place);
    }
  }
}

test("random kernels of nested loops and branches agree with the evaluator", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000), { minLength: 10, maxLength: 250, size: "max" }), (choices) => {
      agrees(
        "random",
        (k, buffers) => {
          const random = new RandomKernel(k, new Tape(choices), buffers);
          random.keep(random.grow([k.chunk, k.load(F32, buffers[0]), k.load(I32, buffers[1])], 0, 60));
        },
        2,
      );
    }),
    { numRuns: 300 },
  );
});
