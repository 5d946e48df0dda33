// ONNX's operators that move elements, and those that make shapes and constants of nothing.

import { broadcastTo, cast, concat, constant, elementCount, reshape, splat } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { NodeContext } from "./node-context.ts";
import { constantOf, dtypeOfValue, knownValues, numbersOf } from "./node-context.ts";
import type { OnnxOperator } from "./ops-elementwise.ts";
import {
  add,
  apply,
  binary,
  broadcastDims,
  castTo,
  matrixIndices,
  mul,
  sliceOf,
  take,
  transposed,
  where,
} from "./tensors.ts";
import { dtypeOfOnnx } from "./tensor-proto.ts";

/** A list of integers as a tensor. */
function integers(values: readonly number[]): Tensor {
  return constant(values, [values.length], "i32");
}

/** The axes of a node from its attribute or, since opset 13, an input; sorted. Undefined where neither is there. */
export function axesOf(node: NodeContext, rank: number, input = 1): number[] | undefined {
  const axes = node.integers("axes") ?? node.known(input);
  const sorted = axes?.map((axis) => node.axis(axis, rank)).toSorted((a, b) => a - b);
  if (sorted === undefined || new Set(sorted).size === sorted.length) return sorted;
  return node.refuse("an axis is named twice", "different axes", `[${sorted.join(", ")}]`);
}

function reshapeTo(node: NodeContext): Tensor {
  const x = node.input(0);
  const isZeroKept = node.integer("allowzero", 0) === 0;
  const given = node.requireKnown(1).map((dim, i) => (dim === 0 && isZeroKept ? (x.shape[i] ?? -2) : dim));
  const rest = given.reduce((count, dim) => (dim === -1 ? count : count * dim), 1);
  const shape = given.map((dim) => (dim === -1 ? elementCount(x.shape) / rest : dim));
  const fits =
    shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0) && elementCount(shape) === elementCount(x.shape);
  if (fits) return reshape(x, shape);
  return node.refuse("a shape does not fit", `${elementCount(x.shape)} elements`, `[${given.join(", ")}]`);
}

function squeeze(node: NodeContext): Tensor {
  const x = node.input(0);
  const axes = axesOf(node, x.rank) ?? x.shape.flatMap((dim, axis) => (dim === 1 ? [axis] : []));
  const wide = axes.find((axis) => x.shape[axis] !== 1);
  if (wide !== undefined)
    node.refuse("an axis cannot be squeezed", "size 1", `axis ${wide} of [${x.shape.join(", ")}]`);
  return reshape(
    x,
    x.shape.filter((_dim, axis) => !axes.includes(axis)),
  );
}

function unsqueeze(node: NodeContext): Tensor {
  const x = node.input(0);
  const count = (node.integers("axes") ?? node.requireKnown(1)).length;
  const shape = [...x.shape];
  for (const axis of axesOf(node, x.rank + count) ?? []) shape.splice(axis, 0, 1);
  return reshape(x, shape);
}

/** Where a slice of an axis begins and ends, by ONNX's rules for what is negative or beyond the ends. */
function sliceBounds(start: number, stop: number, step: number, dim: number): { first: number; count: number } {
  const clamp = (at: number, low: number, high: number): number => {
    return Math.min(Math.max(at < 0 ? at + dim : at, low), high);
  };
  const [first, end] =
    step > 0 ? [clamp(start, 0, dim), clamp(stop, 0, dim)] : [clamp(start, 0, dim - 1), clamp(stop, -1, dim - 1)];
  return { first, count: Math.max(0, Math.ceil((end - first) / step)) };
}

function slice(node: NodeContext): Tensor {
  let x = node.input(0);
  const [starts, stops] = [node.requireKnown(1), node.requireKnown(2)];
  const axes = node.known(3) ?? starts.map((_start, i) => i);
  const steps = node.known(4) ?? starts.map(() => 1);
  if ([stops, axes, steps].some(({ length }) => length !== starts.length) || steps.includes(0)) {
    node.refuse("a slice is not one", "as many starts, ends, axes and steps, none of these 0", `[${steps.join(", ")}]`);
  }
  for (const [i, given] of axes.entries()) {
    const axis = node.axis(given, x.rank);
    const { first, count } = sliceBounds(starts[i], stops[i], steps[i], x.shape[axis]);
    if (steps[i] === 1) {
      x = sliceOf(x, axis, first, first + count);
      continue;
    }
    x = take(x, axis, add(mul(iota(count), steps[i]), first));
  }
  return x;
}

function iota(count: number): Tensor {
  return apply("iota", [], { shape: [count], dtype: "i32" });
}

/** The last index of an axis is also -1, the one before -2, and so on. */
function gather(node: NodeContext): Tensor {
  const [x, given] = [node.input(0), node.input(1)];
  const axis = node.axis(node.integer("axis", 0), x.rank);
  const dim = x.shape[axis];
  const known = knownValues(given);
  const outside = known && Array.from(known).find((id) => !(Number.isInteger(id) && id >= -dim && id < dim));
  if (outside !== undefined) node.refuse("there is no such index", `-${dim} to ${dim - 1}`, String(outside));
  const ids = cast(given, "i32");
  const isNegative = known === undefined || Array.from(known).some((id) => id < 0);
  return take(x, axis, isNegative ? where(binary("lt", ids, 0), add(ids, dim), ids) : ids);
}

function split(node: NodeContext): readonly Tensor[] {
  const x = node.input(0);
  const axis = node.axis(node.integer("axis", 0), x.rank);
  const dim = x.shape[axis];
  const count = node.integer("num_outputs", node.node.outputs.length);
  const size = Math.ceil(dim / count);
  const equal = Array.from({ length: Math.min(count, node.node.outputs.length) }, (_, i) => {
    return Math.max(0, Math.min(size, dim - i * size));
  });
  const sizes = node.integers("split") ?? node.known(1) ?? equal;
  const isWhole = sizes.every((part) => Number.isInteger(part) && part >= 0);
  if (!isWhole || sizes.reduce((sum, part) => sum + part, 0) !== dim) {
    node.refuse("an axis is not split into its parts", `parts of together ${dim}`, `[${sizes.join(", ")}]`);
  }
  let at = 0;
  return sizes.map((part) => sliceOf(x, axis, at, (at += part)));
}

/** A list of sizes as a shape. */
function shapeOf(node: NodeContext, sizes: readonly number[]): readonly number[] {
  if (sizes.length <= 16 && sizes.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) return sizes;
  return node.refuse("a shape is not one", "at most 16 sizes, none negative", `[${sizes.slice(0, 16).join(", ")}]`);
}

function expand(node: NodeContext): Tensor {
  const x = node.input(0);
  return broadcastTo(x, broadcastDims(x.shape, shapeOf(node, node.requireKnown(1))));
}

function tile(node: NodeContext): Tensor {
  const x = node.input(0);
  const repeats = shapeOf(node, node.requireKnown(1));
  if (repeats.length !== x.rank) node.refuse("repeats do not fit", `${x.rank} numbers`, `${repeats.length}`);
  const wide = broadcastTo(
    reshape(
      x,
      x.shape.flatMap((dim) => [1, dim]),
    ),
    x.shape.flatMap((dim, i) => [repeats[i], dim]),
  );
  return reshape(
    wide,
    x.shape.map((dim, i) => dim * repeats[i]),
  );
}

function flatten(node: NodeContext): Tensor {
  const x = node.input(0);
  const given = node.integer("axis", 1);
  const axis = given === x.rank ? given : node.axis(given, x.rank);
  return reshape(x, [elementCount(x.shape.slice(0, axis)), elementCount(x.shape.slice(axis))]);
}

function concatenate(node: NodeContext): Tensor {
  const axis = node.axis(node.integer("axis", 0), node.input(0).rank);
  return concat(node.inputs, axis) as Tensor;
}

function shape(node: NodeContext): Tensor {
  const dims = node.input(0).shape;
  return integers(dims.slice(node.integer("start", 0), node.integer("end", dims.length)));
}

function castNode(node: NodeContext): Tensor {
  const x = node.input(0);
  const to = dtypeOfOnnx(node.integer("to", 0), node.place);
  // Rounded to 16 bits, or cut to 8, and computed with in 32.
  if (to === "f16" || to === "bf16") return cast(cast(x, to), "f32");
  if (to === "i8") return cast(cast(x, to), "i32");
  if (to === "u8" || to === "i16") node.unsupported("a cast to floats, bool, int8, int32 or int64", to);
  return castTo(x, dtypeOfValue(to));
}

function constantNode(node: NodeContext): Tensor {
  const tensor = node.tensor("value");
  if (tensor !== undefined) return constantOf(tensor);
  const { attributes } = node.node;
  if (attributes.has("value_float")) return constant([node.float("value_float", 0)], []);
  if (attributes.has("value_int")) return constant([node.integer("value_int", 0)], [], "i32");
  const [floats, whole] = [node.integers("value_floats"), node.integers("value_ints")];
  if (floats !== undefined) return constant(floats, [floats.length]);
  return whole === undefined
    ? node.unsupported("a tensor or numbers", [...attributes.keys()].join(", "))
    : integers(whole);
}

function constantOfShape(node: NodeContext): Tensor {
  const value = node.tensor("value");
  const dims = shapeOf(node, node.requireKnown(0));
  if (value === undefined) return splat(0, dims) as Tensor;
  return splat(numbersOf(value)[0] ?? 0, dims, dtypeOfValue(value.dtype)) as Tensor;
}

function range(node: NodeContext): Tensor {
  const [[start], [limit], [delta]] = [0, 1, 2].map((i) => node.requireKnown(i));
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (!Number.isSafeInteger(count)) node.refuse("a range has no end", "a step that is not 0", String(delta));
  const dtype = node.input(0).dtype;
  const steps = apply("iota", [], { shape: [count], dtype });
  return add(mul(steps, delta), start);
}

/** The upper or lower triangle of matrices. */
function trilu(node: NodeContext): Tensor {
  const x = node.input(0);
  const [k = 0] = node.known(1) ?? [];
  const { row, column } = matrixIndices(x.shape.at(-2) ?? 1, x.shape.at(-1) ?? 1);
  const diagonal = add(row, k);
  const isKept = node.integer("upper", 1) === 1 ? binary("le", diagonal, column) : binary("le", column, diagonal);
  return where(isKept, x, splat(0, x.shape, x.dtype) as Tensor);
}

function pad(node: NodeContext): Tensor {
  const x = node.input(0);
  const mode = node.text("mode", "constant");
  const counts = node.requireKnown(1);
  if (mode !== "constant" || node.maybe(3) !== undefined) node.unsupported("mode constant on all axes", mode);
  if (counts.length !== 2 * x.rank || counts.some((count) => count < 0)) {
    node.unsupported(`${2 * x.rank} counts, none negative`, `[${counts.join(", ")}]`);
  }
  const [value = 0] = node.known(2) ?? [];
  return apply("pad", [x], { low: counts.slice(0, x.rank), high: counts.slice(x.rank), value });
}

function transpose(node: NodeContext): Tensor {
  const x = node.input(0);
  const given = node.integers("perm") ?? x.shape.map((_dim, axis) => x.rank - 1 - axis);
  const order = given.map((axis) => node.axis(axis, x.rank));
  if (new Set(order).size === x.rank && order.length === x.rank) return transposed(x, order);
  return node.refuse("axes are not in another order", `each of ${x.rank} once`, `[${given.join(", ")}]`);
}

export const LAYOUT: Readonly<Record<string, OnnxOperator>> = {
  Cast: castNode,
  Concat: concatenate,
  Constant: constantNode,
  ConstantOfShape: constantOfShape,
  Dropout: (node) => node.input(0),
  Expand: expand,
  Flatten: flatten,
  Gather: gather,
  Identity: (node) => node.input(0),
  Pad: pad,
  Range: range,
  Reshape: reshapeTo,
  Shape: shape,
  Size: (node) => constant([elementCount(node.input(0).shape)], [], "i32"),
  Slice: slice,
  Split: split,
  Squeeze: squeeze,
  Tile: tile,
  Transpose: transpose,
  Trilu: trilu,
  Unsqueeze: unsqueeze,
};
