// linear_recurrence and its adjoint against loops written here, and the ways in which they must agree with themselves.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { TensorType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { ShapeMismatchError } from "../op.ts";
import { graphOf, randomHost, relativeError, seededRandom } from "../testing.ts";
import { runKernels } from "./kernels/testing.ts";
import { linearRecurrenceOp } from "./linear_recurrence.ts";
import { linearRecurrenceAdjointOp } from "./linear_recurrence_adjoint.ts";

const forward = linearRecurrenceOp as unknown as OpDef;
const adjoint = linearRecurrenceAdjointOp as unknown as OpDef;
const type = (...shape: number[]): TensorType => ({ dtype: "f32", shape });

function everyWay(op: OpDef, inputs: readonly HostTensor[]): Float64Array[] {
  const graph = graphOf(
    op,
    inputs.map((input) => input.type),
    {},
  );
  return [
    interpret(graph, inputs)[0]!.data,
    runKernels(op, inputs, {}, 4)[0]!.data,
    runKernels(op, inputs, {}, 8)[0]!.data,
  ];
}

/** One channel in plain loops. */
function channel(f: readonly number[], i: readonly number[], h0: number): number[] {
  let h = h0;
  return f.map((gate, t) => (h = gate * h + i[t]!));
}

/** Elements of channel c of sequence b. */
const pick = (x: HostTensor, b: number, c: number): number[] => {
  const [, time, channels] = x.type.shape as [number, number, number];
  return Array.from({ length: time }, (_, t) => x.data[(b * time + t) * channels + c]!);
};

const sizes = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  time: fc.integer({ min: 1, max: 7 }),
  // Up to what registers hold, beyond it, and in two blocks.
  channels: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(31, 33, 67, 261)),
  seed: fc.nat(),
});

void test("h_t = f_t h_{t-1} + i_t in every channel", () => {
  fc.assert(
    fc.property(sizes, ({ batch, time, channels, seed }) => {
      const random = seededRandom(seed);
      const f = randomHost(type(batch, time, channels), random, [0, 1]);
      const i = randomHost(f.type, random);
      const h0 = randomHost(type(batch, channels), random);
      for (const data of everyWay(forward, [f, i, h0])) {
        for (let b = 0; b < batch; b++) {
          for (let c = 0; c < channels; c++) {
            const expected = channel(pick(f, b, c), pick(i, b, c), h0.data[b * channels + c]!);
            assert.ok(relativeError(pick({ type: f.type, data }, b, c), expected) < 1e-6);
          }
        }
      }
    }),
    { numRuns: 15 },
  );
});

void test("the adjoint is the transpose in the inputs: <c, H i> = <H^T c, i>", () => {
  fc.assert(
    fc.property(sizes, ({ batch, time, channels, seed }) => {
      const random = seededRandom(seed);
      const f = randomHost(type(batch, time, channels), random, [0, 1]);
      const [i, c] = [randomHost(f.type, random), randomHost(f.type, random)];
      const zeros: HostTensor = { type: type(batch, channels), data: new Float64Array(batch * channels) };
      const product = (x: Float64Array, y: Float64Array): number =>
        x.reduce((sum, value, at) => sum + value * y[at]!, 0);
      const [h] = everyWay(forward, [f, i, zeros]);
      for (const l of everyWay(adjoint, [f, c])) {
        assert.ok(Math.abs(product(c.data, h!) - product(l, i.data)) < 1e-5 * f.data.length);
      }
    }),
    { numRuns: 15 },
  );
});

void test("a sequence in two parts, the state handed on, is the sequence in one", () => {
  const random = seededRandom(8);
  const f = randomHost(type(1, 6, 5), random, [0, 1]);
  const i = randomHost(f.type, random);
  const h0 = randomHost(type(1, 5), random);
  const part = (x: HostTensor, from: number, to: number): HostTensor => ({
    type: type(1, to - from, 5),
    data: x.data.slice(from * 5, to * 5),
  });
  const [whole] = runKernels(forward, [f, i, h0], {});
  const [first] = runKernels(forward, [part(f, 0, 4), part(i, 0, 4), h0], {});
  const state: HostTensor = { type: h0.type, data: first!.data.slice(15) };
  const [second] = runKernels(forward, [part(f, 4, 6), part(i, 4, 6), state], {});
  assert.deepEqual([...first!.data, ...second!.data], [...whole!.data]);
});

void test("shapes that differ are refused", () => {
  assert.throws(() => graphOf(forward, [type(1, 2, 3), type(1, 2, 4), type(1, 3)], {}), ShapeMismatchError);
  assert.throws(() => graphOf(forward, [type(1, 2, 3), type(1, 2, 3), type(2, 3)], {}), /first state/);
  assert.throws(() => graphOf(adjoint, [type(2, 3), type(2, 3)], {}), /batch, time, channels/);
});
