// Tracing: running a TypeScript function once over tensors that stand for its inputs gives the graph of what it
// computes. Control flow of TypeScript runs at trace time; loops over data are `scan`.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "./dtype.ts";
import type { Graph, TensorType } from "./graph.ts";
import { Tensor, emitFresh, inTrace } from "./graph.ts";
import { parameterOp } from "./ops/parameter.ts";
import type { Tree } from "./tree.ts";
import { flattenTree, mapTree } from "./tree.ts";

/** The type of a tensor to trace with, carrying its shape in the type system. */
export interface TypedTensorType<S extends Shape = Shape, D extends Dtype = Dtype> extends TensorType {
  readonly _shape?: S;
  readonly dtype: D;
}

/** `tensorType("f32", [2, 3])`: the type of a graph's input. */
export function tensorType<D extends Dtype, const S extends readonly number[]>(
  dtype: D,
  shape: S,
): TypedTensorType<S, D> {
  return { dtype, shape };
}

export function isTensor(value: unknown): value is Tensor {
  return value instanceof Tensor;
}

export function isTensorType(value: unknown): value is TensorType {
  return (
    typeof value === "object" && value !== null && "dtype" in value && "shape" in value && !(value instanceof Tensor)
  );
}

/** A tree of tensor types as a traced function sees it: tensors of these shapes and dtypes. */
export type TensorsOf<T> = unknown extends T
  ? T
  : // A tree whose structure the types do not know stays one: taking it apart would never end.
    [Tree<TensorType>] extends [T]
    ? Tree<Tensor>
    : T extends TypedTensorType<infer S, infer D>
      ? Tensor<S, D>
      : T extends readonly unknown[] | { readonly [key: string]: unknown }
        ? { [K in keyof T]: TensorsOf<T[K]> }
        : T;

let nextParameter = 0;

/** A fresh parameter, equal to no other tensor. */
export function parameter(name: string, type: TensorType): Tensor {
  return emitFresh(parameterOp, { name, id: nextParameter++, dtype: type.dtype, shape: type.shape });
}

/** A traced function: its graph, and the names of its inputs and results in the order of the graph's. */
export interface Traced<R> {
  readonly graph: Graph;
  readonly inputPaths: readonly string[];
  readonly resultPaths: readonly string[];
  /** The results in the structure in which the function gave them. */
  readonly results: R;
}

/**
 * Traces `fn` over tensors of the types in `inputs` (one tree an argument).
 * Throws what the shape rules throw: nothing is computed, so every mistake in shapes shows here.
 */
export function trace<I extends readonly unknown[], R>(
  name: string,
  fn: (...args: { [K in keyof I]: TensorsOf<I[K]> }) => R,
  inputs: readonly [...I],
): Traced<R> {
  return inTrace(() => {
    const parameters: Tensor[] = [];
    const inputPaths: string[] = [];
    const args = inputs.map((input, i) =>
      mapTree(input, isTensorType, (type, path) => {
        inputPaths.push(path === "" ? String(i) : `${i}.${path}`);
        const made = parameter(inputPaths[inputPaths.length - 1]!, type);
        parameters.push(made);
        return made;
      }),
    );
    const results = fn(...(args as { [K in keyof I]: TensorsOf<I[K]> }));
    const leaves = flattenTree(results, isTensor);
    const graph: Graph = { name, parameters, results: leaves.map(({ leaf }) => leaf) };
    return { graph, inputPaths, resultPaths: leaves.map(({ path }) => path), results };
  });
}
