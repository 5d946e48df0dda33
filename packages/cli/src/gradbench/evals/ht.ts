// ht: hand tracking. A skeleton of bones, posed by 26 angles and offsets theta, carries the vertices of a hand. The
// error is the distance of measured points from vertices, or, where there are coordinates us, from places in triangles
// of them. The Jacobian is dense in theta (forward mode: 26 columns), and has two columns for us, since a point depends
// on its own two coordinates only: one direction for all first coordinates at once, and one for all second ones.
//
// A vertex is carried by all bones, sum over b of weight[b] (T_b p): over all vertices that is one product of
// matrices, of [vertices, 4 bones], which does not depend on the pose, with the bones' transforms [4 bones, 3].

import {
  add,
  broadcastTo,
  concat,
  cond,
  constant,
  cos,
  div,
  gather,
  lt,
  matmul,
  mul,
  neg,
  reduceSum,
  reshape,
  sin,
  sliceAxis,
  splat,
  sqrt,
  square,
  sub,
  transpose,
} from "@fidelity/core";
import { jacfwd, jvp } from "@fidelity/furnace";
import { asRows, numbers } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { GradBenchInputError } from "../errors.ts";
import { InputReader } from "../input.ts";
import { f64, i32 } from "../programs.ts";
import type { F64, I32, Scalar64 } from "../programs.ts";

const PARAMETERS = 26;
const FINGERS = 5;
/** Bones of a finger, of which the first three bend. */
const FINGER_BONES = 4;
/** The bone before the first finger's: bones 0 and 1 are the forearm and the wrist. */
const FIRST_FINGER_BONE = 2;
/** Below this angle a rotation is taken for none. */
const SMALL_ANGLE = 1e-4;

interface Skeleton {
  readonly parents: Int32Array;
  readonly isMirrored: boolean;
}

/** Arguments of the program; bones are [bones, 4, 4], positions [vertices, 4], weights [vertices, bones]. */
interface Hand {
  readonly baseRelatives: F64;
  readonly inverseBaseAbsolutes: F64;
  readonly basePositions: F64;
  readonly weights: F64;
  /** Measured points [points, 3]. */
  readonly points: F64;
  /** The vertex, or the three vertices in turn, that each point belongs to. */
  readonly vertices: I32;
}

const element = (x: F64, i: number): Scalar64 => reshape(sliceAxis(x, 0, i, i + 1), []) as Scalar64;

/** A matrix of scalars and numbers, row by row. */
function matrix(rows: readonly (readonly (Scalar64 | number)[])[]): F64 {
  const cells = rows
    .flat()
    .map((cell) => reshape(typeof cell === "number" ? splat(cell, [], "f64") : cell, [1]) as F64);
  return reshape(concat(cells, 0), [rows.length, rows[0]!.length]) as F64;
}

/** The rotation about an axis by the length of it (Rodrigues). */
function globalRotation(rotation: F64): F64 {
  const angleOf = (v: F64): Scalar64 => sqrt(reduceSum(square(v)));
  const turned = (v: F64): F64 => {
    const angle = angleOf(v);
    const [x, y, z] = [0, 1, 2].map((i) => div(element(v, i), angle)) as [Scalar64, Scalar64, Scalar64];
    const [s, c] = [sin(angle), cos(angle)];
    const along = (a: Scalar64, b: Scalar64): Scalar64 => mul(mul(a, b), sub(1, c));
    const own = (a: Scalar64): Scalar64 => add(square(a), mul(sub(1, square(a)), c));
    return matrix([
      [own(x), sub(along(x, y), mul(z, s)), add(along(x, z), mul(y, s))],
      [add(along(x, y), mul(z, s)), own(y), sub(along(y, z), mul(x, s))],
      [sub(along(x, z), mul(y, s)), add(along(z, y), mul(x, s)), own(z)],
    ]);
  };
  const none = (): F64 =>
    matrix([
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ]);
  return cond(lt(angleOf(rotation), SMALL_ANGLE) as never, none, turned, rotation);
}

/** The rotation of a bone [4, 4] by angles about x and about z, and by none about y. */
function boneRotation(aboutX: Scalar64, aboutZ: Scalar64 | undefined): F64 {
  const [sx, cx] = [sin(aboutX), cos(aboutX)];
  if (aboutZ === undefined)
    return matrix([
      [1, 0, 0, 0],
      [0, cx, neg(sx), 0],
      [0, sx, cx, 0],
      [0, 0, 0, 1],
    ]);
  const [sz, cz] = [sin(aboutZ), cos(aboutZ)];
  return matrix([
    [cz, neg(mul(sz, cx)), mul(sz, sx), 0],
    [sz, mul(cz, cx), neg(mul(cz, sx)), 0],
    [0, sx, cx, 0],
    [0, 0, 0, 1],
  ]);
}

/** For each bone the rotation that theta gives it; those without one keep their place. */
function boneRotations(theta: F64, bones: number): (F64 | undefined)[] {
  const rotations = new Array<F64 | undefined>(bones).fill(undefined);
  let next = 6; // behind the global rotation and translation
  for (let finger = 0; finger < FINGERS; finger++) {
    for (let joint = 0; joint < FINGER_BONES - 1; joint++) {
      const aboutX = element(theta, next++);
      const aboutZ = joint === 0 ? element(theta, next++) : undefined;
      rotations[FIRST_FINGER_BONE + finger * FINGER_BONES + joint] = boneRotation(aboutX, aboutZ);
    }
  }
  return rotations;
}

/** What each bone does to a point of the resting hand, transposed: [4 bones, 3]. */
function transforms(theta: F64, { baseRelatives, inverseBaseAbsolutes }: Hand, { parents }: Skeleton): F64 {
  const bone = (all: F64, i: number): F64 => reshape(sliceAxis(all, 0, i, i + 1), [4, 4]) as F64;
  const rotations = boneRotations(theta, parents.length);
  const absolutes: F64[] = [];
  parents.forEach((parent, i) => {
    const base = bone(baseRelatives, i);
    const rotation = rotations[i];
    const relative = rotation === undefined ? base : (matmul(base, rotation) as F64);
    absolutes.push(parent < 0 ? relative : (matmul(absolutes[parent]!, relative) as F64));
  });
  const stacked = concat(
    absolutes.map((absolute) => reshape(absolute, [1, 4, 4]) as F64),
    0,
  ) as F64;
  const all = transpose(matmul(stacked, inverseBaseAbsolutes), [0, 2, 1]) as F64;
  return reshape(sliceAxis(all, 2, 0, 3), [4 * parents.length, 3]) as F64;
}

/** Where the vertices that points belong to are: rows of [vertices, 3], by `Hand.vertices`. */
function vertexPositions(theta: F64, hand: Hand, skeleton: Skeleton): F64 {
  const posed = transforms(theta, hand, skeleton);
  const global = globalRotation(sliceAxis(theta, 0, 0, 3) as F64);
  const signs = constant([skeleton.isMirrored ? -1 : 1, 1, 1], [3], "f64") as F64;
  const placed = (positions: F64, weights: F64): F64 => {
    const [vertices, bones] = weights.shape as readonly [number, number];
    const weight = broadcastTo(reshape(weights, [vertices, bones, 1]), [vertices, bones, 4]) as F64;
    const carried = mul(weight, reshape(positions, [vertices, 1, 4]) as F64);
    const local = mul(matmul(reshape(carried, [vertices, 4 * bones]), posed) as F64, signs) as F64;
    return add(matmul(local, global, { transposeB: true }), sliceAxis(theta, 0, 3, 6)) as F64;
  };
  const { basePositions, weights, vertices } = hand;
  // Few points: only their vertices. Many: every vertex once.
  const few = vertices.shape[0]! <= weights.shape[0]!;
  if (few) return placed(gather(basePositions, vertices) as F64, gather(weights, vertices) as F64);
  return gather(placed(basePositions, weights), vertices) as F64;
}

/** The error [points, 3] of points that belong to vertices. */
function vertexError(theta: F64, hand: Hand, skeleton: Skeleton): F64 {
  return sub(hand.points, vertexPositions(theta, hand, skeleton)) as F64;
}

/** The error [points, 3] of points that belong to places us [points, 2] in triangles. */
function triangleError(theta: F64, us: F64, hand: Hand, skeleton: Skeleton): F64 {
  const count = us.shape[0]!;
  const corners = vertexPositions(theta, hand, skeleton);
  const corner = (i: number): F64 => sliceAxis(corners, 0, i * count, (i + 1) * count) as F64;
  const [u, v] = [sliceAxis(us, 1, 0, 1) as F64, sliceAxis(us, 1, 1, 2) as F64];
  const rest = sub(sub(1, u), v) as F64;
  const place = add(add(mul(u, corner(0)), mul(v, corner(1))), mul(rest, corner(2))) as F64;
  return sub(hand.points, place) as F64;
}

function objective(theta: F64, us: F64, hand: Hand, skeleton: Skeleton): F64 {
  return us.shape[0] === 0 ? vertexError(theta, hand, skeleton) : triangleError(theta, us, hand, skeleton);
}

/** [points, 3, 2 + 26], or [points, 3, 26] without us. */
function jacobian(theta: F64, us: F64, hand: Hand, skeleton: Skeleton): F64 {
  const count = us.shape[0]!;
  const inTheta = jacfwd((at: F64) => objective(at, us, hand, skeleton))(theta) as F64;
  if (count === 0) return inTheta;
  const columns = [0, 1].map((which) => {
    const unit = broadcastTo(constant([1 - which, which], [1, 2], "f64"), [count, 2]);
    const { tangent } = jvp((at: F64) => triangleError(theta, at, hand, skeleton))([us], [unit] as never);
    return reshape(tangent as F64, [count, 3, 1]) as F64;
  });
  return concat([...columns, inTheta], 2) as F64;
}

/** The vertices that points belong to: of triangles all first corners, then all second and third ones. */
function verticesOf(data: InputReader, model: InputReader, vertexCount: number, inTriangles: boolean): Int32Array {
  if (!inTriangles) return data.integers("correspondences", 0, vertexCount - 1);
  const triangles = model.matrix("triangles", undefined, 3);
  const chosen = data.integers("correspondences", 0, triangles.rows - 1);
  return Int32Array.from({ length: 3 * chosen.length }, (_none, i) => {
    return triangles.values[3 * chosen[i % chosen.length]! + Math.floor(i / chosen.length)]!;
  });
}

function pose(input: unknown, fn: typeof objective, columns: (us: number) => number | undefined): Problem {
  const reader = new InputReader(input);
  const data = reader.object("data");
  const model = data.object("model");
  const positions = model.matrix("base_positions", undefined, 4);
  const parents = model.integers("parents", -1, 255);
  const bones = parents.length;
  if (bones < FIRST_FINGER_BONE + FINGERS * FINGER_BONES - 1 || parents.some((parent, i) => parent >= i)) {
    throw new GradBenchInputError("an evaluation's input does not fit", {
      where: "input.data.model.parents",
      expected: "the bones of five fingers, each behind its parent",
      got: Array.from(parents).join(", "),
    });
  }
  const us = reader.matrix("us", undefined, reader.isEmpty("us") ? 0 : 2);
  const vertices = verticesOf(data, model, positions.rows, us.rows > 0);
  const count = us.rows > 0 ? us.rows : vertices.length;
  const points = data.matrix("points", count, 3);
  const skeleton: Skeleton = { parents, isMirrored: model.boolean("is_mirrored") };
  const call = (...[theta, at, relatives, inverses, base, weights, measured, ids]: readonly F64[]): F64 => {
    const hand: Hand = {
      baseRelatives: relatives!,
      inverseBaseAbsolutes: inverses!,
      basePositions: base!,
      weights: weights!,
      points: measured!,
      vertices: ids as unknown as I32,
    };
    return fn(theta!, at!, hand, skeleton);
  };
  const width = columns(us.rows);
  return {
    variant: `${parents.join(",")},${skeleton.isMirrored}`,
    types: [
      f64(PARAMETERS),
      f64(us.rows, 2),
      f64(bones, 4, 4),
      f64(bones, 4, 4),
      f64(positions.rows, 4),
      f64(positions.rows, bones),
      f64(count, 3),
      i32(vertices.length),
    ],
    values: [
      reader.vector("theta", PARAMETERS),
      us.values,
      model.matrices("base_relatives", bones, 4, 4),
      model.matrices("inverse_base_absolutes", bones, 4, 4),
      positions.values,
      model.matrix("weights", positions.rows, bones).values,
      points.values,
      vertices,
    ],
    fn: call,
    answer: width === undefined ? numbers : (results) => asRows(results.result(), 3 * count, width),
  };
}

export const ht: Evaluation = {
  objective: (input) => pose(input, objective, () => undefined),
  jacobian: (input) => pose(input, jacobian, (us) => PARAMETERS + (us > 0 ? 2 : 0)),
};
