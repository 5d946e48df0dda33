// Loops that end when they find out, compiled: alone and on a team, in every target of the processor, with bodies that
// are too large for one member, loops in loops, and loops that do not run at all.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  add,
  buildKernel,
  I32,
  interpret,
  lt,
  mul,
  reduceSum,
  scan,
  splat,
  sqrt,
  tensorType,
  trace,
  verifyProgram,
  whileLoop,
} from "@fidelity/core";
import type { Program, Tensor } from "@fidelity/core";
import { createDevice, TARGETS } from "./index.node.ts";
import { compareWithEvaluator } from "./targets/wasm/testing.node.ts";
import { runCompiled } from "./testing.ts";

type F64 = Tensor<readonly number[], "f64">;
type Scalar = Tensor<readonly [], "f64">;

/** Above what a schedule leaves to one member. */
const MANY = 40_000;
const vector = tensorType("f64", [MANY]);

/** Doubles x until the sum of it reaches `most`. */
function doubled(x: F64, most: Scalar, maxSteps: number): { x: F64; steps: Tensor } {
  return whileLoop(
    (carry: { x: F64; steps: Tensor }) => lt(reduceSum(carry.x), most),
    (carry) => ({ x: mul(carry.x, 2), steps: add(carry.steps, 1) as Tensor }),
    { x, steps: splat(0, [], "i32") as Tensor },
    { maxSteps },
  );
}

const programs: Readonly<Record<string, (x: F64) => unknown>> = {
  "as often as it takes": (x) => doubled(x, splat(1e7, [], "f64"), 0),
  "until there is no more": (x) => doubled(x, splat(1e7, [], "f64"), 4),
  "not once": (x) => doubled(x, splat(-1, [], "f64"), 0),
  "a loop in a loop in a scan": (x) =>
    scan(
      (carry: F64, most: Scalar) => {
        const outer = whileLoop(
          (at: { x: F64; turns: Tensor<readonly [], "f64"> }) => lt(at.turns, 2),
          (at) => ({ x: sqrt(doubled(at.x, most, 0).x) as F64, turns: add(at.turns, 1) as Scalar }),
          { x: carry, turns: splat(0, [], "f64") },
        );
        return { carry: outer.x, y: outer.turns };
      },
      x,
      mul(add(splat(0, [3], "f64"), 1), MANY * 3) as never,
    ),
};

const devices = Object.values(TARGETS)
  .filter(({ name, whyNot }) => name !== "cuda" && whyNot() === undefined)
  .map(({ name }) => createDevice({ target: name as "wasm", threads: 2, cache: false }));
after(() => Promise.all(devices.map((device) => device.close())));

for (const [name, fn] of Object.entries(programs)) {
  test(`a loop runs ${name}`, async () => {
    const { graph } = trace("loop", fn as (x: Tensor) => unknown, [vector]);
    const input = { type: vector, data: Float64Array.from({ length: MANY }, (_none, i) => 1 + (i % 7)) };
    const expected = interpret(graph, [input]).map(({ data }) => Array.from(data));
    runCompiled(graph, [input]).forEach(({ data }, i) => assertNear(data, expected[i]!));
    for (const device of devices) {
      const executable = await device.compile(graph);
      const tensors = [...executable.parameterTypes, ...executable.resultTypes].map((type) => device.tensor(type));
      const numbers = (i: number): Float64Array | Int32Array => {
        const bytes = tensors[i]!.bytes();
        if (tensors[i]!.type.dtype === "i32") return tensors[i]!.i32();
        return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
      };
      executable.bind(tensors.slice(0, 1), tensors.slice(1));
      numbers(0).set(input.data);
      // Twice: what a run leaves in memory must not change the next one.
      for (let run = 0; run < 2; run++) {
        executable.run();
        expected.forEach((values, i) => assertNear(numbers(i + 1), values));
      }
    }
  });
}

/** total += 1, and a copy of it. */
const count = buildKernel("count", 2, (k, [total, copy]) => {
  const next = k.add(k.load(I32, total), k.i32(1));
  k.store(next, total);
  k.store(next, copy);
});

test("a loop makes the first or the last of its turns, by limits that lie there for each turn of the loop around", () => {
  const turns = [4, 5];
  const entries = turns[0]! * turns[1]!;
  for (const keeps of ["first", "last"] as const) {
    const program: Program = {
      name: `the ${keeps} turns`,
      kernels: [count],
      buffers: [
        { name: "limits", sizeBytes: 4 * turns[0]!, placement: { kind: "arena", offsetBytes: 0 } },
        { name: "total", sizeBytes: 4, placement: { kind: "arena", offsetBytes: 64 } },
        { name: "entries", sizeBytes: 4 * entries, placement: { kind: "arena", offsetBytes: 128 } },
      ],
      bindingCount: 0,
      arenaBytes: 128 + 4 * entries,
      scratchBytes: 0,
      constants: [],
      schedule: [
        {
          kind: "loop",
          count: turns[0]!,
          items: [
            {
              kind: "loop",
              count: turns[1]!,
              limit: { keeps, cell: { buffer: 0, offsetBytes: 0, strideBytes: [4] } },
              items: [
                {
                  kind: "serial",
                  calls: [
                    {
                      kernel: 0,
                      chunks: 1,
                      label: "count",
                      args: [
                        { buffer: 1, offsetBytes: 0 },
                        { buffer: 2, offsetBytes: 0, strideBytes: [4 * turns[1]!, 4] },
                      ],
                    },
                  ],
                },
              ],
            },
          ],
        },
      ],
    };
    verifyProgram(program);
    // None of its turns, some, all, and more than there are.
    compareWithEvaluator(program, new Uint8Array(Int32Array.of(0, 2, 5, -1).buffer));
  }
});

/** Sums are in another order than the reference's. */
function assertNear(got: ArrayLike<number>, expected: readonly number[]): void {
  assert.equal(got.length, expected.length);
  expected.forEach((value, i) => {
    assert.ok(
      Math.abs(got[i]! - value) <= 1e-12 * Math.max(1, Math.abs(value)),
      `element ${i}: ${got[i]}, not ${value}`,
    );
  });
}
