// chosen_linear: one row times a matrix [n, k] of weights, for the outputs that somebody wants, in groups of 16
// neighbours. `chosen` is a list: how many groups, and then their numbers, in rising order:
//   y[o] = sum over k of x[k] w[o, k] where floor(o / 16) is in the list, otherwise -infinity.
// It is for the logits of a text that must obey a grammar: few tokens may come, and rows of the head that nobody asks
// for are not read. Products are those of matmul, or of block_linear where weights are of blocks, to the last bit.
// Compiled programs clamp numbers of groups that there are not. Left out: several rows, and derivatives.

import type { Shape } from "@fidelity/units";
import type { BlockDtype, HalfDtype } from "../dtype.ts";
import { BLOCK_DTYPES, isBlocked } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { BLOCK_FORMATS, elementCount } from "../storage.ts";
import { blockActivations, blockLinearOp } from "./block_linear.ts";
import type { NoAttrs } from "./elementwise.ts";
import { lowerBlockLinear } from "./kernels/block_linear.ts";
import { GROUP_OUTPUTS } from "./kernels/chosen.ts";
import { lowerChosenRow } from "./kernels/row_product.ts";
import { matmulDims, matmulOp } from "./matmul.ts";

const NAME = "chosen_linear";
const TRANSPOSED = { transposeA: false, transposeB: true };

export const chosenLinearOp: OpDef<NoAttrs> = {
  name: NAME,
  summary: "y[o] = sum over k of x[k] w[o, k] where floor(o / 16) is chosen, else -inf",
  infer(inputs) {
    const [x, w, chosen] = inputs as [TensorType, TensorType, TensorType];
    const [product] = isBlocked(w.dtype) ? blockLinearOp.infer([x, w], {}) : matmulOp.infer([rowOf(x), w], TRANSPOSED);
    const outputs = w.shape[0]!;
    requireShape(elementCount(product!.shape) === outputs, NAME, "takes one row", inputs);
    requireShape(isBlocked(w.dtype) || x.dtype === "f32", NAME, "the activations are not f32", inputs);
    const entries = chosenEntries(outputs);
    const fits = chosen.dtype === "i32" && elementCount(chosen.shape) === entries;
    requireShape(fits, NAME, `takes i32 [${entries}] for ${outputs} outputs`, inputs);
    return [isBlocked(w.dtype) ? product! : { dtype: "f32", shape: [...x.shape.slice(0, -1), outputs] }];
  },
  evaluate([x, w, chosen], _attrs, [type]) {
    const [product] = isBlocked(w!.type.dtype)
      ? blockLinearOp.evaluate([x!, w!], {}, [type!])
      : matmulOp.evaluate([{ ...x!, type: rowOf(x!.type) }, w!], TRANSPOSED, [type!]);
    const groups = new Set(chosen!.data.subarray(1, 1 + chosen!.data[0]!));
    const data = product!.data.map((sum, o) => (groups.has(Math.floor(o / GROUP_OUTPUTS)) ? sum : -Infinity));
    return [{ type: type!, data }];
  },
  derivative: { kind: "none", hint: "it is for decoding: differentiate `matmul`" },
  lowering: {
    kind: "kernel",
    lower(context) {
      const [x, w] = context.node.inputs.map(({ type }) => type) as [TensorType, TensorType];
      if (isBlocked(w.dtype)) lowerBlockLinear(context);
      else lowerChosenRow(context, matmulDims(rowOf(x), w, TRANSPOSED));
    },
  },
  sample(draw) {
    const outputs = draw.int(1, 100);
    const dtype = draw.pick(["f32", "bf16", "f16", ...BLOCK_DTYPES] as const);
    const inner = isBlocked(dtype) ? BLOCK_FORMATS[dtype].blockColumns : draw.int(1, 40);
    const x: TensorType = isBlocked(dtype)
      ? { dtype: "q8", shape: [1, inner / BLOCK_FORMATS[dtype].scaleColumns, BLOCK_FORMATS[dtype].scaleColumns] }
      : { dtype: "f32", shape: [...draw.pick([[], [1], [1, 1]]), inner] };
    const chosen: TensorType = { dtype: "i32", shape: [chosenEntries(outputs)] };
    const prepare = ([row, weights, list]: readonly HostTensor[]): readonly HostTensor[] => {
      const groups = Array.from({ length: chosenEntries(outputs) - 1 }, (_, group) => group);
      const wanted = groups.filter((group) => list!.data[1 + group]! > 0);
      const data = Float64Array.from(list!.data, (_, i) => (i === 0 ? wanted.length : (wanted[i - 1] ?? 0)));
      return [row!, weights!, { type: list!.type, data }];
    };
    return { inputs: [x, { dtype, shape: [outputs, inner] }, chosen], attrs: {}, prepare };
  },
};

/** Entries of the list for so many outputs: the number of groups, and as many as there may be. */
export function chosenEntries(outputs: number): number {
  return 1 + Math.ceil(outputs / GROUP_OUTPUTS);
}

/** Above this share of the groups all are read: one by one they take longer than neighbours do. */
const SHARE_MAX = 1 / 2;

/**
 * Writes the list of the groups with outputs whose bits `words` has, output o being bit o % 32 of word o / 32; of all
 * groups without words, and where that takes no longer.
 */
export function chooseOutputs(list: Int32Array, words?: Uint32Array): void {
  const groups = list.length - 1;
  const most = words === undefined ? -1 : Math.floor(groups * SHARE_MAX);
  let count = 0;
  for (let group = 0; group < groups && count <= most; group++) {
    const bits = words![group >>> 1]! >>> (GROUP_OUTPUTS * (group & 1));
    if ((bits & 0xffff) !== 0) list[++count] = group;
  }
  if (count > most) for (count = 0; count < groups; count++) list[1 + count] = count;
  list[0] = count;
}

/** One row, as matmul takes it. */
function rowOf(x: TensorType): TensorType {
  return { ...x, shape: [elementCount(x.shape.slice(0, -1)), x.shape[x.shape.length - 1] ?? 1] };
}

/**
 * One row of activations `x` [..., k] times the weights `w` [n, k], as `matmul` and `blockLinear` multiply them:
 * [..., n]. Weights of outputs whose group is not in the list `chosen` (`chooseOutputs`) are not read, and these
 * outputs are -Infinity.
 * @throws ShapeMismatchError for more rows than one, and when dtypes or sizes do not fit.
 */
export function chosenLinear(
  x: Tensor<Shape, "f32">,
  w: Tensor<Shape, "f32" | HalfDtype | BlockDtype>,
  chosen: Tensor<Shape, "i32">,
): Tensor<Shape, "f32"> {
  const row = isBlocked(w.dtype) ? blockActivations(x, w as Tensor<Shape, BlockDtype>) : x;
  return emitOne(chosenLinearOp, [row, w, chosen], {}) as Tensor<Shape, "f32">;
}
