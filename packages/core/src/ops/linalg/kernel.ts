// What the loops of linear algebra have in common: each chunk of a call is one matrix of a batch, read and written by
// row and column. Scalar loops, in the order of the textbook: right for small and middling matrices, of which a program
// has many at once; blocked forms are left out.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import { requireShape } from "../../op.ts";
import { isFloat } from "../../dtype.ts";
import type { TensorType } from "../../graph.ts";
import { elementCount } from "../../storage.ts";
import { elementLoopType } from "../loop-types.ts";

/** A row-major matrix in memory. */
export class KernelMatrix {
  readonly #k: KernelBuilder;
  readonly #base: LoopValue;
  readonly #columns: number;
  readonly #type: LoopType;
  readonly #bytes: number;

  constructor(k: KernelBuilder, base: LoopValue, columns: number, dtype: "f32" | "f64" | "i32") {
    this.#k = k;
    this.#base = base;
    this.#columns = columns;
    this.#type = elementLoopType(dtype, 1);
    this.#bytes = dtype === "f64" ? 8 : 4;
  }

  #at(row: LoopValue, column: LoopValue): LoopValue {
    const k = this.#k;
    return k.offset(this.#base, k.add(k.mul(row, k.index(this.#columns)), column), this.#bytes);
  }

  load(row: LoopValue, column: LoopValue): LoopValue {
    return this.#k.load(this.#type, this.#at(row, column));
  }

  store(value: LoopValue, row: LoopValue, column: LoopValue): void {
    this.#k.store(value, this.#at(row, column));
  }
}

/** What a generator of loops over one matrix sees. */
export interface MatrixKernel {
  readonly k: KernelBuilder;
  readonly type: LoopType;
  /** Inputs, then results, then temporaries, in the order in which they were named. */
  readonly matrices: readonly KernelMatrix[];
  number(value: number): LoopValue;
  /** The sum of `term(i)` over low..high, from `start` on (0 where absent). */
  sum(
    low: LoopValue | number,
    high: LoopValue | number,
    term: (i: LoopValue) => LoopValue,
    start?: LoopValue,
  ): LoopValue;
}

/** Rows and columns of the last two axes. */
export function matrixSize({ shape }: TensorType): [rows: number, columns: number] {
  return [shape[shape.length - 2]!, shape[shape.length - 1]!];
}

/** The number of matrices in a batch. */
export function matrixCount({ shape }: TensorType): number {
  return elementCount(shape.slice(0, -2));
}

/** Adds the call that runs `generate` once for each matrix of the batch. Temporaries are [rows, columns] a matrix. */
export function lowerMatrices(
  context: LowerContext,
  name: string,
  work: number,
  temporaries: readonly (readonly [rows: number, columns: number])[],
  generate: (kernel: MatrixKernel) => void,
): void {
  const { inputs, results } = context.node;
  const [first] = inputs;
  const count = matrixCount(first!.type);
  const dtype = first!.dtype as "f32" | "f64";
  if (count === 0) return;
  const bytes = dtype === "f64" ? 8 : 4;
  const known = [...inputs, ...results].map(({ type }) => ({ type, size: elementCount(type.shape) / count }));
  const spare = temporaries.map(([rows, columns]) => context.temporary(count * rows * columns * bytes));
  const buffers = [
    ...inputs.map((_input, i) => context.input(i)),
    ...results.map((_result, i) => context.result(i)),
    ...spare,
  ];
  context.call(name, count, count * work, buffers, (k, addresses) => {
    const type = elementLoopType(dtype, 1);
    const matrices = addresses.map((base, i) => {
      const one = known[i];
      const [rows, columns] = one === undefined ? temporaries[i - known.length]! : [0, one.type.shape.at(-1) ?? 1];
      const own = one?.type.dtype === "i32" ? "i32" : dtype;
      const size = one?.size ?? rows * columns;
      return new KernelMatrix(k, k.offset(base, k.chunk, size * (own === "f64" ? 8 : 4)), columns, own);
    });
    const number = (value: number): LoopValue => k.constant(type, value);
    generate({
      k,
      type,
      matrices,
      number,
      sum: (low, high, term, start = number(0)) =>
        k.for(low, high, 1, [start], (i, [total]) => [k.add(total!, term(i))])[0]!,
    });
  });
}

/** Requires float matrices in the last two axes, square ones if asked. */
export function requireMatrix(op: string, inputs: readonly TensorType[], square: boolean): TensorType {
  const x = inputs[0]!;
  requireShape(isFloat(x.dtype), op, `does not work on ${x.dtype}`, inputs, "cast it to f32");
  requireShape(x.shape.length >= 2, op, "needs matrices in the last two axes", inputs);
  const [rows, columns] = matrixSize(x);
  requireShape(rows > 0 && columns > 0, op, "the matrices are empty", inputs);
  requireShape(!square || rows === columns, op, "the matrices are not square", inputs);
  return x;
}

/** Runs a function over each matrix of host data: slices of `sizes[i]` numbers of each array. */
export function eachMatrix(
  count: number,
  arrays: readonly Float64Array[],
  visit: (...parts: Float64Array[]) => void,
): void {
  for (let at = 0; at < count; at++) {
    visit(...arrays.map((array) => array.subarray((at * array.length) / count, ((at + 1) * array.length) / count)));
  }
}
