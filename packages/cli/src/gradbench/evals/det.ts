// det: the determinant by expansion by minors, and its gradient. Rows are taken from the last one up: the minors of the
// last m rows, one for each set of m columns, follow from those of m - 1 rows:
//   det[S] = sum over j in S of (-1)^(rank of j in S) A[row, j] det[S without j].
// Naive recursion computes each of these minors again wherever it is needed, and takes l! products; here every minor is
// computed once, which takes l 2^(l-1). It is the same expansion with its common subexpressions shared.

import { constant, gather, mul, reduceSum, reshape, sliceAxis } from "@fidelity/core";
import { grad } from "@fidelity/furnace";
import { numbers, oneNumber } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { GradBenchInputError } from "../errors.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, I32, Scalar64 } from "../programs.ts";

/** 2^SIZE_MAX minors of all sizes are kept. */
const SIZE_MAX = 16;

/** The sets of `count` out of `size` columns as bits, in ascending order. */
function columnSets(size: number, count: number): number[] {
  const ones = (bits: number): number => (bits === 0 ? 0 : (bits & 1) + ones(bits >> 1));
  return Array.from({ length: 2 ** size }, (_none, bits) => bits).filter((bits) => ones(bits) === count);
}

/** Elements `at` [sets, terms] of a vector. */
function pick(from: F64, at: readonly (readonly number[])[]): F64 {
  const ids = constant(at.flat(), [at.length * at[0]!.length], "i32") as I32;
  return reshape(gather(reshape(from, [from.shape[0]!, 1]) as F64, ids), [at.length, at[0]!.length]) as F64;
}

/** The determinant of A [l * l], in row-major order. */
function determinant(size: number): (matrix: F64) => Scalar64 {
  return (matrix) => {
    const row = (i: number): F64 => sliceAxis(matrix, 0, i * size, (i + 1) * size) as F64;
    let minors = row(size - 1);
    for (let count = 2; count <= size; count++) {
      const smaller = new Map(columnSets(size, count - 1).map((set, i) => [set, i]));
      const terms = columnSets(size, count).map((set) => {
        const columns = Array.from({ length: size }, (_none, j) => j).filter((j) => set & (1 << j));
        return columns.map((column, rank) => ({
          column,
          sign: rank % 2 === 0 ? 1 : -1,
          rest: smaller.get(set & ~(1 << column))!,
        }));
      });
      const column = (of: "column" | "rest" | "sign"): number[][] => terms.map((set) => set.map((term) => term[of]));
      const signs = constant(column("sign").flat(), [terms.length, count], "f64") as F64;
      const factors = mul(signs, pick(row(size - count), column("column"))) as F64;
      minors = reduceSum(mul(factors, pick(minors, column("rest"))) as F64, 1) as F64;
    }
    return reshape(minors, []);
  };
}

function pose(input: unknown, of: (fn: (a: F64) => Scalar64) => Problem["fn"], answer: Problem["answer"]): Problem {
  const reader = new InputReader(input);
  const size = reader.integer("ell", 1, SIZE_MAX);
  const values = reader.vector("A");
  if (values.length !== size * size) {
    throw new GradBenchInputError("an evaluation's input does not fit", {
      where: "input.A",
      expected: `the ${size * size} numbers of a matrix of ${size} rows`,
      got: `${values.length}`,
    });
  }
  return { types: [f64(size * size)], values: [values], fn: of(determinant(size)), answer };
}

export const det: Evaluation = {
  primal: (input) => pose(input, (fn) => fn, oneNumber),
  gradient: (input) => pose(input, (fn) => grad(fn), numbers),
};
