// checkpoint: the numbers are those of the function without it, whatever is differentiated how often; and what lies
// inside is computed again, from copies that wait for the cotangents.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  exp,
  inTrace,
  matmul,
  mul,
  reduceSum,
  scan,
  sin,
  substitute,
  tanh,
  tensorType,
  topologicalOrder,
  trace,
} from "@fidelity/core";
import type { Graph, Node, Tensor } from "@fidelity/core";
import { checkpoint, checkpointName, customVjp, grad, hessian, jvp, valueAndGrad, vmap } from "./index.ts";
import { assertClose, run, values } from "./support.test.ts";
import type { F64 } from "./support.test.ts";

const layer = (w: F64, x: F64): F64 => add(x, sin(matmul(tanh(matmul(x, w)), w))) as F64;

type Wrap = <A extends readonly unknown[], R>(fn: (...args: A) => R) => (...args: A) => R;
const plain: Wrap = (fn) => fn;

/** Three layers; the weights are closed over in the first, passed in the others. */
const deep =
  (wrap: Wrap) =>
  (w: F64, x: F64): F64 => {
    let h = wrap((u: F64) => layer(w, u))(x);
    for (let i = 0; i < 2; i++) h = wrap(layer)(w, h);
    return reduceSum(mul(h, exp(h))) as F64;
  };

const inputs = [values([3, 3], 1), values([2, 3], 2)];

test("values and derivatives of any order are those without it", () => {
  const [with_, without] = [deep(checkpoint), deep(plain)];
  const both = (fn: typeof with_) => (w: F64, x: F64) => [0, 1].map((argument) => valueAndGrad(fn, { argument })(w, x));
  assertClose(run(both(with_) as never, ...inputs).flat(), run(both(without) as never, ...inputs).flat(), 1e-13);
  const second = (fn: typeof with_) => (w: F64, x: F64) => hessian((u: F64) => fn(w, u))(x);
  assertClose(run(second(with_) as never, ...inputs)[0]!, run(second(without) as never, ...inputs)[0]!, 1e-13);
  const mixed = (fn: typeof with_) => (w: F64, x: F64) =>
    grad((u: F64) => reduceSum(jvp((v: F64) => fn(w, v))([u], [mul(u, u) as never]).tangent) as F64)(x);
  assertClose(run(mixed(with_) as never, ...inputs)[0]!, run(mixed(without) as never, ...inputs)[0]!, 1e-13);
});

test("checkpoints in checkpoints, in loops, around loops, under vmap", () => {
  const nested = (wrap: Wrap) => (w: F64, x: F64) =>
    grad((u: F64) => reduceSum(wrap((v: F64) => wrap(layer)(w, wrap(layer)(w, v)))(u)) as F64)(x);
  assertClose(run(nested(checkpoint) as never, ...inputs)[0]!, run(nested(plain) as never, ...inputs)[0]!, 1e-13);
  const loop = (inner: Wrap, outer: Wrap) => (w: F64, x: F64) => {
    const last = (p: F64, q: F64): F64 =>
      outer((v: F64) => scan((h: F64) => ({ carry: inner(layer)(p, h), y: [] }), v, [], { length: 3 }).carry)(q);
    return [0, 1].map((argument) => valueAndGrad((p: F64, q: F64) => reduceSum(last(p, q)) as F64, { argument })(w, x));
  };
  const expected = run(loop(plain, plain) as never, ...inputs).flat();
  assertClose(run(loop(checkpoint, plain) as never, ...inputs).flat(), expected, 1e-13);
  assertClose(run(loop(plain, checkpoint) as never, ...inputs).flat(), expected, 1e-13);
  const many = (wrap: Wrap) => (w: F64, x: F64) =>
    grad(
      (u: F64) => reduceSum(vmap(wrap((v: F64) => sin(mul(v, reduceSum(mul(w, w)))) as F64))(u as never) as F64) as F64,
    )(x);
  assertClose(run(many(checkpoint) as never, ...inputs)[0]!, run(many(plain) as never, ...inputs)[0]!, 1e-13);
});

/** The nodes of a gradient when composite ops have become what they expand to, as the compiler sees them. */
function expanded(fn: (...args: F64[]) => unknown): readonly Node[] {
  const { graph } = trace(
    "gradient",
    fn as (...args: Tensor[]) => unknown,
    inputs.map(({ shape }) => tensorType("f64", shape)),
  );
  const expand = (roots: readonly Tensor[]): readonly Tensor[] => {
    const node = topologicalOrder(roots).find(({ op }) => op.lowering.kind === "expand");
    if (node === undefined) return roots;
    assert.ok(node.op.lowering.kind === "expand");
    const results = node.op.lowering.expand(node.inputs, node.attrs);
    return expand(substitute(roots, new Map(node.results.map((result, i) => [result, results[i]!]))));
  };
  return topologicalOrder(inTrace(() => expand((graph as Graph).results)));
}

const count = (nodes: readonly Node[], name: string): number => nodes.filter(({ op }) => op.name === name).length;

test("inner values are computed twice, from inputs that wait for the cotangents", () => {
  const slope = (wrap: Wrap) => expanded((w, x) => grad((p: F64) => deep(wrap)(p, x!))(w!));
  const [once, twice] = [slope(plain), slope(checkpoint)];
  assert.equal(count(once, "tanh"), 3);
  assert.equal(count(twice, "tanh"), 6, "hash-consing keeps the second computation apart");
  const cosines = new Set(once.filter(({ op }) => op.name === "cos"));
  assert.equal(cosines.size, 3);
  for (const node of twice.filter(({ op }) => op.name === "after")) {
    assert.ok(node.inputs.length > 1, "every copy waits for something");
  }
});

test("a policy keeps what it names", () => {
  const named = (w: F64, x: F64): F64 => sin(checkpointName(tanh(matmul(x, w)) as F64, "hidden")) as F64;
  const slope = (save: readonly string[]) => (w: F64, x: F64) =>
    grad((p: F64) => reduceSum(exp(checkpoint(named, { save })(p, x))) as F64)(w);
  assert.equal(count(expanded(slope([]) as never), "tanh"), 2);
  assert.equal(count(expanded(slope(["hidden"]) as never), "tanh"), 1);
  const expected = run(slope([]) as never, ...inputs)[0]!;
  assertClose(run(slope(["hidden"]) as never, ...inputs)[0]!, expected, 1e-15);
  assertClose(run(slope(["another"]) as never, ...inputs)[0]!, expected, 1e-15);
});

test("a custom rule inside is still refused by name in forward mode", () => {
  const odd = customVjp(
    function odd(x: F64): F64 {
      return mul(x, x) as F64;
    },
    { forward: (x: F64) => ({ value: mul(x, x) as F64, residuals: [] }), backward: (_none, ct) => [ct as never] },
  );
  const wrapped = checkpoint((x: F64) => reduceSum(odd(x)) as F64);
  assert.deepEqual(run((x) => grad(wrapped)(x!), values([2], 1))[0], [1, 1]);
  assert.throws(
    () => run((x) => jvp(wrapped)([x!], [x!]).tangent, values([2], 1)),
    /odd is differentiated by a custom/,
  );
});
