// Optimisers on gradient variants: by blocks they take the steps of the dense gradient, by rows those of the rows that
// were named, and the others stay.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  crossEntropy,
  gather,
  interpret,
  matmul,
  mean,
  min,
  reduceSum,
  square,
  tensorType,
  trace,
} from "@fidelity/core";
import type { HostTensor, Tensor } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { adamW, addGradientTrees, clipByGlobalNorm, grad, gradients, sgd } from "../index.ts";
import type { Optimizer, OptimizerState } from "../index.ts";
import { assertClose } from "../support.test.ts";

type F64 = Tensor<readonly number[], "f64">;
type Ids = Tensor<readonly number[], "i32">;

/** Two blocks of rows. */
const [ROWS, WIDTH] = [1100, 64];
const TYPES = { table: tensorType("f64", [ROWS, WIDTH]), head: tensorType("f64", [ROWS, WIDTH]) };
type Params = { readonly table: F64; readonly head: F64 };
type Loss = (params: Params, ids: Ids) => F64;

const embedding: Loss = ({ table }, ids) => reduceSum(square(gather(table, ids))) as F64;
const untied: Loss = ({ table, head }, ids) => {
  return mean(crossEntropy(matmul(gather(table, ids), head, { transposeA: false, transposeB: true }), ids)) as F64;
};
const tied: Loss = ({ table }, ids) => untied({ table, head: table }, ids);

/** Ids of two batches; 5 comes up often. */
const BATCHES = [
  [5, 1099, 5, 0, 700, 5],
  [1, 2, 5, 2, 700, 0],
];

type Rule = (loss: Loss, params: Params, ids: Ids) => unknown;
const dense: Rule = (loss, params, ids) => grad(loss)(params, ids);
const variants: Rule = (loss, params, ids) => gradients(loss)(params, ids).gradients;
const clipped: (rule: Rule) => Rule = (rule) => (loss, params, ids) =>
  clipByGlobalNorm(rule(loss, params, ids), 0.01).grads;

/** All that an optimiser holds after the two batches: parameters, then state. */
function descend(optimizer: Optimizer, loss: Loss, rule: Rule): readonly HostTensor[] {
  const stateTypes = optimizer.init(TYPES);
  const count = 2 * (1 + Object.keys(stateTypes).length);
  const scalar = tensorType("f64", []);
  const { graph } = trace(
    "step",
    (params, state, learningRate, step, ids) => {
      const grads = rule(loss, params as unknown as Params, ids as Ids);
      return optimizer.update(params, grads as never, state as OptimizerState<never>, {
        learningRate: learningRate as Tensor,
        step: step as Tensor,
      });
    },
    [TYPES, stateTypes, scalar, scalar, tensorType("i32", [6])] as const,
  );
  const random = seededRandom(3);
  let held: readonly HostTensor[] = graph.parameters
    .slice(0, count)
    .map(({ type }, i) => randomHost(type, random, i < 2 ? [-1, 1] : [0, 0]));
  BATCHES.forEach((ids, i) => {
    const number = (value: number): HostTensor => ({ type: scalar, data: Float64Array.of(value) });
    const batch = { type: graph.parameters.at(-1)!.type, data: Float64Array.from(ids) };
    held = interpret(graph, [...held, number(0.1), number(i + 1), batch]);
  });
  return held;
}

function assertSame(actual: readonly HostTensor[], expected: readonly HostTensor[]): void {
  expected.forEach(({ data }, i) => assertClose(Array.from(actual[i]!.data), Array.from(data), 1e-12, `tensor ${i}`));
}

test("AdamW takes the dense steps by blocks, after clipping, of rows and of sums of factors and rows", () => {
  for (const loss of [untied, tied]) {
    assertSame(
      descend(adamW({ weightDecay: 0.1 }), loss, clipped(variants)),
      descend(adamW({ weightDecay: 0.1 }), loss, clipped(dense)),
    );
  }
});

test("momentum moves rows on that no batch names", () => {
  const optimizer = sgd({ momentum: 0.9, nesterov: true });
  assertSame(descend(optimizer, embedding, variants), descend(optimizer, embedding, dense));
});

test("plain gradient descent touches the named rows only, and is exact", () => {
  assertSame(descend(sgd(), embedding, variants), descend(sgd(), embedding, dense));
});

test("accumulated batches are one gradient", () => {
  const other: Loss = (params, ids) => embedding(params, min(add(ids, 1), ROWS - 1) as Ids);
  const accumulated: Rule = (loss, params, ids) =>
    addGradientTrees(variants(loss, params, ids), variants(other, params, ids));
  const together: Rule = (loss, params, ids) => {
    return grad((p: Params, i: Ids) => add(loss(p, i), other(p, i)) as F64)(params, ids);
  };
  assertSame(descend(adamW(), embedding, accumulated), descend(adamW(), embedding, together));
});

test("lazy rows: those of the batch step as if alone, the others keep value and moments", () => {
  const lazy = descend(adamW({ weightDecay: 0.1, rows: "lazy" }), embedding, variants);
  const exact = descend(adamW({ weightDecay: 0.1 }), embedding, variants);
  const start = descend(sgd(), embedding, (_loss, params) => zeros(params));
  const row = (of: readonly HostTensor[], tensor: number, at: number): number[] => {
    return Array.from(of[tensor]!.data.subarray(at * WIDTH, (at + 1) * WIDTH));
  };
  // Tensors 0, 2 and 4 are the table and its moments; rows 5, 700 and 0 are in both batches.
  for (const tensor of [0, 2, 4]) {
    for (const at of [5, 700, 0]) assertClose(row(lazy, tensor, at), row(exact, tensor, at), 1e-12, `row ${at}`);
    // Row 1099 is in the first batch only: its momentum goes on in the exact step and not in the lazy one.
    assert.notDeepEqual(row(lazy, tensor, 1099), row(exact, tensor, 1099));
  }
  assert.deepEqual(row(lazy, 0, 300), row(start, 0, 300));
  assert.notDeepEqual(row(exact, 0, 300), row(start, 0, 300));
});

function zeros(params: Params): unknown {
  return { table: { kind: "zero", type: params.table.type }, head: { kind: "zero", type: params.head.type } };
}
