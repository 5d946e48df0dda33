// expert_outer: for each expert the sum of the outer products of the rows that have chosen it, which is the gradient of
// the matrices of expert_linear:
//   y[e, :, :] = sum over the slots (n, j) with ids[n, j] = e of a[n, j, :] b[n, j, :]^T
// where a or b may have one row for all slots of n. It is linear in both.

import type { TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { expertDims, expertLinearOp, requireRows, sharedRows, slotRows, sumOf } from "./expert_linear.ts";
import { hostRows } from "./gather.ts";
import { lowerExpertOuter } from "./kernels/experts.ts";

export type ExpertOuterAttrs = { readonly experts: number };

const lastOf = ({ shape }: TensorType): number => shape[shape.length - 1]!;

/** Inputs: a, b, ids. */
export const expertOuterOp: OpDef<ExpertOuterAttrs> = {
  name: "expert_outer",
  summary: "y[e] = sum over slots with ids[n, j] = e of a[n, j] b[n, j]^T",
  infer(inputs, { experts }) {
    const [a, b] = inputs as [TensorType, TensorType, TensorType];
    requireShape(a.dtype === "f32" && b.dtype === "f32", "expert_outer", "takes f32 rows", inputs);
    for (const rows of [a, b]) requireRows("expert_outer", rows, lastOf(rows), inputs);
    const some = experts > 0 && inputs.every(({ shape }) => elementCount(shape) > 0);
    requireShape(some, "expert_outer", "empty tensors", inputs);
    return [{ dtype: "f32", shape: [experts, lastOf(a), lastOf(b)] }];
  },
  evaluate([a, b, ids], { experts }, [type]) {
    const dims = expertDims(ids!.type, type!.shape);
    const { outputs, inputs } = dims;
    const data = new Float64Array(elementCount(type!.shape));
    const [aRows, bRows] = [slotRows(a!.type, dims), slotRows(b!.type, dims)];
    hostRows("expert_outer", ids!, experts).forEach((expert, slot) => {
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) {
          data[(expert * outputs + o) * inputs + i]! += a!.data[aRows[slot]! + o]! * b!.data[bRows[slot]! + i]!;
        }
      }
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [a, b, ids] }, [da, db], attrs) => {
      const left = da && emitOne(expertOuterOp, [da, b!, ids!], attrs);
      const right = db && emitOne(expertOuterOp, [a!, db, ids!], attrs);
      return [sumOf(left, right)];
    },
    transpose: ({ inputs: [a, b, ids] }, [ct], [inA, inB]) => [
      inA ? sharedRows(emitOne(expertLinearOp, [b!, ct!, ids!], { transposed: false }), a!.rank) : undefined,
      inB ? sharedRows(emitOne(expertLinearOp, [a!, ct!, ids!], { transposed: true }), b!.rank) : undefined,
      undefined,
    ],
  },
  lowering: {
    kind: "kernel",
    lower(context) {
      lowerExpertOuter(context, expertDims(context.node.inputs[2]!.type, context.node.results[0]!.shape));
    },
  },
  sample(draw) {
    const [experts, outputs, inputs] = [draw.int(1, 5), draw.int(1, 40), draw.int(1, 40)];
    const ids = [draw.pick([1, 3, 17]), draw.int(1, 3)];
    const rows = (size: number): TensorType => ({
      dtype: "f32",
      shape: draw.pick([
        [ids[0]!, size],
        [...ids, size],
      ]),
    });
    return {
      inputs: [rows(outputs), rows(inputs), { dtype: "i32", shape: ids }],
      attrs: { experts },
      ranges: [undefined, undefined, [0, experts - 1]],
    };
  },
};
