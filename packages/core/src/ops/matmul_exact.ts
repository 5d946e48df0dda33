// matmul_exact: batched matrix products [batch, m, k] times [batch, k, n] whose elements are computed exactly and
// rounded once (precision/exact_sum.ts). Products of float64 are exact where they are above 2^-968 and below 2^970.

import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { isFloat } from "../dtype.ts";
import { F64, loopType } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { LoopAccumulator, TERMS_MAX, exactSum } from "../precision/exact_sum.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import type { NoAttrs } from "./elementwise.ts";
import { reshape } from "./reshape.ts";
import { transpose } from "./transpose.ts";

/** Halves of both parts of a product. */
const TERMS_A_PRODUCT = 4;

export const matmulExactOp: OpDef<NoAttrs> = {
  name: "matmul_exact",
  summary: "y[p, i, j] = sum over k of a[p, i, k] b[p, k, j], rounded once",
  infer(inputs) {
    const [a, b] = inputs as [TensorType, TensorType];
    const floats = isFloat(a.dtype) && a.dtype === b.dtype;
    requireShape(floats, "matmul_exact", "takes two f32 or two f64 tensors", inputs);
    const ranks = a.shape.length === 3 && b.shape.length === 3;
    requireShape(ranks, "matmul_exact", "takes [batch, m, k] and [batch, k, n]", inputs, "reshape them");
    requireShape(a.shape[0] === b.shape[0], "matmul_exact", "batch dimensions differ", inputs);
    requireShape(a.shape[2] === b.shape[1], "matmul_exact", "inner dimensions differ", inputs);
    const fits = a.shape[2]! * TERMS_A_PRODUCT <= TERMS_MAX;
    requireShape(fits, "matmul_exact", `more than ${TERMS_MAX / TERMS_A_PRODUCT} terms`, inputs, "add parts of them");
    return [{ dtype: a.dtype, shape: [a.shape[0]!, a.shape[1]!, b.shape[2]!] }];
  },
  evaluate([a, b], _attrs, [type]) {
    const [, m, n] = type!.shape as [number, number, number];
    const inner = a!.type.shape[2]!;
    const data = new Float64Array(elementCount(type!.shape));
    data.forEach((_zero, at) => {
      const [row, column] = [Math.floor(at / n), at % n];
      const matrix = Math.floor(row / m) * inner * n;
      const right = Float64Array.from({ length: inner }, (_, l) => b!.data[matrix + l * n + column]!);
      const left = a!.data.subarray(row * inner, (row + 1) * inner);
      data[at] = exactSum(left, right, type!.dtype === "f32" ? 24 : 53);
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [a, b] }, [da, db]) {
      const left = da && emitOne(matmulExactOp, [da, b!], {});
      const right = db && emitOne(matmulExactOp, [a!, db], {});
      return [left === undefined ? right : right === undefined ? left : (add(left, right as never) as Tensor)];
    },
    transpose: ({ inputs: [a, b] }, [ct], [inA, inB]) => [
      inA ? emitOne(matmulExactOp, [ct!, flipped(b!)], {}) : undefined,
      inB ? emitOne(matmulExactOp, [flipped(a!), ct!], {}) : undefined,
    ],
  },
  lowering: { kind: "kernel", lower: lowerMatmulExact },
  sample(draw) {
    const [batch, m, n, k] = [draw.int(1, 3), draw.int(1, 4), draw.int(1, 5), draw.int(1, 9)];
    // Of float32 the result is rounded, which differences do not see through.
    const a: TensorType = { dtype: "f64", shape: [batch, m, k] };
    return { inputs: [a, { dtype: "f64", shape: [batch, k, n] }], attrs: {} };
  },
};

function flipped(x: Tensor): Tensor {
  return transpose(x as Tensor<readonly number[]>) as Tensor;
}

function lowerMatmulExact(context: LowerContext): void {
  const [batch, m, n] = context.node.results[0]!.shape as [number, number, number];
  const [a] = context.node.inputs;
  const inner = a!.shape[2]!;
  const kind = a!.dtype as "f32" | "f64";
  const bytes = kind === "f64" ? 8 : 4;
  const rows = batch * m;
  if (rows * n === 0) return;
  const buffers = [context.input(0), context.input(1), context.result(0)];
  // A chunk is one row of the result.
  context.call(`matmul_exact_${kind}`, rows, rows * n * (inner * 30 + 500), buffers, (k, [left, right, to]) => {
    const sum = new LoopAccumulator(k);
    const row = k.offset(left!, k.chunk, inner * bytes);
    const matrix = k.offset(right!, k.div(k.chunk, k.index(m)), inner * n * bytes);
    k.loop(0, n, 1, (column) => {
      const start = k.offset(matrix, column, bytes);
      const none = sum.empty();
      const [low, high] = k.for(0, inner, 1, [none.low, none.high], (l, [lowest, highest]) => {
        const range = { low: lowest!, high: highest! };
        const x = k.convert(F64, k.load(loopType(kind), k.offset(row, l, bytes)));
        const y = k.convert(F64, k.load(loopType(kind), k.offset(start, l, n * bytes)));
        // The product of two float32 numbers is a float64.
        const added = kind === "f32" ? sum.add(k.mul(x, y), range) : sum.addProduct(x, y, range);
        return [added.low, added.high];
      });
      const carried = sum.carry({ low: low!, high: high! });
      k.store(sum.round(carried, kind), k.offset(k.offset(to!, k.chunk, n * bytes), column, bytes));
    });
  });
}

/** Products of a [..., m, k] and b [..., k, n] with the same leading axes, each element rounded once. */
export function matmulExact(
  a: Tensor,
  b: Tensor,
  { transposeA = false, transposeB = false }: { readonly transposeA?: boolean; readonly transposeB?: boolean } = {},
): Tensor {
  const matrices = (x: Tensor, flip: boolean): Tensor => {
    const straight = flip ? flipped(x) : x;
    return reshape(straight, [elementCount(straight.shape.slice(0, -2)), ...straight.shape.slice(-2)]);
  };
  const product = emitOne(matmulExactOp, [matrices(a, transposeA), matrices(b, transposeB)], {});
  return reshape(product, [...a.shape.slice(0, -2), ...product.shape.slice(-2)]);
}

/** The sum of the products of two vectors [n], rounded once: a scalar. */
export function dotExact(a: Tensor, b: Tensor): Tensor {
  const n = elementCount(a.shape);
  return reshape(matmulExact(reshape(a, [1, n]), reshape(b, [n, 1])), []);
}
