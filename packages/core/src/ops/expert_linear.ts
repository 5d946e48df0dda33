// expert_linear: each row times the matrices of the experts chosen for it, as mixtures of experts have it (Shazeer et
// al. 2017, arXiv 1701.06538):
//   y[n, j, :] = W[ids[n, j]] x[n, :]   or   W[ids[n, j]] x[n, j, :],   or with the transposed matrices
// Only matrices that somebody chose are read. The op is linear in x and in W; the gradient of x is the op with the
// matrices the other way round, summed over the experts where they share a row, and that of W is expert_outer.
// Left out: weights of other dtypes than f32.

import type { Checked, Dim, SameDim, Shape, ShapeError, ShowShape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import { expertOuterOp } from "./expert_outer.ts";
import { hostRows } from "./gather.ts";
import { lowerExpertLinear } from "./kernels/experts.ts";
import { reduceSum } from "./reduce_sum.ts";

export type ExpertLinearAttrs = {
  /** Whether rows have as many elements as matrices have rows: y = x W, and not x W^T. */
  readonly transposed: boolean;
};

/** Sizes of a mixture of experts: `chosen` experts a row, `slots` of them in all. */
export interface ExpertDims {
  readonly slots: number;
  readonly chosen: number;
  readonly experts: number;
  readonly outputs: number;
  readonly inputs: number;
}

export function expertDims(ids: TensorType, weight: readonly number[]): ExpertDims {
  const [experts, outputs, inputs] = weight as [number, number, number];
  return { slots: elementCount(ids.shape), chosen: ids.shape[1]!, experts, outputs, inputs };
}

/** Requires ids [N, k], and rows [N, size] or [N, k, size]. */
export function requireRows(op: string, rows: TensorType, size: number, inputs: readonly TensorType[]): void {
  const ids = inputs[2]!;
  requireShape(ids.dtype === "i32" && ids.shape.length === 2, op, "the ids are not i32 [rows, chosen]", inputs);
  const lead = rows.shape.slice(0, -1);
  const fits = (lead.length === 1 || lead.length === 2) && lead.every((dim, axis) => dim === ids.shape[axis]);
  requireShape(fits, op, "there is not a row for each row of ids, or for each id", inputs);
  const width = rows.shape[rows.shape.length - 1];
  requireShape(width === size, op, `inner dimensions differ: ${width} and ${size}`, inputs);
}

/** The element at which the row of each slot begins. */
export function slotRows(rows: TensorType, { slots, chosen }: ExpertDims): number[] {
  const size = rows.shape[rows.shape.length - 1]!;
  return Array.from(
    { length: slots },
    (_, slot) => (rows.shape.length === 2 ? Math.floor(slot / chosen) : slot) * size,
  );
}

/** A gradient with a row a slot for rows of this rank: the slots that share one are added up. */
export function sharedRows(gradient: Tensor, rank: number): Tensor {
  return rank === 3 ? gradient : reduceSum(gradient as Tensor<Shape, "f32">, [1]);
}

export const expertLinearOp: OpDef<ExpertLinearAttrs> = {
  name: "expert_linear",
  summary: "y[n, j, :] = W[ids[n, j]] x[n, :], or of x[n, j, :]",
  infer(inputs, { transposed }) {
    const [x, weight, ids] = inputs as [TensorType, TensorType, TensorType];
    const floats = x.dtype === "f32" && weight.dtype === "f32" && weight.shape.length === 3;
    requireShape(floats, "expert_linear", "takes f32 rows and f32 weights [experts, outputs, inputs]", inputs);
    const [, outputs, width] = weight.shape as [number, number, number];
    requireRows("expert_linear", x, transposed ? outputs : width, inputs);
    const some = inputs.every(({ shape }) => elementCount(shape) > 0);
    requireShape(some, "expert_linear", "empty tensors", inputs);
    return [{ dtype: "f32", shape: [...ids.shape, transposed ? width : outputs] }];
  },
  evaluate([x, weight, ids], { transposed }, [type]) {
    const dims = expertDims(ids!.type, weight!.type.shape);
    const { experts, outputs, inputs } = dims;
    const data = new Float64Array(elementCount(type!.shape));
    const rows = slotRows(x!.type, dims);
    hostRows("expert_linear", ids!, experts).forEach((expert, slot) => {
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) {
          const w = weight!.data[(expert * outputs + o) * inputs + i]!;
          if (transposed) data[slot * inputs + i]! += w * x!.data[rows[slot]! + o]!;
          else data[slot * outputs + o]! += w * x!.data[rows[slot]! + i]!;
        }
      }
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [x, weight, ids] }, [dx, dw], attrs) => {
      const left = dx && emitOne(expertLinearOp, [dx, weight!, ids!], attrs);
      const right = dw && emitOne(expertLinearOp, [x!, dw, ids!], attrs);
      return [sumOf(left, right)];
    },
    transpose({ inputs: [x, weight, ids] }, [ct], [inX, inWeight], { transposed }) {
      const experts = weight!.shape[0]!;
      const rows = inX && emitOne(expertLinearOp, [ct!, weight!, ids!], { transposed: !transposed });
      const sides = transposed ? [x!, ct!] : [ct!, x!];
      return [
        rows ? sharedRows(rows, x!.rank) : undefined,
        inWeight ? emitOne(expertOuterOp, [...sides, ids!], { experts }) : undefined,
        undefined,
      ];
    },
  },
  lowering: {
    kind: "kernel",
    lower(context, { transposed }) {
      const [, weight, ids] = context.node.inputs;
      lowerExpertLinear(context, expertDims(ids!.type, weight!.shape), transposed);
    },
  },
  sample(draw) {
    const [experts, outputs, inputs] = [draw.int(1, 5), draw.int(1, 40), draw.int(1, 40)];
    const ids = [draw.pick([1, 3, 17]), draw.int(1, 3)];
    const transposed = draw.int(0, 1) === 1;
    const size = transposed ? outputs : inputs;
    return {
      inputs: [
        {
          dtype: "f32",
          shape: draw.pick([
            [ids[0]!, size],
            [...ids, size],
          ]),
        },
        { dtype: "f32", shape: [experts, outputs, inputs] },
        { dtype: "i32", shape: ids },
      ],
      attrs: { transposed },
      ranges: [undefined, undefined, [0, experts - 1]],
    };
  },
};

/** The sum of what there is. */
export function sumOf(left: MaybeTensor, right: MaybeTensor): MaybeTensor {
  return left === undefined ? right : right === undefined ? left : add(left, right);
}

/**
 * The result's shape: `I` [rows, chosen], and the outputs of the weights `W`; rows `X` have as many elements as inputs.
 */
export type ExpertLinearShape<X extends Shape, W extends Shape, I extends Shape> = number extends
  | X["length"]
  | W["length"]
  | I["length"]
  ? Shape
  : W extends readonly [Dim, infer Outputs extends Dim, infer Inputs extends Dim]
    ? X extends readonly [...Shape, infer Inner extends Dim]
      ? [SameDim<Inner, Inputs>] extends [never]
        ? ShapeError<`expertLinear: inner dimensions differ: ${Inner} and ${Inputs}`>
        : readonly [...I, Outputs]
      : ShapeError<`expertLinear: rows ${ShowShape<X>} have no elements`>
    : ShapeError<`expertLinear: weights ${ShowShape<W>} are not [experts, outputs, inputs]`>;

/**
 * Rows `x` [N, inputs], or [N, k, inputs] with one for each expert, times the matrices `weight` [experts, outputs,
 * inputs] of the experts `ids` [N, k] that each row has chosen: [N, k, outputs]. Compiled programs clamp ids to those
 * there are.
 * @throws ShapeMismatchError when shapes do not fit.
 */
export function expertLinear<X extends Shape, W extends Shape, I extends Shape>(
  x: Tensor<X, "f32">,
  weight: Checked<ExpertLinearShape<X, W, I>, Tensor<W, "f32">>,
  ids: Tensor<I, "i32">,
): Tensor<ExpertLinearShape<X, W, I>, "f32"> {
  const y = emitOne(expertLinearOp, [x, weight as Tensor, ids], { transposed: false });
  return y as unknown as Tensor<ExpertLinearShape<X, W, I>, "f32">;
}
