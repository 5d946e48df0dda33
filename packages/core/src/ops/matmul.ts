// matmul: batched matrix products with optional transposition of either operand. Batch dims must be equal; the front
// end folds a batched left operand into rows when the right one has none.
//
// Operands of f32, bf16 and f16 may be mixed, as float32 activations with weights in the dtype of their file: narrow
// ones are widened as they are read, and sums and results are float32 (PyTorch's and JAX's products round the result to
// the operands' dtype: `cast` does). Products of i8 are exact in i32. Gradients of narrow operands are float32.
// Matrices of blocks have a product of their own, block_linear.

import type { Checked, Dim, SameDim, Shape, ShapeError, ShowShape } from "@fidelity/units";
import type { Dtype, HalfDtype } from "../dtype.ts";
import { isHalf } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emit, emitOne, sameShape } from "../graph.ts";
import { hostValues } from "../host.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import { lowerMatmul } from "./kernels/gemm.ts";
import { reshape } from "./reshape.ts";

export type MatmulAttrs = { readonly transposeA: boolean; readonly transposeB: boolean };

/** Sizes of a product: [batch..., m, k] x [batch..., k, n], whatever the storage order of the operands. */
export interface MatmulDims {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

export function matmulDims(a: TensorType, b: TensorType, { transposeA, transposeB }: MatmulAttrs): MatmulDims {
  const [rowsA = 1, columnsA = 1] = a.shape.slice(-2);
  const [rowsB = 1, columnsB = 1] = b.shape.slice(-2);
  return {
    batch: elementCount(a.shape.slice(0, -2)),
    m: transposeA ? columnsA : rowsA,
    k: transposeA ? rowsA : columnsA,
    n: transposeB ? rowsB : columnsB,
  };
}

/** The dtype of a product, or undefined where there is none. */
function productDtype(a: Dtype, b: Dtype): Dtype | undefined {
  const isSingle = (dtype: Dtype): boolean => dtype === "f32" || isHalf(dtype);
  if (isSingle(a) && isSingle(b)) return "f32";
  if (a !== b) return undefined;
  return a === "f64" ? "f64" : a === "i8" ? "i32" : undefined;
}

/** The matrix under a transposition of the last two axes, if `tensor` is one. */
function transposedMatrix({ node: { op, attrs, inputs } }: Tensor): Tensor | undefined {
  if (op.name !== "transpose") return undefined;
  const permutation = attrs["permutation"] as readonly number[];
  const last = permutation.length - 1;
  const swaps = permutation.every((axis, i) => axis === (i < last - 1 ? i : 2 * last - 1 - i));
  return swaps ? inputs[0] : undefined;
}

export const matmulOp: OpDef<MatmulAttrs> = {
  name: "matmul",
  summary: "y[..., i, j] = sum over k of a[..., i, k] b[..., k, j]",
  infer(inputs, attrs) {
    const [a, b] = inputs as [TensorType, TensorType];
    const dtype = productDtype(a.dtype, b.dtype);
    requireShape(
      dtype !== undefined,
      "matmul",
      "takes f32, bf16 and f16 tensors, or two of f64 or i8",
      inputs,
      "cast one",
    );
    requireShape(
      a.shape.length >= 2 && a.shape.length === b.shape.length,
      "matmul",
      "ranks differ or are below 2",
      inputs,
    );
    requireShape(sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2)), "matmul", "batch dimensions differ", inputs);
    const { m, n, k } = matmulDims(a, b, attrs);
    const innerB = b.shape[b.shape.length - (attrs.transposeB ? 1 : 2)];
    requireShape(k === innerB, "matmul", `inner dimensions differ: ${k} and ${innerB}`, inputs);
    return [{ dtype, shape: [...a.shape.slice(0, -2), m, n] }];
  },
  simplify([a, b], attrs) {
    const [left, right] = [transposedMatrix(a!), transposedMatrix(b!)];
    if (left === undefined && right === undefined) return undefined;
    return emit(matmulOp, [left ?? a!, right ?? b!], {
      transposeA: attrs.transposeA !== (left !== undefined),
      transposeB: attrs.transposeB !== (right !== undefined),
    });
  },
  evaluate([a, b], attrs, [type]) {
    const { batch, m, n, k } = matmulDims(a!.type, b!.type, attrs);
    const data = new Float64Array(batch * m * n);
    const [left, right] = [hostValues(a!), hostValues(b!)];
    const [strideM, strideKa] = attrs.transposeA ? [1, m] : [k, 1];
    const [strideKb, strideN] = attrs.transposeB ? [1, k] : [n, 1];
    for (let p = 0; p < batch; p++) {
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          let at = p * m * k + i * strideM;
          let bt = p * k * n + j * strideN;
          for (let l = 0; l < k; l++, at += strideKa, bt += strideKb) sum += left[at]! * right[bt]!;
          data[(p * m + i) * n + j] = sum;
        }
      }
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [a, b] }, [da, db], attrs) {
      const left = da && emitOne(matmulOp, [da, b!], attrs);
      const right = db && emitOne(matmulOp, [a!, db], attrs);
      return [left === undefined ? right : right === undefined ? left : add(left, right)];
    },
    // With Y = op(A) op(B): d op(A) = Y' op(B)^T and d op(B) = op(A)^T Y'; a transposed operand gets the transpose.
    transpose({ inputs: [a, b] }, [ct], [inA, inB], { transposeA, transposeB }) {
      const ctA = !inA
        ? undefined
        : transposeA
          ? emitOne(matmulOp, [b!, ct!], { transposeA: transposeB, transposeB: true })
          : emitOne(matmulOp, [ct!, b!], { transposeA: false, transposeB: !transposeB });
      const ctB = !inB
        ? undefined
        : transposeB
          ? emitOne(matmulOp, [ct!, a!], { transposeA: true, transposeB: transposeA })
          : emitOne(matmulOp, [a!, ct!], { transposeA: !transposeA, transposeB: false });
      return [ctA, ctB];
    },
  },
  lowering: { kind: "kernel", lower: lowerMatmul },
  sample(draw) {
    const [m, n, k] = [draw.int(1, 19), draw.int(1, 19), draw.int(1, 21)];
    const batch = draw.pick([[], [2], [2, 3]]);
    const attrs = { transposeA: draw.int(0, 1) === 1, transposeB: draw.int(0, 1) === 1 };
    const [dtypeA, dtypeB] = draw.pick(SAMPLED_DTYPES);
    const a: TensorType = { dtype: dtypeA, shape: [...batch, ...(attrs.transposeA ? [k, m] : [m, k])] };
    const b: TensorType = { dtype: dtypeB, shape: [...batch, ...(attrs.transposeB ? [n, k] : [k, n])] };
    return { inputs: [a, b], attrs, ...(dtypeA === "i8" && { ranges: [BYTES, BYTES] }) };
  },
};

const BYTES = [-128, 127] as const;

const SAMPLED_DTYPES: readonly (readonly [Dtype, Dtype])[] = [
  ["f32", "f32"],
  ["f32", "f32"],
  ["f32", "f32"],
  ["f32", "bf16"],
  ["f32", "f16"],
  ["bf16", "bf16"],
  ["f16", "f32"],
  ["i8", "i8"],
];

export interface MatmulOptions {
  /** Read the last two axes of a as [k, m]. */
  readonly transposeA?: boolean;
  /** Read the last two axes of b as [n, k], the usual order of weights: [outputs, inputs]. */
  readonly transposeB?: boolean;
}

/** The shape of a product: a [..., K] times b [..., K, N], or [..., N, K] where b is read transposed. */
export type MatmulShape<A extends Shape, B extends Shape, TransposeB extends boolean> = number extends
  | A["length"]
  | B["length"]
  ? Shape
  : A extends readonly [...infer Rows extends Shape, infer K extends Dim]
    ? B extends readonly [...Shape, infer P extends Dim, infer Q extends Dim]
      ? TransposeB extends true
        ? Product<Rows, K, Q, P>
        : Product<Rows, K, P, Q>
      : ShapeError<`matmul: ${ShowShape<B>} has fewer than two dims`>
    : ShapeError<`matmul: ${ShowShape<A>} has fewer than two dims`>;

type Product<Rows extends Shape, K extends Dim, Inner extends Dim, N extends Dim> = [SameDim<K, Inner>] extends [never]
  ? ShapeError<`matmul: inner dimensions differ: ${K} and ${Inner}`>
  : readonly [...Rows, N];

/** Dtypes of a product's operands. */
export type MatmulDtype = "f32" | "f64" | HalfDtype | "i8";

/** What an operand of a dtype is multiplied with. */
export type MatmulPartner<D extends MatmulDtype> = D extends "f64" | "i8" ? D : "f32" | HalfDtype;

/** The dtype of a product of operands of a dtype. */
export type MatmulResult<D extends MatmulDtype> = D extends "f64" ? "f64" : D extends "i8" ? "i32" : "f32";

/** What `matmul` takes. */
export interface MatmulFunction {
  <A extends Shape, B extends Shape, D extends MatmulDtype>(
    a: Tensor<A, D>,
    b: Checked<MatmulShape<A, B, true>, Tensor<B, NoInfer<MatmulPartner<D>>>>,
    options: { readonly transposeA?: false; readonly transposeB: true },
  ): Tensor<MatmulShape<A, B, true>, MatmulResult<D>>;
  <D extends MatmulDtype>(
    a: Tensor<Shape, D>,
    b: Tensor<Shape, NoInfer<MatmulPartner<D>>>,
    options: MatmulOptions & { readonly transposeA: boolean },
  ): Tensor<Shape, MatmulResult<D>>;
  <A extends Shape, B extends Shape, D extends MatmulDtype>(
    a: Tensor<A, D>,
    b: Checked<MatmulShape<A, B, false>, Tensor<B, NoInfer<MatmulPartner<D>>>>,
    options?: { readonly transposeA?: false; readonly transposeB?: false },
  ): Tensor<MatmulShape<A, B, false>, MatmulResult<D>>;
}

/**
 * The product of a [..., m, k] and b [k, n] or [..., k, n]. A right operand of rank 2 applies to every row of a.
 * Operands are f32, bf16 and f16 in any pairing, with an f32 result; both f64; or both i8, with an exact i32 result.
 * @throws ShapeMismatchError when inner or batch dimensions differ, or dtypes have no product.
 */
export const matmul = applyMatmul as MatmulFunction;

function applyMatmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const attrs = { transposeA: options.transposeA ?? false, transposeB: options.transposeB ?? false };
  if (b.rank !== 2 || a.rank <= 2 || attrs.transposeA) return emitOne(matmulOp, [a, b], attrs);
  const lead = a.shape.slice(0, -1);
  const rows = emitOne(matmulOp, [reshape(a, [elementCount(lead), a.shape[a.rank - 1]!]), b], attrs);
  return reshape(rows, [...lead, rows.shape[1]!]);
}
