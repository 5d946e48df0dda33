// Linear algebra and sorting: what defines each factorisation, derivatives against closed forms and central
// differences, second derivatives, examples.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  argsort,
  cholesky,
  eigh,
  inverse,
  logdet,
  matmul,
  mul,
  qr,
  reduceSum,
  sin,
  solve,
  sort,
  square,
  svd,
  topK,
  transpose,
  triangularSolve,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { grad, jacfwd, jacrev, jvp, vmap } from "./index.ts";
import { assertClose, centralDifferences, run, values, vector } from "./support.test.ts";
import type { F64, TensorFunction, Values } from "./support.test.ts";

const t = (x: F64): F64 => transpose(x) as F64;
const dot = (a: F64, b: F64): F64 => matmul(a, b as never) as unknown as F64;
const weigh = (x: F64): F64 => reduceSum(mul(sin(x), x)) as F64;

/** A matrix with numbers around a diagonal that grows. */
function matrix(n: number, seed: number, rows = n): Values {
  const { data } = values([rows, n], seed);
  return { shape: [rows, n], data: data.map((x, i) => x + (i % n === Math.floor(i / n) ? 3 + (i % n) : 0)) };
}

const symmetric = (x: F64): F64 => add(x, t(x)) as F64;
const positive = (x: F64): F64 => dot(x, t(x));

test("factors multiply to the matrix", () => {
  const a = matrix(9, 1);
  const tall = matrix(4, 2, 7);
  const same = (fn: TensorFunction, ...inputs: Values[]): void => {
    const [got, expected] = run(fn, ...inputs);
    assertClose(got!, expected!, 1e-12);
  };
  const scaled = (x: F64, by: F64): F64 => mul(x, by as never) as F64;
  same((x) => {
    const l = cholesky(positive(x!));
    return [dot(l, t(l)), positive(x!)];
  }, a);
  same((x) => [dot(qr(x!).q, qr(x!).r as never), x], tall);
  same((x) => [dot(t(qr(x!).q), qr(x!).q), jacfwd((u: F64) => u)(reduceSum(x!, 0) as F64)], tall);
  same((x) => {
    const { values: w, vectors } = eigh(symmetric(x!));
    return [dot(scaled(vectors, w), t(vectors)), symmetric(x!)];
  }, a);
  for (const turn of [(x: F64) => x, t]) {
    same((x) => {
      const { u, s, v } = svd(turn(x!));
      return [dot(scaled(u, s), t(v)), turn(x!)];
    }, tall);
  }
  same((x, y) => [dot(x!, solve(x!, y!)), y!], a, values([9, 2], 3));
  same((x, y) => [dot(x!, dot(inverse(x!), y!)), y!], a, values([9, 2], 3));
  same((x) => [logdet(positive(x!)), mul(reduceSum(logdet(x!)), 2)], a);
});

test("the gradient of ln det is the transposed inverse, that of an inverse its square", () => {
  const a = matrix(5, 4);
  const [slope, expected] = run((x) => [grad((u: F64) => reduceSum(logdet(u)) as F64)(x!), t(inverse(x!))], a);
  assertClose(slope!, expected!, 1e-13);
  const [product, square_] = run((x) => {
    const along = jvp((u: F64) => inverse(u))([x!], [x!]).tangent as F64;
    return [along, mul(inverse(x!), -1)];
  }, a);
  assertClose(product!, square_!, 1e-12);
});

const upperOf = (x: F64): F64 => triangularSolve(t(positive(x)), x, { lower: false }) as F64;

const functions: Readonly<Record<string, (x: F64) => F64>> = {
  cholesky: (x) => weigh(cholesky(positive(x))),
  "triangular solve": (x) => weigh(upperOf(x)),
  "triangular solve, transposed": (x) => weigh(triangularSolve(x, t(x), { transposed: true }) as F64),
  solve: (x) => weigh(solve(x, t(x)) as F64),
  logdet: (x) => square(reduceSum(logdet(x))) as unknown as F64,
  qr: (x) => add(weigh(qr(x).q), weigh(qr(x).r as F64)) as F64,
  eigenvalues: (x) => weigh(eigh(symmetric(x)).values as F64),
  eigenvectors: (x) => weigh(eigh(symmetric(x)).vectors),
  svd: (x) => {
    const { u, s, v } = svd(x);
    return add(add(weigh(u as F64), weigh(s as F64)), weigh(v as F64)) as F64;
  },
};

for (const [name, fn] of Object.entries(functions)) {
  test(`${name}: gradient and Hessian are those of central differences, in all orders of the modes`, () => {
    const a = matrix(3, 5);
    assertClose(run((x) => grad(fn)(x!), a)[0]!, centralDifferences(fn as TensorFunction, [a], 0), 1e-7, name);
    const along = values([3, 3], 6);
    const slope = (x: F64, v: F64): F64 => reduceSum(mul(grad(fn)(x) as F64, v)) as F64;
    const expected = centralDifferences(slope as TensorFunction, [a, along], 0);
    const orders = run(
      (x, v) => {
        const forward = (u: F64): F64 => jvp(fn)([u], [v as never]).tangent as F64;
        return [
          grad((u: F64) => slope(u, v!))(x!),
          grad(forward)(x!),
          jvp((u: F64) => grad(fn)(u))([x!], [v as never]).tangent,
        ];
      },
      a,
      along,
    );
    for (const order of orders) assertClose(order, expected, 1e-6, name);
  });
}

test("matrices of a batch and vmap are one matrix after another", () => {
  const a: Values = { shape: [2, 3, 3], data: [...matrix(3, 1).data, ...matrix(3, 2).data] };
  for (const [name, fn] of Object.entries(functions)) {
    const slopes = run((x) => vmap(grad(fn))(x as never), a)[0]!;
    const each = [1, 2].flatMap((seed) => run((x) => grad(fn)(x!), matrix(3, seed))[0]!);
    assertClose(slopes, each, 1e-12, name);
  }
});

test("sorting: stable, along any axis, NaN last, the derivative moves with the numbers", () => {
  const x = vector(3, 1, 2, 1, Number.NaN, -5);
  assert.deepEqual(run((u) => argsort(u!), x)[0], [5, 1, 3, 2, 0, 4]);
  assert.deepEqual(run((u) => argsort(u!, { descending: true }), x)[0], [0, 2, 1, 3, 5, 4]);
  const rows: Values = { shape: [3, 2], data: [3, 1, 2, 5, 1, 4] };
  assert.deepEqual(run((u) => sort(u!, { axis: 0 }), rows)[0], [1, 1, 2, 4, 3, 5]);
  const weighted = (u: F64): F64 => reduceSum(mul(square(sort(u)), vectorOf(u))) as F64;
  const vectorOf = (u: F64): F64 => sin(sort(u)) as F64;
  const y = vector(3, 1, 2, -5);
  assertClose(run((u) => grad(weighted)(u!), y)[0]!, centralDifferences(weighted as TensorFunction, [y], 0), 1e-7);
  const [jacobian] = run((u) => jacrev((v: F64) => sort(v))(u!), y);
  assert.deepEqual(jacobian, [0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0]);
  assert.deepEqual(run((u) => jacfwd((v: F64) => sort(v))(u!), y)[0], jacobian);
  const best = run((u) => topK(u!, 2), y);
  assert.deepEqual(best, [
    [3, 2],
    [0, 2],
  ]);
  assert.deepEqual(run((u) => grad((v: F64) => reduceSum(topK(v, 2).values as F64) as F64)(u!), y)[0], [1, 0, 1, 0]);
  assert.deepEqual(run((u) => vmap((v: F64) => sort(v))(u as never), rows)[0], [1, 3, 2, 5, 1, 4]);
});

test("what does not fit is named", () => {
  const wrong =
    (fn: (x: F64) => unknown, shape: readonly number[]): (() => unknown) =>
    () =>
      run((x) => fn(x!), values(shape));
  assert.throws(
    wrong((x) => cholesky(x), [2, 3]),
    /cholesky: the matrices are not square/,
  );
  assert.throws(
    wrong((x) => qr(x), [2, 3]),
    /qr: fewer rows than columns/,
  );
  assert.throws(
    wrong((x) => solve(x, x as never), [3]),
    /needs matrices in the last two axes/,
  );
  assert.throws(
    wrong((x) => topK(x, 4), [3]),
    /cannot take 4 numbers/,
  );
  assert.throws(
    wrong((x) => triangularSolve(x, transpose(x) as Tensor as never), [2, 2, 3]),
    /not square/,
  );
});
