// Gradients as variants: which variant arises where, and that each stands for the gradient that `grad` gives, on random
// graphs and through sums, multiples, norms and clipping.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  add,
  cast,
  crossEntropy,
  diagonal,
  diagonalMatrix,
  div,
  flattenTree,
  gather,
  inTrace,
  interpret,
  matmul,
  mean,
  mul,
  neg,
  parameter,
  reduceSum,
  reshape,
  ShapeMismatchError,
  sin,
  slice,
  square,
  sub,
  tanh,
  tensorType,
  trace,
  transpose,
  TreeMismatchError,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import fc from "fast-check";
import {
  addGradients,
  addGradientTrees,
  castVotes,
  checkpoint,
  clipByGlobalNorm,
  dense,
  grad,
  gradients,
  isGradient,
  materialise,
  materialiseTree,
  scaleGradient,
  squaredNorm,
} from "../index.ts";
import type { Gradient } from "../index.ts";
import { assertClose } from "../support.test.ts";
import { gradientLeaves } from "./gradients.ts";

type F64 = Tensor<readonly number[], "f64">;
type Ids = Tensor<readonly number[], "i32">;

/** Sizes: a table of ROWS rows, batches of COUNT ids, matrices SIDE x SIDE. */
const [ROWS, COUNT, SIDE] = [30, 7, 10];

const PARAMS = {
  table: tensorType("f64", [ROWS, SIDE]),
  weight: tensorType("f64", [SIDE, SIDE]),
  down: tensorType("f64", [SIDE, 2]),
  up: tensorType("f64", [2, SIDE]),
  scale: tensorType("f64", [SIDE]),
  unused: tensorType("f64", [3]),
};
type Params = { readonly [K in keyof typeof PARAMS]: F64 };

/** Losses that together meet every rule of the table, one variant or several at a time. */
const LOSSES: Readonly<Record<string, (p: Params, ids: Ids, few: F64) => F64>> = {
  embedding: ({ table }, ids) => reduceSum(square(gather(table, ids))) as F64,
  embeddingTwice: ({ table }, ids) => reduceSum(mul(gather(table, ids), gather(mul(table, 2), ids) as never)) as F64,
  embeddingSum: ({ table }, ids) => reduceSum(gather(table, ids)) as F64,
  scaledEmbedding({ table, scale }, ids) {
    const rows = gather(mul(table, scale as never) as F64, ids);
    return sub(reduceSum(sin(rows)), reduceSum(gather(neg(div(table, 3)), ids))) as F64;
  },
  weightedEmbedding({ table }, ids) {
    const byRow = reduceSum(table, 1, true);
    return reduceSum(square(gather(mul(table, cast(byRow, "f64") as never) as F64, ids))) as F64;
  },
  tied({ table }, ids) {
    const logits = matmul(gather(table, ids), table, { transposeA: false, transposeB: true });
    return mean(crossEntropy(logits, ids)) as F64;
  },
  few: ({ weight }, _ids, few) => reduceSum(tanh(matmul(few, weight as never))) as F64,
  fewTransposed({ weight }, _ids, few) {
    const turned = transpose(weight);
    return reduceSum(square(matmul(few, mul(turned, 2) as never))) as F64;
  },
  adapter({ weight, down, up }, _ids, few) {
    const adapted = add(weight, matmul(down, up as never) as never) as F64;
    return reduceSum(square(tanh(matmul(few, adapted as never)))) as F64;
  },
  adapterTransposed({ weight, down, up }, _ids, few) {
    const adapted = sub(weight, transpose(matmul(down, up as never)) as never) as F64;
    return reduceSum(square(matmul(adapted, few, { transposeA: true, transposeB: true }))) as F64;
  },
  diagonalWeight({ scale, weight }, _ids, few) {
    return reduceSum(square(matmul(matmul(few, diagonalMatrix(scale) as never) as F64, weight as never))) as F64;
  },
  diagonalOf: ({ weight }) => reduceSum(sin(diagonal(mul(weight, 2) as F64))) as F64,
  trace: ({ weight }) => reduceSum(diagonal(transpose(add(weight, weight) as F64))) as F64,
  block({ weight }) {
    const inner = slice(slice(weight, [1, 2], [8, 9]), [1, 1], [4, 3]);
    return add(reduceSum(square(inner)), reduceSum(sin(slice(transpose(weight), [0, 0], [2, 2])))) as F64;
  },
  tiled: ({ weight }) => reduceSum(square(reduceSum(mul(weight, 3), 0))) as F64,
  total: ({ weight, table }) => mul(reduceSum(reshape(weight, [SIDE * SIDE])), reduceSum(table)) as F64,
  checkpointed({ table, weight }, ids, few) {
    const embed = checkpoint((rows: F64, at: Ids) => tanh(gather(mul(rows, 2) as F64, at)) as F64);
    const project = checkpoint((x: F64, w: F64) => sin(matmul(x, w as never)) as F64);
    return add(reduceSum(square(embed(table, ids))), reduceSum(project(project(few, weight), weight))) as F64;
  },
  checkpointedTwice({ table, scale }, ids) {
    const inner = checkpoint((rows: F64, at: Ids) => sin(gather(rows, at)) as F64);
    const outer = checkpoint((rows: F64, at: Ids, by: F64) => square(inner(mul(rows, by as never) as F64, at)) as F64);
    return reduceSum(outer(table, ids, scale)) as F64;
  },
  mixture({ weight, table }, ids, few) {
    const corner = reduceSum(square(slice(weight, [0, 0], [2, 2])));
    const rows = reduceSum(square(matmul(gather(table, ids), weight as never)));
    return add(add(corner, rows as never), reduceSum(sin(matmul(few, weight as never))) as never) as F64;
  },
};

const NAMES = Object.keys(LOSSES);

interface Drawn {
  readonly names: readonly string[];
  readonly seed: number;
}

const drawn = fc.record({
  names: fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 }),
  seed: fc.integer({ min: 1, max: 1e6 }),
});

function lossOf({ names }: Drawn): (p: Params, ids: Ids, few: F64) => F64 {
  return (p, ids, few) => names.map((name) => LOSSES[name]!(p, ids, few)).reduce((a, b) => add(a, b) as F64);
}

/** Runs what `build` makes of the loss and its inputs: the data of all leaves. */
function run(
  of: Drawn,
  build: (loss: ReturnType<typeof lossOf>, p: Params, ids: Ids, few: F64) => unknown,
  data = of.seed,
): number[][] {
  const types = [PARAMS, tensorType("i32", [COUNT]), tensorType("f64", [2, SIDE])] as const;
  const { graph } = trace("test", (p, ids, few) => build(lossOf(of), p as never, ids as Ids, few as F64), types);
  const random = seededRandom(data);
  const inputs = graph.parameters.map(({ type }) => {
    return randomHost(type, random, type.dtype === "i32" ? [0, ROWS - 1] : [-1, 1]);
  });
  return interpret(graph, inputs).map((each) => Array.from(each.data));
}

function kindsOf(name: string): Record<string, string> {
  return inTrace(() => {
    const make = (types: object): unknown =>
      Object.fromEntries(Object.entries(types).map(([key, type]) => [key, parameter(key, type)]));
    const args = [
      make(PARAMS),
      parameter("ids", tensorType("i32", [COUNT])),
      parameter("few", tensorType("f64", [2, SIDE])),
    ];
    const found = gradients(LOSSES[name]! as (...all: unknown[]) => F64)(...args).gradients;
    const entries = flattenTree(found, isGradient).map(({ path, leaf }) => {
      return [path, leaf.kind === "structured" ? leaf.pattern.kind : leaf.kind] as const;
    });
    return Object.fromEntries(entries.filter(([, kind]) => kind !== "zero"));
  });
}

test("the variant of a gradient is that of how the loss depends on the tensor", () => {
  assert.deepEqual(kindsOf("embedding"), { table: "sparse" });
  assert.deepEqual(kindsOf("embeddingTwice"), { table: "sparse" });
  assert.deepEqual(kindsOf("embeddingSum"), { table: "sparse" });
  assert.deepEqual(kindsOf("checkpointed"), { table: "sparse", weight: "lowRank" });
  assert.deepEqual(kindsOf("checkpointedTwice"), { table: "sparse", scale: "dense" });
  assert.deepEqual(kindsOf("tied"), { table: "dense" });
  assert.deepEqual(kindsOf("few"), { weight: "lowRank" });
  assert.deepEqual(kindsOf("fewTransposed"), { weight: "lowRank" });
  assert.deepEqual(kindsOf("adapter"), { weight: "lowRank", down: "dense", up: "dense" });
  assert.deepEqual(kindsOf("diagonalOf"), { weight: "diagonal" });
  assert.deepEqual(kindsOf("trace"), { weight: "diagonal" });
  assert.deepEqual(kindsOf("block"), { weight: "sum" });
  assert.deepEqual(kindsOf("tiled"), { weight: "tiled" });
  assert.deepEqual(kindsOf("total"), { weight: "tiled", table: "tiled" });
});

test("every variant stands for the dense gradient", () => {
  const property = fc.property(drawn, (of) => {
    const actual = run(of, (loss, ...args) => materialiseTree(gradients(loss)(...args).gradients));
    const expected = run(of, (loss, ...args) => grad(loss)(...args));
    expected.forEach((leaf, i) => assertClose(actual[i]!, leaf, 1e-12, `leaf ${i} of ${of.names.join(" + ")}`));
  });
  fc.assert(property, { numRuns: 60, seed: 1 });
  for (const name of NAMES) {
    const of = { names: [name], seed: 7 };
    const actual = run(of, (loss, ...args) => materialiseTree(gradients(loss)(...args).gradients));
    const expected = run(of, (loss, ...args) => grad(loss)(...args));
    expected.forEach((leaf, i) => assertClose(actual[i]!, leaf, 1e-12, `leaf ${i} of ${name}`));
  }
});

test("sums, multiples, norms and clipping are those of the dense gradients", () => {
  const property = fc.property(drawn, drawn, (a, b) => {
    const build = (pick: (loss: ReturnType<typeof lossOf>, args: [Params, Ids, F64]) => object) => {
      return run(a, (loss, ...args) => {
        const both = [pick(loss, args), pick(lossOf(b), args)] as const;
        const sum = addGradientTrees(both[0], both[1]);
        const { grads, norm } = clipByGlobalNorm(sum, 0.5);
        return {
          sum: materialiseTree(sum),
          grads: materialiseTree(grads),
          norm,
          squares: squaresOf(sum),
          half: half(sum),
        };
      });
    };
    const variants = build((loss, args) => gradients(loss)(...args).gradients);
    const asDense = (tree: unknown): object => {
      const leaves = gradientLeaves(tree).map(({ path, leaf }): [string, Gradient] => [path, dense(leaf as F64)]);
      return Object.fromEntries(leaves);
    };
    const plain = build((loss, args) => asDense(grad(loss)(...args)));
    plain.forEach((leaf, i) =>
      assertClose(variants[i]!, leaf, 1e-11, `leaf ${i} of ${a.names.join()} and ${b.names.join()}`),
    );
  });
  fc.assert(property, { numRuns: 40, seed: 1 });
});

function squaresOf(tree: unknown): Tensor[] {
  return gradientLeaves(tree).map(({ leaf }) => squaredNorm(leaf as Gradient));
}

function half(tree: unknown): Tensor[] {
  return gradientLeaves(tree).map(({ leaf }) => materialise(scaleGradient(leaf as Gradient, 0.5)));
}

test("an adapter's gradients come without the matrix that it is added to", () => {
  const { graph } = trace(
    "adapter",
    (p, few) => {
      const loss = (own: { down: F64; up: F64 }): F64 =>
        LOSSES["adapter"]!({ ...(p as unknown as Params), ...own }, undefined as never, few as F64);
      const { down, up } = p as unknown as Params;
      return materialiseTree(gradients(loss)({ down, up }).gradients);
    },
    [PARAMS, tensorType("f64", [2, SIDE])],
  );
  const squareMatrices = new Set<string>();
  const visit = (tensor: Tensor): void => {
    const { op, inputs } = tensor.node;
    // The forward pass has down up, and the sum with the weight; the backward pass has no matrix of that size.
    if (op.name === "matmul" && tensor.shape.every((dim) => dim === SIDE)) squareMatrices.add(tensor.toString());
    inputs.forEach(visit);
  };
  graph.results.forEach(visit);
  assert.equal(squareMatrices.size, 1);
});

test("votes are integers, add exactly and are refused where units differ", () => {
  const type = tensorType("f64", [4]);
  const { graph } = trace(
    "votes",
    (x) => {
      const votes = castVotes(dense(x as F64), { unit: 0.05, threshold: 3 });
      return [materialise(addGradients(votes, votes)), votes.votes];
    },
    [type],
  );
  const slopes = Float64Array.of(0.26, -0.74, 9, 0);
  const [sum, votes] = interpret(graph, [{ type, data: slopes }]);
  assert.deepEqual(Array.from(votes!.data), [5, -15, 127, 0]);
  assertClose(Array.from(sum!.data), [0.5, -1.5, 12.7, 0], 1e-12);
  inTrace(() => {
    const slope = dense(parameter("x", type));
    const [coarse, fine] = [castVotes(slope, { unit: 1, threshold: 3 }), castVotes(slope, { unit: 0.5, threshold: 3 })];
    assert.throws(() => addGradients(coarse, fine), ShapeMismatchError);
    assert.throws(
      () => addGradients(coarse, slope),
      /cannot add votes of 1 with threshold 3 and a gradient of kind dense/,
    );
  });
});

test("trees and types that differ are errors that name the place", () => {
  inTrace(() => {
    const [x, y] = [parameter("x", tensorType("f64", [2])), parameter("y", tensorType("f64", [3]))] as [F64, F64];
    assert.throws(() => addGradientTrees({ w: dense(x) }, { v: dense(x) }), TreeMismatchError);
    assert.throws(() => addGradients(dense(x), dense(y)), /f64\[2\] and f64\[3\] are not of one tensor/);
    assert.throws(() => gradients((z: F64) => z)(x), /gradients: the function does not return a scalar/);
  });
});
