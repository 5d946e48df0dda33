// Ternary weights without float masters: votes wait until a threshold, and move the weight then.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  cast,
  dequantize,
  interpret,
  matmul,
  mul,
  reduceSum,
  sub,
  square,
  tensorType,
  ternarize,
  trace,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import fc from "fast-check";
import { castVotes, dense, flipTernary, gradients } from "../index.ts";
import type { Ternary } from "../index.ts";

type F64 = Tensor<readonly number[], "f64">;
type F32 = Tensor<readonly number[], "f32">;
type I32 = Tensor<readonly number[], "i32">;

/** One weight's step, in plain numbers. */
function flipOne(level: number, waiting: number, votes: number, threshold: number): [level: number, waiting: number] {
  const against = waiting - votes;
  const move = against >= threshold ? 1 : against <= -threshold ? -1 : 0;
  const next = Math.min(1, Math.max(-1, level + move));
  const left = against - (next - level) * threshold;
  return [next, Math.min(threshold, Math.max(-threshold, left))];
}

test("a weight moves one level when the votes against it have come to the threshold", () => {
  const weight = fc.record({
    level: fc.constantFrom(-1, 0, 1),
    waiting: fc.integer({ min: -5, max: 5 }),
    slope: fc.double({ min: -4, max: 4, noNaN: true }),
  });
  const property = fc.property(fc.array(weight, { minLength: 1, maxLength: 9 }), (weights) => {
    const shape = [weights.length];
    const { graph } = trace(
      "flip",
      (levels, waiting, slope) => {
        const votes = castVotes(dense(slope as F64), { unit: 0.25, threshold: 5 });
        const next = flipTernary(levels as F64, waiting as I32, votes);
        return [next.levels, next.waiting, votes.votes];
      },
      [tensorType("f64", shape), tensorType("i32", shape), tensorType("f64", shape)],
    );
    const columns = (["level", "waiting", "slope"] as const).map((name) =>
      Float64Array.from(weights, (of) => of[name]),
    );
    const inputs = columns.map((data, i) => ({ type: graph.parameters[i]!.type, data }));
    const [levels, waiting, votes] = interpret(graph, inputs).map(({ data }) => Array.from(data));
    weights.forEach((of, i) => {
      assert.ok(Math.abs(votes![i]! - of.slope * 4) <= 0.5 && Number.isInteger(votes![i]));
      // -0 and 0 are the same level.
      assert.deepEqual(
        [levels![i]! + 0, waiting![i]! + 0],
        flipOne(of.level, of.waiting, votes![i]!, 5).map((x) => x + 0),
      );
    });
  });
  fc.assert(property, { numRuns: 50, seed: 1 });
});

test("weights find the levels of a target by votes alone", () => {
  const target = [1, -1, 0, 0, 1, -1, 1, 0];
  const type = tensorType("f64", [4, 2]);
  const { graph } = trace(
    "descend",
    (levels, waiting, wanted) => {
      const loss = (w: F64): F64 => reduceSum(square(sub(w, wanted as never) as F64)) as F64;
      const { gradients: slope } = gradients(loss, { ternary: () => ({ unit: 0.5, threshold: 6 }) })(levels as F64);
      const next = flipTernary(levels as F64, waiting as I32, slope as Ternary);
      return [next.levels, next.waiting];
    },
    [type, tensorType("i32", [4, 2]), type],
  );
  let held: readonly Float64Array[] = [new Float64Array(8), new Float64Array(8)];
  const seen: number[][] = [];
  for (let i = 0; i < 4; i++) {
    const inputs = [...held, Float64Array.from(target)];
    held = interpret(
      graph,
      inputs.map((data, at) => ({ type: graph.parameters[at]!.type, data })),
    ).map(({ data }) => data);
    seen.push(Array.from(held[0]!, (level) => level + 0));
  }
  // Two levels off are 4 votes a step: the second step moves them.
  assert.deepEqual(seen[0], Array<number>(8).fill(0));
  assert.deepEqual(seen[1], target);
  assert.deepEqual(seen[3], target);
});

test("the gradient of a packed ternary weight becomes votes, too", () => {
  const { graph } = trace(
    "packed",
    (w, x) => {
      const packed = ternarize(w as F32);
      const loss = (t: Tensor<readonly number[], "ternary">): Tensor<readonly [], "f32"> =>
        reduceSum(matmul(x as F32, dequantize(t), { transposeA: false, transposeB: true }));
      const found = gradients(loss, {
        ternary: (_path, { dtype }) => (dtype === "ternary" ? { unit: 1, threshold: 2 } : undefined),
      });
      const { gradients: slope } = found(packed);
      assert.equal(slope.kind, "ternary");
      return mul(cast((slope as Ternary).votes, "f32"), 1);
    },
    [tensorType("f32", [2, 3]), tensorType("f32", [1, 3])],
  );
  const data = [Float64Array.from([1, -1, 0, 0.2, 3, -2]), Float64Array.from([2, -3, 0.4])];
  const [votes] = interpret(
    graph,
    data.map((each, i) => ({ type: graph.parameters[i]!.type, data: each })),
  );
  assert.deepEqual(Array.from(votes!.data), [2, -3, 0, 2, -3, 0]);
});
