// Attention over pages against attention of each sequence alone, over its keys in one run of memory.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NotDifferentiableError } from "../derive/errors.ts";
import { linearize } from "../derive/linearize.ts";
import type { TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { IndexRangeError, ShapeMismatchError } from "../op.ts";
import { graphOf, randomHost, relativeError, seededRandom } from "../testing.ts";
import type { AttentionAttrs, CacheDtype } from "./attention.ts";
import { attentionOp } from "./attention.ts";
import { runKernels } from "./kernels/testing.ts";
import { pagedAttentionOp } from "./paged_attention.ts";

const paged = pagedAttentionOp as unknown as OpDef;
const whole = attentionOp as unknown as OpDef;
const type = (...shape: number[]): TensorType => ({ dtype: "f32", shape });
const integers = (shape: readonly number[], values: readonly number[]): HostTensor => ({
  type: { dtype: "i32", shape },
  data: Float64Array.from(values),
});

interface Case {
  readonly time: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly size: number;
  readonly valueSize: number;
  readonly pageSize: number;
  readonly positions: readonly number[];
  /** Rows of the table, as many entries each. */
  readonly table: readonly (readonly number[])[];
  readonly attrs?: Partial<AttentionAttrs>;
  readonly cache?: CacheDtype;
}

const TABLE = [
  [4, 1, 6, 0, 2],
  [4, 3, 5, 5, 5],
  [2, 7, 0, 1, 3],
];
/** Sequences of one position, a page less one, a page, and a page and one; room enough for heads to take turns. */
const EDGES = {
  ...{ heads: 10, keyHeads: 2, size: 18, valueSize: 36, pageSize: 64, positions: [0, 62, 63, 64] },
  table: [...TABLE, [7, 6, 5, 4, 3]],
};
const base = { heads: 2, keyHeads: 1, size: 5, valueSize: 3, pageSize: 32, table: TABLE };
/** One query and many, positions in every page and at their borders, windows, capped scores, long pages. */
const CASES: readonly Case[] = [
  { ...base, time: 1, positions: [0, 40, 159], heads: 4, keyHeads: 2, size: 9 },
  { ...base, time: 3, positions: [31, 32, 157] },
  { ...base, time: 11, positions: [0, 20, 149], keyHeads: 2 },
  { ...base, time: 34, positions: [5, 63, 32], heads: 1 },
  { ...base, time: 1, positions: [3, 70, 150], attrs: { window: 35 } },
  { ...base, time: 2, positions: [30, 64, 130], attrs: { window: 5, softcap: 1.5 } },
  { ...base, time: 9, positions: [1, 64, 140], attrs: { window: 50 } },
  { ...base, time: 1, positions: [7, 200, 319], pageSize: 64 },
  { ...base, time: 9, positions: [7, 120, 290], pageSize: 64, heads: 1 },
  { ...EDGES, time: 1 },
  { ...EDGES, time: 1, heads: 5, keyHeads: 1, cache: "f16" },
  {
    ...EDGES,
    time: 2,
    heads: 4,
    cache: "bf16",
    positions: [62, 64],
    table: TABLE.slice(0, 2),
    attrs: { softcap: 1.5 },
  },
];

/** The keys or values of a sequence, in order. */
function gathered(pages: HostTensor, row: readonly number[]): HostTensor {
  const [, pageSize, heads, size] = pages.type.shape as [number, number, number, number];
  const count = pageSize * heads * size;
  const data = row.flatMap((page) => [...pages.data.subarray(page * count, (page + 1) * count)]);
  return { type: { ...pages.type, shape: [1, row.length * pageSize, heads, size] }, data: Float64Array.from(data) };
}

for (const [i, one] of CASES.entries()) {
  const { time, heads, keyHeads, size, valueSize, pageSize, positions, table } = one;
  const attrs = { scale: 0.7, ...one.attrs };
  const kept = (last: number): TensorType => ({ dtype: one.cache ?? "f32", shape: [8, pageSize, keyHeads, last] });
  test(`case ${i}: each sequence is what attention over its keys in a row gives, in kernels too`, () => {
    const random = seededRandom(i + 1);
    const q = randomHost(type(positions.length, time, heads, size), random);
    const k = randomHost(kept(size), random);
    const v = randomHost(kept(valueSize), random);
    const inputs = [q, k, v, integers([positions.length], positions), integers([table.length, 5], table.flat())];
    const graph = graphOf(
      paged,
      inputs.map((input) => input.type),
      attrs,
    );
    const results = interpret(graph, inputs);
    const length = q.data.length / positions.length;
    const alone = positions.map((position, b) => {
      const own = { type: type(1, time, heads, size), data: q.data.slice(b * length, (b + 1) * length) };
      const given = [own, gathered(k, table[b]!), gathered(v, table[b]!), integers([], [position])];
      return interpret(
        graphOf(
          whole,
          given.map((input) => input.type),
          attrs,
        ),
        given,
      );
    });
    for (const result of [0, 1]) {
      const expected = Float64Array.from(alone.flatMap((each) => [...each[result]!.data]));
      assert.deepEqual(results[result]!.data, expected);
      for (const lanes of [4, 16]) {
        const kernels = runKernels(paged, inputs, attrs, lanes);
        assert.ok(relativeError(kernels[result]!.data, expected) < 2e-6, `${lanes} lanes, result ${result}`);
      }
    }
  });
}

test("pages that do not exist, odd page sizes, other batches and derivatives are refused by name", () => {
  const types = [type(2, 1, 2, 4), type(3, 32, 1, 4), type(3, 32, 1, 4)];
  const numbers = [integers([2], [0, 40]), integers([2, 2], [0, 1, 2, 3])];
  const attrs = { scale: 1 };
  const graph = graphOf(paged, [...types, ...numbers.map((input) => input.type)], attrs);
  const floats = types.map((each) => randomHost(each, seededRandom(1)));
  assert.throws(() => interpret(graph, [...floats, ...numbers]), IndexRangeError);
  const refused = (change: (given: TensorType[]) => void, message: RegExp, options: object = {}): void => {
    const given = [...types, ...numbers.map((input) => input.type)];
    change(given);
    assert.throws(
      () => paged.infer(given, { ...attrs, ...options }),
      (error) => error instanceof ShapeMismatchError && message.test(error.message),
    );
  };
  refused(
    (given) => given.splice(1, 2, type(3, 48, 1, 4), type(3, 48, 1, 4)),
    /48 positions(.|\n)*power of two from 32/u,
  );
  refused((given) => given.splice(1, 2, type(3, 16, 1, 4), type(3, 16, 1, 4)), /16 positions/u);
  refused((given) => (given[3] = integers([3], [0, 0, 0]).type), /an i32 for each of 2 sequences/u);
  refused((given) => (given[4] = integers([3, 2], [0, 0, 0, 0, 0, 0]).type), /table is not i32 \[batch/u);
  refused(() => undefined, /not causal/u, { causal: false });
  const [q] = graph.parameters;
  const tangent = graphOf(paged, [...types, ...numbers.map((input) => input.type)], attrs).parameters[0]!;
  assert.throws(
    () => linearize(graph.results, [q!], [tangent]),
    (error) => error instanceof NotDifferentiableError && /paged_attention has no derivative/u.test(error.message),
  );
});
