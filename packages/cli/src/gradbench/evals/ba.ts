// ba: bundle adjustment. Each of p observations sees one point through one camera, and leaves an error of two numbers;
// their Jacobian has a block of 2 x 15 for each observation (11 of the camera, 3 of the point, 1 weight), and is zero
// elsewhere. So one observation is differentiated, in reverse mode, two rows, and `vmap` does that for all of them.
// The Jacobian in compressed rows: the blocks, then the derivatives of 1 - w^2, one a row.

import {
  add,
  broadcastTo,
  concat,
  cond,
  cos,
  div,
  eq,
  gather,
  iota,
  mul,
  reshape,
  sin,
  sliceAxis,
  splat,
  sqrt,
  square,
  sub,
  transpose,
} from "@fidelity/core";
import { grad, vjp, vmap } from "@fidelity/furnace";
import type { Evaluation, Problem } from "../evaluation.ts";
import { InputReader } from "../input.ts";
import { f64, i32 } from "../programs.ts";
import type { F64, I32, Scalar64 } from "../programs.ts";

const COUNT_MAX = 2 ** 24;
const CAMERA = 11;
const BLOCK = CAMERA + 3 + 1;

type Vector3 = readonly [Scalar64, Scalar64, Scalar64];

/** A camera: rotation (axis times angle), centre, focal length, principal point, radial distortion. */
type Camera = readonly Scalar64[];

interface Observation {
  readonly camera: Camera;
  readonly point: Vector3;
  readonly weight: Scalar64;
}

const dot = (a: Vector3, b: Vector3): Scalar64 => add(add(mul(a[0], b[0]), mul(a[1], b[1])), mul(a[2], b[2]));

function cross(a: Vector3, b: Vector3): Vector3 {
  const minor = (i: number, j: number): Scalar64 => sub(mul(a[i]!, b[j]!), mul(a[j]!, b[i]!));
  return [minor(1, 2), minor(2, 0), minor(0, 1)];
}

/** Rodrigues' rotation of a point; of a rotation by nothing, its first order. */
function rotate(rotation: Vector3, point: Vector3): Vector3 {
  const squaredAngle = dot(rotation, rotation);
  const turned = (): Vector3 => {
    const angle = sqrt(squaredAngle);
    const axis = rotation.map((x) => div(x, angle)) as unknown as Vector3;
    const [c, s] = [cos(angle), sin(angle)];
    const along = mul(dot(axis, point), sub(1, c));
    const across = cross(axis, point);
    const at = (i: number): Scalar64 => add(add(mul(point[i]!, c), mul(across[i]!, s)), mul(axis[i]!, along));
    return [at(0), at(1), at(2)];
  };
  const small = (): Vector3 => {
    const across = cross(rotation, point);
    return point.map((x, i) => add(x, across[i]!)) as unknown as Vector3;
  };
  return cond(eq(squaredAngle, 0), small, turned) as unknown as Vector3;
}

/** Where an observation's point appears less where it was seen, times its weight. */
function residual({ camera, point, weight }: Observation, seen: readonly [Scalar64, Scalar64]): [Scalar64, Scalar64] {
  const [r0, r1, r2, c0, c1, c2, focal, u, v, k1, k2] = camera as [
    ...Vector3,
    ...Vector3,
    Scalar64,
    Scalar64,
    Scalar64,
    Scalar64,
    Scalar64,
  ];
  const [x, y, z] = rotate([r0, r1, r2], [sub(point[0], c0), sub(point[1], c1), sub(point[2], c2)]);
  const [a, b] = [div(x, z), div(y, z)];
  const radius = add(square(a), square(b));
  const distortion = add(add(1, mul(k1, radius)), mul(k2, square(radius)));
  const error = (plane: Scalar64, centre: Scalar64, feature: Scalar64): Scalar64 =>
    mul(weight, sub(add(mul(mul(plane, distortion), focal), centre), feature));
  return [error(a, u, seen[0]), error(b, v, seen[1])];
}

const weightError = (weight: Scalar64): Scalar64 => sub(1, square(weight));

/** The two rows of an observation's block, in the order of the columns. */
function block(at: Observation, seen: readonly [Scalar64, Scalar64]): Scalar64[][] {
  const { pullback } = vjp((observation: Observation) => residual(observation, seen))(at);
  const [zero, one] = [splat(0, [], "f64"), splat(1, [], "f64")];
  return [
    [one, zero],
    [zero, one],
  ].map((cotangents) => {
    const [{ camera, point, weight }] = pullback(cotangents as never) as unknown as readonly [Observation];
    return [...camera, ...point, weight];
  });
}

/** The columns of x [rows, columns], as vectors. */
function columnsOf(x: F64): F64[] {
  const [rows, columns] = x.shape as readonly [number, number];
  const turned = transpose(x, [1, 0]) as F64;
  return Array.from({ length: columns }, (_none, i) => reshape(sliceAxis(turned, 0, i, i + 1), [rows]) as F64);
}

/** Arguments of the program: cameras [n, 11], points [m, 3], weights [p], features [p, 2]; and who sees what, [p]. */
type Scene = readonly [cameras: F64, points: F64, weights: F64, features: F64, cameraIds: I32, pointIds: I32];

/** `fn` of every observation. */
function forAll<R>(fn: (at: Observation, seen: readonly [Scalar64, Scalar64]) => R, scene: Scene): unknown {
  const [cameras, points, weight, features, cameraIds, pointIds] = scene;
  const observation = {
    camera: columnsOf(gather(cameras, cameraIds)),
    point: columnsOf(gather(points, pointIds)),
    weight,
  };
  return vmap(fn as never)(...([observation, columnsOf(features)] as unknown as never[]));
}

function objective(...scene: Scene): readonly F64[] {
  const [a, b] = forAll(residual, scene) as [F64, F64];
  const p = a.shape[0]!;
  const errors = reshape(concat([reshape(a, [p, 1]), reshape(b, [p, 1])], 1), [2 * p]) as F64;
  return [errors, vmap(weightError as never)(...([scene[2]] as unknown as never[])) as F64];
}

/** Row pointers [3 p + 1], columns and values [31 p]. */
function jacobian(...scene: Scene): readonly (F64 | I32)[] {
  const [cameras, points, weights, , cameraIds, pointIds] = scene;
  const [n, m, p] = [cameras.shape[0]!, points.shape[0]!, weights.shape[0]!];
  const rows = (forAll(block, scene) as F64[][]).flat();
  const lying = concat(
    rows.map((values) => reshape(values, [1, p]) as F64),
    0,
  ) as F64;
  const ofWeights = vmap(grad(weightError) as never)(...([weights] as unknown as never[])) as F64;
  const values = concat([reshape(transpose(lying, [1, 0]), [2 * BLOCK * p]) as F64, ofWeights], 0);

  const place = (ids: I32, width: number, from: number): I32 =>
    add(add(reshape(mul(ids, width), [p, 1]), iota([1, width]) as I32), from) as I32;
  const number = iota([p]) as I32;
  const once = concat(
    [place(cameraIds, CAMERA, 0), place(pointIds, 3, CAMERA * n), place(number, 1, CAMERA * n + 3 * m)],
    1,
  ) as I32;
  const twice = broadcastTo(reshape(once, [p, 1, BLOCK]), [p, 2, BLOCK]);
  const columns = concat([reshape(twice, [2 * BLOCK * p]) as I32, add(number, CAMERA * n + 3 * m)], 0);
  const starts = concat([mul(iota([2 * p + 1]) as I32, BLOCK), add(number, 2 * BLOCK * p + 1)], 0);
  return [starts as I32, columns as I32, values as F64];
}

/** A list many times over. */
function repeat(values: Float64Array, times: number): Float64Array {
  const all = new Float64Array(values.length * times);
  for (let i = 0; i < times; i++) all.set(values, i * values.length);
  return all;
}

function pose(input: unknown, fn: Problem["fn"], answer: (p: number) => Problem["answer"]): Problem {
  const reader = new InputReader(input);
  const [n, m, p] = ["n", "m", "p"].map((key) => reader.integer(key, 1, COUNT_MAX)) as [number, number, number];
  return {
    types: [f64(n, CAMERA), f64(m, 3), f64(p), f64(p, 2), i32(p), i32(p)],
    values: [
      repeat(reader.vector("cam", CAMERA), n),
      repeat(reader.vector("x", 3), m),
      new Float64Array(p).fill(reader.number("w")),
      repeat(reader.vector("feat", 2), p),
      Int32Array.from({ length: p }, (_none, i) => i % n),
      Int32Array.from({ length: p }, (_none, i) => i % m),
    ],
    fn,
    answer: answer(p),
  };
}

/** The first block, and the last element. */
function shown(size: number): number[] {
  return [...Array.from({ length: 2 * BLOCK }, (_none, i) => i), size - 1];
}

export const ba: Evaluation = {
  objective: (input) =>
    pose(input, objective as never, (p) => (results) => ({
      reproj_error: { elements: results.resultAt(0, [0, 1]), repeated: p },
      w_err: { element: results.resultAt(1, [0])[0], repeated: p },
    })),
  jacobian: (input) =>
    pose(input, jacobian as never, (p) => (results) => ({
      rows: results.resultAt(0, shown(3 * p + 1)),
      cols: results.resultAt(1, shown((2 * BLOCK + 1) * p)),
      vals: results.resultAt(2, shown((2 * BLOCK + 1) * p)),
    })),
};
