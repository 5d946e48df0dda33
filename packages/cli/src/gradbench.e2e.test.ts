// `fidelity gradbench` through its real protocol: each evaluation at a small input, against plain loops, their central
// differences and values that GradBench publishes; and lines that are wrong, which are answered and end nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as reference from "./gradbench/testing.ts";
import { centralDifferences, rowsOf, slopes, wave } from "./gradbench/testing.ts";
import { startFidelity } from "./testing.ts";

interface Answer {
  readonly id: number | null;
  readonly success?: boolean;
  readonly output?: unknown;
  readonly error?: string;
  readonly tool?: string;
  readonly timings?: readonly { readonly name: string; readonly nanoseconds: number }[];
}

/** What one process answers to these lines. */
async function answers(lines: readonly string[], target: "wasm" | "auto"): Promise<Answer[]> {
  const args = ["gradbench", "--target", target];
  const { code, stdout, stderr } = await startFidelity(args, undefined, lines.join("\n")).ended;
  assert.equal(code, 0, stderr);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Answer);
}

interface Case {
  readonly module: string;
  readonly function: string;
  readonly input: unknown;
  readonly expected: unknown;
  readonly tolerance?: number;
}

/** Sends the cases and compares the outputs, number by number. */
async function check(cases: readonly Case[], target: "wasm" | "auto" = "wasm"): Promise<void> {
  const got = await answers(
    cases.map(({ expected: _expected, tolerance: _tolerance, ...rest }, id) =>
      JSON.stringify({ id, kind: "evaluate", ...rest }),
    ),
    target,
  );
  assert.equal(got.length, cases.length);
  cases.forEach(({ module, function: name, expected, tolerance = 1e-7 }, id) => {
    const where = `${module}.${name}`;
    assert.equal(got[id]!.id, id);
    assert.equal(got[id]!.success, true, `${where}: ${got[id]!.error}`);
    assert.deepEqual(
      got[id]!.timings!.map((timing) => timing.name),
      ["prepare", "evaluate"],
    );
    assertNear(got[id]!.output, expected, tolerance, where);
  });
}

/** Central differences keep about nine digits. */
function assertNear(got: unknown, expected: unknown, tolerance: number, where: string): void {
  if (typeof expected === "number") {
    const error = Math.abs((got as number) - expected);
    assert.ok(error <= tolerance * Math.max(1, Math.abs(expected)), `${where}: ${String(got)}, not ${expected}`);
    return;
  }
  assert.deepEqual(Object.keys(got as object), Object.keys(expected as object), where);
  for (const [key, value] of Object.entries(expected as object)) {
    assertNear((got as Record<string, unknown>)[key], value, tolerance, `${where}.${key}`);
  }
}

test("hello, llsq, lse, det and ode", async () => {
  const x = wave(5, 0.4);
  const matrix = wave(16, 2.1);
  const solution = (at: readonly number[]): number => reference.rungeKutta(at, 3).at(-1)!;
  await check([
    { module: "hello", function: "square", input: 3, expected: 9 },
    { module: "hello", function: "double", input: 3, expected: 6 },
    { module: "llsq", function: "primal", input: { x, n: 7 }, expected: reference.leastSquares(x, 7) },
    {
      module: "llsq",
      function: "gradient",
      input: { x, n: 300 },
      expected: slopes((at) => reference.leastSquares(at, 300), x),
    },
    { module: "lse", function: "primal", input: { x }, expected: reference.logSumExp(x) },
    { module: "lse", function: "primal", input: { x: [1000, 1000] }, expected: 1000 + Math.log(2) },
    { module: "lse", function: "gradient", input: { x }, expected: slopes(reference.logSumExp, x) },
    { module: "det", function: "primal", input: { A: matrix, ell: 4 }, expected: reference.determinant(matrix, 4) },
    { module: "det", function: "primal", input: { A: [5], ell: 1 }, expected: 5 },
    {
      module: "det",
      function: "gradient",
      input: { A: matrix, ell: 4 },
      expected: slopes((at) => reference.determinant(at, 4), matrix),
    },
    { module: "ode", function: "primal", input: { x, s: 3 }, expected: reference.rungeKutta(x, 3) },
    { module: "ode", function: "gradient", input: { x, s: 3 }, expected: slopes(solution, x) },
  ]);
});

test("kmeans, gmm, ba and lstm", async () => {
  const points = rowsOf(wave(60, 0.9), 3);
  const centroids = points.slice(0, 4);
  const nearest = reference.assignments(points, centroids);
  const distances = points.map((point, p) => point.map((v, i) => (v - centroids[nearest[p]!]![i]!) ** 2)).flat();
  // The direction leads from the mean of a centroid's points to the centroid.
  const direction = centroids.map((centroid, k) => {
    const own = points.filter((_point, p) => nearest[p] === k);
    return centroid.map((value, i) => value - own.reduce((sum, point) => sum + point[i]!, 0) / own.length);
  });

  const [d, k, n, m, gamma] = [2, 3, 4, 1, 0.8];
  const flat = wave(k + 2 * k * d + k, 1.3);
  const mixture = (at: readonly number[]): reference.Mixture => ({
    alpha: at.slice(0, k),
    mu: rowsOf(at.slice(k, 3 * k), d),
    q: rowsOf(at.slice(3 * k, 5 * k), d),
    l: rowsOf(at.slice(5 * k), 1),
  });
  const seen = rowsOf(wave(n * d, 0.2), d);
  const posterior = (at: readonly number[]): number => reference.planePosterior(mixture(at), seen, gamma);
  const gmmInput = { ...mixture(flat), d, k, n, m, gamma, x: seen };

  const state = rowsOf(wave(12, 0.5), 3);
  const sequence = rowsOf(
    wave(15, 2.5).map((value) => (value > 0 ? 1 : 0)),
    3,
  );
  const [main, extra] = [wave(48, 1.1), wave(9, 0.7)];
  const lstmInput = { main_params: rowsOf(main, 12), extra_params: rowsOf(extra, 3), state, sequence };
  const loss = (at: readonly number[]): number => reference.lstmLoss(at, state, sequence);

  await check([
    { module: "kmeans", function: "cost", input: { points, centroids }, expected: distances.reduce((a, b) => a + b) },
    { module: "kmeans", function: "dir", input: { points, centroids }, expected: direction },
    { module: "gmm", function: "objective", input: gmmInput, expected: posterior(flat) },
    { module: "gmm", function: "jacobian", input: gmmInput, expected: mixture(slopes(posterior, flat)) },
    { module: "lstm", function: "objective", input: lstmInput, expected: loss([...main, ...extra]) },
    { module: "lstm", function: "jacobian", input: lstmInput, expected: slopes(loss, [...main, ...extra]) },
    ...bundleCases(),
  ]);
});

/** One camera, point and weight, repeated; the Jacobian's first block and its last element. */
function bundleCases(): Case[] {
  const [n, m, p, w] = [2, 3, 4, 0.6];
  const cam = [0.2, -0.4, 0.3, 0.1, 0.5, -2, 1.5, 0.2, -0.1, 0.05, -0.02];
  const [x, feat] = [
    [0.3, 0.8, 1.2],
    [0.4, -0.3],
  ];
  const observation = [...cam, ...x, w];
  const columns = centralDifferences((at) => reference.reprojection(at, feat), observation);
  const block = [0, 1].flatMap((row) => columns.map((column) => column[row]!));
  const place = [...cam.keys(), ...[0, 1, 2].map((i) => 11 * n + i), 11 * n + 3 * m];
  const expected = {
    // Row pointers of blocks of two rows, then of one derivative a row.
    rows: [...Array.from({ length: 2 * p + 1 }, (_none, i) => 15 * i), ...[1, 2, 3, 4].map((i) => 30 * p + i)],
    cols: [...place, ...place, 11 * n + 3 * m + p - 1],
    vals: [...block, -2 * w],
  };
  // There are fewer rows than are shown: an evaluator has more observations.
  const many = 12;
  const starts = [...Array.from({ length: 2 * many + 1 }, (_none, i) => 15 * i)];
  const behind = Array.from({ length: many }, (_none, i) => 30 * many + i + 1);
  const shown = [...starts, ...behind].slice(0, 30);
  const input = { n, m, p: many, cam, x, w, feat };
  const errors = reference.reprojection(observation, feat);
  return [
    {
      module: "ba",
      function: "objective",
      input,
      expected: {
        reproj_error: { elements: errors, repeated: many },
        w_err: { element: 1 - w * w, repeated: many },
      },
    },
    {
      module: "ba",
      function: "jacobian",
      input,
      expected: {
        rows: [...shown, 31 * many],
        cols: [...expected.cols.slice(0, 30), 11 * n + 3 * m + many - 1],
        vals: expected.vals,
      },
    },
  ];
}

test("ht, with points on vertices and in triangles", async () => {
  const bones = 22;
  const [vertices, count] = [7, 3];
  const bone = (phase: number): number[][][] =>
    Array.from({ length: bones }, (_none, i) => [...rowsOf(wave(12, phase + i), 4), [0, 0, 0, 1]]);
  const hand: reference.HandInput = {
    parents: Array.from({ length: bones }, (_none, i) => (i === 0 ? -1 : (i - 2) % 4 === 0 ? 1 : i - 1)),
    relatives: bone(0.3),
    inverses: bone(4.1),
    positions: rowsOf(wave(3 * vertices, 1.9), 3).map((row) => [...row, 1]),
    weights: rowsOf(wave(bones * vertices, 0.8), bones),
    triangles: [
      [0, 1, 2],
      [3, 4, 5],
      [6, 0, 3],
    ],
    isMirrored: true,
    correspondences: [2, 0, 1],
    points: rowsOf(wave(3 * count, 2.2), 3),
  };
  const theta = wave(26, 0.6);
  const model = {
    bone_count: bones,
    parents: hand.parents,
    base_relatives: hand.relatives,
    inverse_base_absolutes: hand.inverses,
    base_positions: hand.positions,
    weights: hand.weights,
    triangles: hand.triangles,
    is_mirrored: hand.isMirrored,
  };
  const cases = [[], rowsOf(wave(2 * count, 3.3), 2)].flatMap((us): Case[] => {
    const input = { theta, us, data: { model, correspondences: hand.correspondences, points: hand.points } };
    const inTheta = centralDifferences((at) => reference.handErrors(at, us, hand), theta);
    // A point depends on its own two coordinates: moving those of all points at once gives a column.
    const inUs =
      us.length === 0
        ? []
        : [0, 1].map((which) => {
            const moved = (by: number): number[][] => us.map((row) => row.with(which, row[which]! + by));
            const [high, low] = [1e-3, -1e-3].map((by) => reference.handErrors(theta, moved(by), hand)) as [
              number[],
              number[],
            ];
            return high.map((value, i) => (value - low[i]!) / 2e-3);
          });
    const columns = [...inUs, ...inTheta];
    const expected = columns[0]!.map((_none, row) => columns.map((column) => column[row]!));
    return [
      { module: "ht", function: "objective", input, expected: reference.handErrors(theta, us, hand) },
      { module: "ht", function: "jacobian", input, expected, tolerance: 1e-6 },
    ];
  });
  await check(cases);
});

test("saddle and particle: all four nestings of the modes", async () => {
  // What GradBench's evaluators expect.
  const low = 8.246324826140356e-6;
  const cases = ["ff", "fr", "rf", "rr"].flatMap((name): Case[] => [
    { module: "saddle", function: name, input: { start: [1, 1] }, expected: [low, low, low, low], tolerance: 1e-12 },
    { module: "particle", function: name, input: { w: 0 }, expected: 0.2071918746486116, tolerance: 1e-9 },
  ]);
  await check(cases);
  await check(
    cases.filter((_case, i) => i % 4 === 0),
    "auto",
  );
});

test("a descent from where nothing is finite ends", async () => {
  const input = { start: [1e308, 1e308] };
  const [answer] = await answers(
    [JSON.stringify({ id: 0, kind: "evaluate", module: "saddle", function: "rr", input })],
    "wasm",
  );
  assert.equal(answer!.success, true);
});

test("the session goes on after lines that are wrong, each of which is told why", async () => {
  const lines = [
    '{"id":0,"kind":"start","eval":"hello"}',
    "not JSON",
    '["no","object"]',
    '{"kind":"define","module":"hello"}',
    '{"id":4}',
    '{"id":5,"kind":"define","module":"nonesuch"}',
    '{"id":6,"kind":"define","module":"hello"}',
    '{"id":7,"kind":"evaluate","module":"hello","function":"cube","input":1}',
    '{"id":8,"kind":"evaluate","module":"hello","function":"square","input":"one"}',
    '{"id":9,"kind":"evaluate","module":"lse","function":"primal","input":{"x":[1,"2"]}}',
    '{"id":10,"kind":"evaluate","module":"det","function":"primal","input":{"A":[1,2,3],"ell":2}}',
    '{"id":11,"kind":"evaluate","module":"ode","function":"primal","input":{"x":[1],"s":0}}',
    '{"id":12,"kind":"evaluate","module":"lse","function":"primal","input":{"x":[1],"min_runs":-1}}',
    '{"id":13,"kind":"analysis","of":6,"valid":true}',
    '{"id":14,"kind":"later"}',
    '{"id":15,"kind":"evaluate","module":"lse","function":"primal","input":{"x":[0],"min_runs":3,"min_seconds":0}}',
  ];
  const got = await answers(lines, "wasm");
  assert.deepEqual(
    got.map(({ id }) => id),
    [0, null, null, null, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  );
  assert.equal(got[0]!.tool, "fidelity");
  const errors = [
    [1, /^GradBenchMessageError: a line is not JSON/],
    [2, /^GradBenchMessageError: a line is no message/],
    [3, /^GradBenchMessageError: a message has no id/],
    [4, /^GradBenchMessageError: a message has no kind/],
    [5, /^GradBenchMessageError: there is no such module/],
    [7, /^GradBenchMessageError: hello has no such function/],
    [8, /^GradBenchInputError[^]*where: {4}input\n[^]*a number/],
    [9, /^GradBenchInputError[^]*input\.x\[1\]/],
    [10, /^GradBenchInputError[^]*4 numbers/],
    [11, /^GradBenchInputError[^]*input\.s/],
    [12, /^GradBenchMessageError: min_runs/],
  ] as const;
  for (const [id, expected] of errors) {
    assert.equal(got[id]!.success, false);
    assert.match(got[id]!.error!, expected);
  }
  assert.deepEqual(got[6], { id: 6, success: true });
  assert.deepEqual([got[13], got[14]], [{ id: 13 }, { id: 14 }]);
  assert.equal(got[15]!.output, 0);
  assert.equal(got[15]!.timings!.filter(({ name }) => name === "evaluate").length, 3);
});
