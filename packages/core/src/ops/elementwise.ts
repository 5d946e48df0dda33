// What elementwise ops have in common: their shape rule, reference loop and lowering follow from one scalar function
// and one loop-IR expression. The front-end functions broadcast, lift numbers, and leave a node over equal shapes.

import type { Broadcast, Checked, Shape } from "@fidelity/units";
import type { Dtype, FloatDtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import type { LoopValue } from "../loop/ir.ts";
import { requireShape, ShapeMismatchError } from "../op.ts";
import type { CaseDraw, Derivative, ElementContext, OpDef } from "../op.ts";
import { broadcastTo } from "./broadcast.ts";
import { splat } from "./splat.ts";

export type NoAttrs = Record<never, never>;

interface ElementwiseSpec {
  readonly name: string;
  readonly summary: string;
  readonly arity: 1 | 2;
  /** The same function on numbers. */
  readonly scalar: (a: number, b: number) => number;
  readonly value: (k: KernelBuilder, a: LoopValue, b: LoopValue, context: ElementContext<NoAttrs>) => LoopValue;
  readonly derivative: Derivative<NoAttrs>;
  readonly simplify?: OpDef<NoAttrs>["simplify"];
  /** Bounds of the inputs in tests, where the function is smooth and finite. */
  readonly range?: readonly [number, number];
  readonly tolerance?: number;
  /** Dtypes that the op works on; the float dtypes where absent. */
  readonly accepts?: readonly Dtype[];
  /** Comparisons give bool. */
  readonly resultDtype?: "bool";
}

/** The dtypes that exact arithmetic works on. */
export const NUMERIC: readonly Dtype[] = ["f32", "f64", "i32"];

/** A random small shape for test cases. */
export function sampleShape(draw: CaseDraw): number[] {
  return Array.from({ length: draw.int(1, 3) }, () => draw.int(1, 7));
}

/** Defines an elementwise op over tensors of one dtype and shape. */
export function elementwise(spec: ElementwiseSpec): OpDef<NoAttrs> {
  const { name, arity } = spec;
  return {
    name,
    summary: spec.summary,
    infer(inputs) {
      // Messages are made where they are needed: tracing makes thousands of nodes.
      if (inputs.length !== arity) requireShape(false, name, `takes ${arity} inputs, not ${inputs.length}`, inputs);
      const [first, second] = inputs as [TensorType, TensorType?];
      const accepted = spec.accepts?.includes(first.dtype) ?? isFloat(first.dtype);
      if (!accepted) requireShape(false, name, `does not work on ${first.dtype}`, inputs, "cast it to f32");
      if (second !== undefined) {
        requireShape(first.dtype === second.dtype, name, "dtypes differ", inputs, "cast one of them");
        requireShape(sameShape(first.shape, second.shape), name, "shapes differ", inputs, "broadcast one of them");
      }
      return [{ dtype: spec.resultDtype ?? first.dtype, shape: first.shape }];
    },
    evaluate(inputs, _attrs, results) {
      const a = inputs[0]!.data;
      const b = inputs[1]?.data ?? a;
      return [{ type: results[0]!, data: Float64Array.from(a, (x, i) => spec.scalar(x, b[i]!)) }];
    },
    derivative: spec.derivative,
    lowering: {
      kind: "elementwise",
      value: (context, operands) => spec.value(context.k, operands[0]!, operands[1] ?? operands[0]!, context),
    },
    ...(spec.simplify && { simplify: spec.simplify }),
    sample(draw) {
      const dtype =
        spec.accepts === undefined ? "f32" : draw.pick(spec.accepts.filter((accepted) => accepted !== "f64"));
      const type: TensorType = { dtype, shape: sampleShape(draw) };
      const inputs = Array.from({ length: arity }, () => type);
      return { inputs, attrs: {}, ...(spec.range && { ranges: inputs.map(() => spec.range) }) };
    },
    ...(spec.tolerance !== undefined && { tolerance: spec.tolerance }),
  };
}

/** A tensor whose dtype the types do not know, as derivative rules see it: checked when the graph is built. */
export type Untyped<T extends Tensor> = Dtype extends T["dtype"] ? T : never;

/** A function of one float tensor that keeps its type. */
export interface UnaryFunction {
  <T extends Tensor>(x: Untyped<T>): T;
  <S extends Shape, D extends FloatDtype>(x: Tensor<S, D>): Tensor<S, D>;
}

export function unary(op: OpDef<NoAttrs>): UnaryFunction {
  return ((x: Tensor) => emitOne(op, [x], {})) as UnaryFunction;
}

/** The dtype of a result: that of the operands, unless the op says otherwise. */
type ResultDtype<R, D extends Dtype> = R extends Dtype ? R : D;

/** An elementwise function of two tensors that broadcast together, or of a tensor and a number. */
export interface BinaryFunction<Op extends string, R extends Dtype | "same" = "same"> {
  <S extends Shape, D extends Dtype>(x: Tensor<S, D>, y: number): Tensor<S, ResultDtype<R, D>>;
  <S extends Shape, D extends Dtype>(x: number, y: Tensor<S, D>): Tensor<S, ResultDtype<R, D>>;
  <S extends Shape, D extends Dtype>(x: Tensor<S, D>, y: Tensor<S, NoInfer<D>>): Tensor<S, ResultDtype<R, D>>;
  <T extends Tensor>(x: Tensor, y: Untyped<T>): Tensor<Shape, ResultDtype<R, Dtype>>;
  // Last, because the compiler explains why the last one does not fit.
  <A extends Shape, B extends Shape, D extends Dtype>(
    x: Tensor<A, D>,
    y: Checked<Broadcast<A, B, Op>, Tensor<B, NoInfer<D>>>,
  ): Tensor<Broadcast<A, B, Op>, ResultDtype<R, D>>;
}

/** The front end of an elementwise op with two inputs; `Op` is its name in the compiler's messages. */
export function binary<Op extends string, R extends Dtype | "same" = "same">(
  op: OpDef<NoAttrs>,
): BinaryFunction<Op, R> {
  const apply = (x: Tensor | number, y: Tensor | number): Tensor => {
    const [a, b] = broadcastTogether(op.name, x, y);
    return emitOne(op, [a, b], {});
  };
  return apply as BinaryFunction<Op, R>;
}

/** Both operands in their common shape, by NumPy's rule: aligned at the last axis, size 1 repeats. */
export function broadcastTogether(op: string, x: Tensor | number, y: Tensor | number): [Tensor, Tensor] {
  if (typeof x === "number") {
    if (typeof y === "number") throw new ShapeMismatchError(op, "needs at least one tensor", []);
    return [splat(x, y.shape, y.dtype), y];
  }
  if (typeof y === "number") return [x, splat(y, x.shape, x.dtype)];
  if (sameShape(x.shape, y.shape)) return [x, y];
  const shape = broadcastShapes(op, [x, y]);
  return [broadcastTo(x, shape), broadcastTo(y, shape)];
}

/** The common shape of some tensors by NumPy's rule; `op` is who asks, for the error. */
export function broadcastShapes(op: string, tensors: readonly Tensor[]): number[] {
  const types = tensors.map((tensor) => tensor.type);
  const rank = Math.max(...tensors.map((tensor) => tensor.rank));
  return Array.from({ length: rank }, (_, axis) => {
    let size = 1;
    for (const { shape } of types) {
      const dim = shape[axis - rank + shape.length] ?? 1;
      requireShape(dim === size || dim === 1 || size === 1, op, `cannot broadcast together: ${size} and ${dim}`, types);
      if (size === 1) size = dim;
    }
    return size;
  });
}

/** `axis` counted from 0; negative axes count from the end. */
export function normalizeAxis(op: string, x: Tensor, axis: number): number {
  const at = axis < 0 ? x.rank + axis : axis;
  requireShape(Number.isInteger(at) && at >= 0 && at < x.rank, op, `there is no axis ${axis}`, [x.type]);
  return at;
}

/** The number that a splat tensor repeats, or undefined for any other tensor. */
export function splatValue(x: Tensor): number | undefined {
  const value = x.node.op.name === "splat" ? x.node.attrs["value"] : undefined;
  return typeof value === "number" ? value : undefined;
}
