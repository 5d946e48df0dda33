// expert_linear and expert_outer against loops written here, by both ways of their kernels.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { IndexRangeError, ShapeMismatchError } from "../op.ts";
import { graphOf, randomHost, relativeError, seededRandom } from "../testing.ts";
import { expertLinearOp } from "./expert_linear.ts";
import { expertOuterOp } from "./expert_outer.ts";
import { runKernels } from "./kernels/testing.ts";

const linear = expertLinearOp as unknown as OpDef;
const outer = expertOuterOp as unknown as OpDef;
const type = (...shape: number[]): TensorType => ({ dtype: "f32", shape });

interface Sizes {
  readonly N: number;
  readonly K: number;
  readonly E: number;
  readonly O: number;
  readonly I: number;
}

/** One token, a few, many; groups of every height; matrices deeper than what is packed at a time; odd widths. */
const SIZES: readonly Sizes[] = [
  { N: 1, K: 2, E: 6, O: 37, I: 21 },
  { N: 3, K: 1, E: 2, O: 5, I: 70 },
  { N: 40, K: 3, E: 7, O: 37, I: 35 },
  { N: 9, K: 2, E: 1, O: 32, I: 600 },
  { N: 23, K: 2, E: 3, O: 67, I: 3 },
];

function idsOf({ N, K, E }: Sizes, random: () => number): HostTensor {
  // The last expert, where there are others, is nobody's choice.
  const data = Float64Array.from({ length: N * K }, () => Math.floor(random() * Math.max(1, E - 1)));
  return { type: { dtype: "i32", shape: [N, K] }, data };
}

let turn = 0;

/** The reference, and the kernels for vectors of one width, each in its turn. */
const ways = (op: OpDef, inputs: readonly HostTensor[], attrs: Record<string, number | boolean>): Float64Array[] => {
  const types = inputs.map((x) => x.type);
  const lanes = [4, 8, 16][turn++ % 3];
  return [
    interpret(graphOf(op, types, attrs), inputs)[0]!.data,
    runKernels(op, inputs, attrs, lanes)[0]!.data as Float64Array,
  ];
};

void test("rows meet the matrices of their experts, as they are and transposed, shared and apart", () => {
  for (const sizes of SIZES) {
    const { N, K, E, O, I } = sizes;
    const random = seededRandom(5);
    const ids = idsOf(sizes, random);
    const weight = randomHost(type(E, O, I), random);
    for (const transposed of [false, true]) {
      for (const shared of [false, true]) {
        const [inner, columns] = transposed ? [O, I] : [I, O];
        const x = randomHost(shared ? type(N, inner) : type(N, K, inner), random);
        const expected = Float64Array.from({ length: N * K * columns }, (_, at) => {
          const [slot, c] = [Math.floor(at / columns), at % columns];
          const row = shared ? Math.floor(slot / K) : slot;
          let sum = 0;
          for (let l = 0; l < inner; l++) {
            const [o, i] = transposed ? [l, c] : [c, l];
            sum += weight.data[(ids.data[slot]! * O + o) * I + i]! * x.data[row * inner + l]!;
          }
          return sum;
        });
        ways(linear, [x, weight, ids], { transposed }).forEach((data, way) => {
          const where = `${JSON.stringify(sizes)}, transposed ${transposed}, shared ${shared}, way ${way}`;
          assert.ok(relativeError(data, expected) < 1e-5, where);
        });
      }
    }
  }
});

void test("outer products are added up expert by expert, and those of nobody are zero", () => {
  for (const sizes of SIZES) {
    const { N, K, E, O, I } = sizes;
    const random = seededRandom(6);
    const ids = idsOf(sizes, random);
    for (const shared of [false, true]) {
      const a = randomHost(type(N, K, O), random);
      const b = randomHost(shared ? type(N, I) : type(N, K, I), random);
      const expected = new Float64Array(E * O * I);
      ids.data.forEach((expert, slot) => {
        const row = shared ? Math.floor(slot / K) : slot;
        for (let o = 0; o < O; o++)
          for (let i = 0; i < I; i++)
            expected[(expert * O + o) * I + i]! += a.data[slot * O + o]! * b.data[row * I + i]!;
      });
      ways(outer, [a, b, ids], { experts: E }).forEach((data, way) => {
        assert.ok(relativeError(data, expected) < 1e-5, `${JSON.stringify(sizes)}, shared ${shared}, way ${way}`);
      });
      ways(outer, [b, a, ids], { experts: E }).forEach((data) => {
        const turned = Float64Array.from(data, (_, at) => {
          const [e, o, i] = [Math.floor(at / O / I), Math.floor(at / I) % O, at % I];
          return data[(e * I + i) * O + o]!;
        });
        assert.ok(relativeError(turned, expected) < 1e-5);
      });
    }
  }
});

void test("what does not fit is refused, and so is an expert that is not there", () => {
  const ids: TensorType = { dtype: "i32", shape: [4, 2] };
  const refuse = (types: readonly TensorType[], problem: RegExp): void => {
    assert.throws(
      () => graphOf(linear, types, { transposed: false }),
      (error) => error instanceof ShapeMismatchError && problem.test(error.message),
    );
  };
  refuse([type(4, 3), type(5, 6, 7), ids], /inner dimensions differ: 3 and 7/);
  refuse([type(3, 7), type(5, 6, 7), ids], /not a row for each row of ids/);
  refuse([type(4, 3, 7), type(5, 6, 7), ids], /not a row for each row of ids/);
  refuse([type(4, 7), type(6, 7), ids], /f32 weights \[experts, outputs, inputs\]/);
  refuse([type(4, 7), type(5, 6, 7), type(4, 2)], /the ids are not i32/);
  const graph = graphOf(linear, [type(1, 2), type(2, 1, 2), { dtype: "i32", shape: [1, 1] }], { transposed: false });
  const host = (of: TensorType, ...values: number[]): HostTensor => ({ type: of, data: Float64Array.from(values) });
  const inputs = [host(type(1, 2), 1, 1), host(type(2, 1, 2), 1, 2, 3, 4)];
  assert.throws(() => interpret(graph, [...inputs, host({ dtype: "i32", shape: [1, 1] }, 2)]), IndexRangeError);
});
