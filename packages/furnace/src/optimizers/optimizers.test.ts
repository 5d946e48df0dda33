// Each optimiser against its paper's equations, written out in plain loops over numbers; what surrounds an optimiser
// against what it should be equal to.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createInterpreter, jit, matmul, mean, square, storageBytes, sub, tensorType } from "@fidelity/core";
import type { Tensor, TensorType } from "@fidelity/core";
import { accumulateGrad, adafactor, adamW, eightBit, lion, muon, OPTIMIZERS } from "../index.ts";
import { scheduleFree, sgd, soap, valueAndGrad, withEma } from "../index.ts";
import type { Optimizer, OptimizerState } from "../index.ts";
import { orthogonalised } from "./muon.ts";

type F64 = Tensor<readonly number[], "f64">;
type Matrix = readonly (readonly number[])[];

const device = createInterpreter();
const [ROWS, COLUMNS] = [2, 3];
const START = [0.5, -1.25, 2, 0.125, 3, -0.75];
const gradientAt = (step: number): number[] =>
  START.map((_x, i) => Math.sin(1 + 2 * i + 5 * step) * 10 ** ((i % 3) - 1));
const STEPS = [1, 2, 3, 4, 5];
const RATE = 0.1;

interface Walk {
  /** The parameters after each step. */
  readonly params: number[][];
  /** The whole state after the last one. */
  readonly state: Readonly<Record<string, ArrayLike<number>>>;
}

/** Steps of an optimiser on one tensor with given gradients. */
async function walk(optimizer: Optimizer, shape: readonly number[], start = START, path = "w"): Promise<Walk> {
  const type: TensorType = { dtype: "f64", shape };
  const stateTypes = optimizer.init({ [path]: type });
  const step = await jit(
    device,
    (params: unknown, grads: unknown, state: unknown, time: unknown) => {
      const inputs = { learningRate: sub(time as F64, sub(time as F64, RATE)), step: time as Tensor };
      return optimizer.update(params, grads as never, state as OptimizerState<unknown>, inputs);
    },
    [{ [path]: type }, { [path]: type }, stateTypes, tensorType("f64", [])] as readonly unknown[],
  );
  let params: unknown = { [path]: start };
  let state = Object.fromEntries(
    Object.entries(stateTypes).map(([name, tree]) => [
      name,
      { [path]: zeros((tree as Record<string, TensorType>)[path]!) },
    ]),
  ) as unknown;
  const seen: number[][] = [];
  for (const time of STEPS) {
    const result = (step as (...args: unknown[]) => unknown)(params, { [path]: gradientAt(time) }, state, time) as {
      params: Record<string, Float64Array>;
      state: Record<string, Record<string, Float64Array | number>>;
    };
    ({ params, state } = result);
    seen.push([...result.params[path]!]);
  }
  const last = Object.entries(state as Record<string, Record<string, Float64Array | number>>).map(([name, tree]) => {
    const leaf = tree[path]!;
    return [name, typeof leaf === "number" ? [leaf] : leaf] as const;
  });
  return { params: seen, state: Object.fromEntries(last) };
}

const zeros = ({ shape }: TensorType): Float64Array => new Float64Array(shape.reduce((a, b) => a * b, 1));

function assertWalk(found: readonly number[][], expected: readonly number[][], tolerance = 1e-10): void {
  expected.forEach((row, t) =>
    row.forEach((value, i) => {
      const error = Math.abs(found[t]![i]! - value);
      assert.ok(
        error <= tolerance * Math.max(1, Math.abs(value)),
        `step ${t + 1}[${i}]: ${found[t]![i]}, not ${value}`,
      );
    }),
  );
}

test("Lion", async () => {
  const expected: number[][] = [];
  let [p, m] = [START, START.map(() => 0)];
  for (const t of STEPS) {
    const g = gradientAt(t);
    p = p.map((x, i) => x - RATE * (Math.sign(0.9 * m[i]! + 0.1 * g[i]!) + 0.1 * x));
    m = m.map((x, i) => 0.99 * x + 0.01 * g[i]!);
    expected.push(p);
  }
  assertWalk((await walk(lion(), [ROWS, COLUMNS])).params, expected);
});

test("Adafactor keeps a row and a column for a matrix", async () => {
  const expected: number[][] = [];
  let p = START;
  let [row, column] = [Array<number>(ROWS).fill(0), Array<number>(COLUMNS).fill(0)];
  for (const t of STEPS) {
    const [g, newest] = [gradientAt(t), t ** -0.8];
    const squares = g.map((x) => x * x + 1e-30);
    const average = (pick: (i: number) => boolean, n: number): number =>
      squares.reduce((sum, x, i) => sum + (pick(i) ? x / n : 0), 0);
    row = row.map((x, r) => x + newest * (average((i) => Math.floor(i / COLUMNS) === r, COLUMNS) - x));
    column = column.map((x, c) => x + newest * (average((i) => i % COLUMNS === c, ROWS) - x));
    const whole = row.reduce((sum, x) => sum + x / ROWS, 0);
    const unit = g.map((x, i) => x / Math.sqrt((row[Math.floor(i / COLUMNS)]! * column[i % COLUMNS]!) / whole));
    const size = Math.sqrt(unit.reduce((sum, x) => sum + (x * x) / unit.length, 0));
    p = p.map((x, i) => x - (RATE * unit[i]!) / Math.max(1, size));
    expected.push(p);
  }
  const { params, state } = await walk(adafactor(), [ROWS, COLUMNS]);
  assertWalk(params, expected);
  assert.deepEqual(
    Object.values(state).map(({ length }) => length),
    [ROWS, COLUMNS, 1],
  );
});

test("schedule-free AdamW, and the average that is evaluated", async () => {
  const expected: number[][] = [];
  let [y, z, x, v, weight] = [START, START, START, START.map(() => 0), 0];
  for (const t of STEPS) {
    const g = gradientAt(t);
    v = v.map((s, i) => 0.999 * s + 0.001 * g[i]! ** 2);
    z = z.map((at, i) => at - RATE * (g[i]! / (Math.sqrt(v[i]! / (1 - 0.999 ** t)) + 1e-8) + 0.01 * y[i]!));
    weight += RATE ** 2;
    const share = RATE ** 2 / weight;
    x = x.map((at, i) => (1 - share) * at + share * z[i]!);
    y = z.map((at, i) => 0.1 * at + 0.9 * x[i]!);
    expected.push(y);
  }
  const optimizer = scheduleFree();
  const { params, state } = await walk(optimizer, [ROWS, COLUMNS]);
  assertWalk(params, expected, 1e-8);
  const types = [6, 6, undefined].map((count) => tensorType("f64", count === undefined ? [] : [count]));
  const average = await jit(
    device,
    (w: F64, iterate: F64, weight: F64) => optimizer.averaged!<F64>(w, { iterate, weight }),
    types as never,
  );
  const averaged = (steps: number): number[] => [
    ...(average(params.at(-1)!, state["iterate"]!, steps) as unknown as Float64Array),
  ];
  assertWalk([averaged(weight)], [x], 1e-8);
  assertWalk([averaged(0)], [params.at(-1)!], 1e-12);
});

const product = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) => b[0]!.map((_x, j) => row.reduce((sum, x, k) => sum + x * b[k]![j]!, 0)));
const transposed = (a: Matrix): number[][] => a[0]!.map((_x, j) => a.map((row) => row[j]!));
const asMatrix = (flat: readonly number[]): number[][] => [flat.slice(0, COLUMNS), flat.slice(COLUMNS)];

test("Muon's steps are nearly orthogonal, in the size of AdamW's", async () => {
  const make = await jit(device, (x: F64) => orthogonalised(x), [tensorType("f64", [ROWS, COLUMNS])]);
  const near = asMatrix([...(make(START) as unknown as Float64Array)]);
  const gram = product(near, transposed(near));
  assert.ok(Math.abs(gram[0]![0]! - 1) < 0.5 && Math.abs(gram[1]![1]! - 1) < 0.5 && Math.abs(gram[0]![1]!) < 0.3);
  const tall = await jit(device, (x: F64) => orthogonalised(x), [tensorType("f64", [COLUMNS, ROWS])]);
  const flipped = transposed(asMatrix(START)).flat();
  assertWalk([[...(tall(flipped) as unknown as Float64Array)]], [transposed(near).flat()]);
  const [first] = (await walk(muon({ weightDecay: 0 }), [ROWS, COLUMNS])).params;
  const step = asMatrix(first!.map((x, i) => (START[i]! - x) / (RATE * 0.2 * Math.sqrt(COLUMNS))));
  const direction = asMatrix(gradientAt(1));
  assert.ok(step.flat().reduce((sum, x, i) => sum + x * direction.flat()[i]!, 0) > 0, "against the gradient");
});

test("Muon leaves embeddings and vectors to AdamW", async () => {
  const [own, adam] = [muon({ beta2: 0.999 }), adamW()];
  for (const [shape, path] of [[[6], "w"] as const, [[ROWS, COLUMNS], "embedding"] as const]) {
    assert.deepEqual((await walk(own, shape, START, path)).params, (await walk(adam, shape, START, path)).params);
  }
});

/** Q of A = Q R by Gram and Schmidt, with a positive diagonal in R. */
function orthonormal(a: Matrix): number[][] {
  const columns: number[][] = [];
  for (const column of transposed(a)) {
    let rest = column;
    for (const q of [...columns, ...columns]) {
      const along = q.reduce((sum, x, i) => sum + x * rest[i]!, 0);
      rest = rest.map((x, i) => x - along * q[i]!);
    }
    const norm = Math.hypot(...rest);
    columns.push(rest.map((x) => x / norm));
  }
  return transposed(columns);
}

test("SOAP is Adam in a basis that follows the preconditioners", async () => {
  const identity = (n: number): number[][] =>
    Array.from({ length: n }, (_, i) => Array.from({ length: n }, (__, j) => Number(i === j)));
  const expected: number[][] = [];
  const every = 2;
  let p = START;
  let [left, right] = [identity(ROWS).map((r) => r.map(() => 0)), identity(COLUMNS).map((r) => r.map(() => 0))];
  let [ql, qr] = [identity(ROWS), identity(COLUMNS)];
  let [m, v] = [asMatrix(START.map(() => 0)), asMatrix(START.map(() => 0))];
  const mix = (a: Matrix, b: Matrix): number[][] => a.map((row, i) => row.map((x, j) => 0.95 * x + 0.05 * b[i]![j]!));
  const pushed = (a: Matrix, q: Matrix): number[][] => {
    const floor = (a.reduce((sum, row, i) => sum + row[i]!, 0) * 1e-7) / a.length + 1e-30;
    return product(
      a.map((row, i) => row.map((x, j) => x + (i === j ? floor : 0))),
      q,
    );
  };
  for (const t of STEPS) {
    const g = asMatrix(gradientAt(t));
    [left, right] = [mix(left, product(g, transposed(g))), mix(right, product(transposed(g), g))];
    if ((t - 1) % every === 0) [ql, qr] = [orthonormal(pushed(left, ql)), orthonormal(pushed(right, qr))];
    const turn = (a: Matrix): number[][] => product(product(transposed(ql), a), qr);
    m = mix(m, g);
    v = mix(
      v,
      turn(g).map((row) => row.map((x) => x * x)),
    );
    const correction = 1 - 0.95 ** t;
    const unit = turn(m).map((row, i) =>
      row.map((x, j) => x / correction / (Math.sqrt(v[i]![j]! / correction) + 1e-8)),
    );
    const change = product(product(ql, unit), transposed(qr)).flat();
    p = p.map((x, i) => x - RATE * (change[i]! + 0.01 * x));
    expected.push(p);
  }
  // A gradient of rank 1 leaves directions that only the floor tells apart: rounding shows there.
  assertWalk((await walk(soap({ every }), [ROWS, COLUMNS])).params, expected, 1e-4);
  assert.deepEqual((await walk(soap(), [6])).params, (await walk(adamW({ beta1: 0.95, beta2: 0.95 }), [6])).params);
});

test("an average of the weights beside another optimiser", async () => {
  const plain = await walk(sgd(), [6]);
  const averaged = await walk(withEma(sgd(), 0.9), [6]);
  assert.deepEqual(averaged.params, plain.params);
  const [first, ...others] = plain.params;
  const expected = others.reduce((mean, p) => mean.map((x, i) => 0.9 * x + 0.1 * p[i]!), first!);
  assertWalk([[...(averaged.state["average"] as Float64Array)]], [expected]);
});

test("eight bits hold AdamW's moments, in a quarter of the memory", async () => {
  const length = 600; // two blocks, and a part of one
  const start = Array.from({ length }, (_, i) => Math.cos(i));
  const long = { ...adamW({ weightDecay: 0 }) };
  const exact = await walkLong(long, start);
  const coded = await walkLong(eightBit(long, { minElements: 100 }), start);
  const steps = exact.map((x, i) => x - start[i]!);
  const error = Math.hypot(...coded.map((x, i) => x - exact[i]!)) / Math.hypot(...steps);
  assert.ok(error > 0 && error < 0.05, `off by ${error} of the way`);
  const bytes = (optimizer: Optimizer): number =>
    Object.values(optimizer.init(tensorType("f32", [64, 1024]))).reduce((sum, type) => sum + storageBytes(type), 0);
  assert.ok(bytes(eightBit(adamW())) < 0.27 * bytes(adamW()));
});

async function walkLong(optimizer: Optimizer, start: readonly number[]): Promise<number[]> {
  const type = tensorType("f32", [start.length]);
  const states = optimizer.init(type as TensorType);
  const step = await jit(
    device,
    (w: unknown, state: unknown, time: unknown) => {
      const inputs = { learningRate: sub(time as F64, sub(time as F64, 0.01)), step: time as Tensor };
      const { value, grad } = valueAndGrad((at: Tensor<readonly number[], "f32">) => mean(square(square(at))))(
        w as never,
      );
      void value;
      const next = optimizer.update(w, grad as never, state as OptimizerState<unknown>, inputs);
      // Codes have no array on the host: they are handed on as float32.
      return next;
    },
    [type, states, tensorType("f32", [])] as readonly unknown[],
  );
  let [w, state] = [start as ArrayLike<number>, mapZeros(states)];
  for (const time of STEPS) {
    const next = (step as (...args: unknown[]) => unknown)(w, state, time) as {
      params: Float32Array;
      state: typeof state;
    };
    [w, state] = [next.params, next.state];
  }
  return Array.from(w);
}

const mapZeros = (types: Readonly<Record<string, unknown>>): Record<string, ArrayLike<number> | number> =>
  Object.fromEntries(
    Object.entries(types).map(([name, type]) => {
      const { shape } = type as TensorType;
      return [name, shape.length === 0 ? 0 : zeros(type as TensorType)];
    }),
  );

test("gradients of a batch in parts are those of the whole batch", async () => {
  const loss = (w: F64, x: F64): Tensor<readonly [], "f64"> => mean(square(matmul(x, w)));
  const types = [tensorType("f64", [3, 1]), tensorType("f64", [6, 3])] as const;
  const whole = await jit(device, (w: F64, x: F64) => valueAndGrad(loss)(w, x), types);
  const parts = await jit(device, (w: F64, x: F64) => accumulateGrad(loss, 3)(w, x), types);
  const x = Array.from({ length: 18 }, (_, i) => Math.sin(i));
  const [a, b] = [whole([1, 2, 3], x), parts([1, 2, 3], x)] as unknown as { value: number; grad: Float64Array }[];
  assertWalk([[b!.value, ...b!.grad]], [[a!.value, ...a!.grad]]);
  await assert.rejects(
    jit(device, (w: F64, y: F64) => accumulateGrad(loss, 4)(w, y), types),
    /cannot cut 0 into 4 parts/,
  );
});

describe("all optimisers by name", () => {
  for (const [name, make] of Object.entries(OPTIMIZERS)) {
    test(`${name} moves against the gradient, and names a state that does not fit`, async () => {
      const optimizer = make({ weightDecay: 0 });
      const [first] = (await walk(optimizer, [ROWS, COLUMNS])).params;
      const g = gradientAt(1);
      assert.ok(first!.reduce((sum, x, i) => sum + (x - START[i]!) * g[i]!, 0) < 0);
    });
  }
});
