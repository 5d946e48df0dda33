// Random cases of core's ops as ONNX files, for the tests of the writer.

import { interpret, isPacked, trace } from "@fidelity/core";
import type { HostTensor, OpDef, Tensor, TensorType, Traced } from "@fidelity/core";
import { emit, splat } from "@fidelity/core";
import { drawCase, randomHost, seededRandom } from "@fidelity/core/testing";
import { onnxFunction } from "./function.ts";
import { readOnnx } from "./read.ts";

/** An op on random inputs: its graph, the inputs by name, and what its reference computes. */
export interface ExportCase {
  readonly traced: Traced<unknown>;
  readonly feeds: Readonly<Record<string, HostTensor>>;
  /** By name. */
  readonly expected: Readonly<Record<string, HostTensor>>;
}

/** A random case; undefined where the op takes or gives packed numbers, which no file passes. */
export function exportCase(op: OpDef, seed: number): ExportCase | undefined {
  const { inputs, attrs, ranges } = drawCase(op, seed);
  const random = seededRandom(seed);
  const given = inputs.map((type, i) => randomHost(type, random, ranges?.[i]));
  // Positions decide shapes, so that they are known: those of attention and rope.
  const isKnown = ({ dtype, shape }: TensorType): boolean => dtype === "i32" && shape.length === 0;
  const passed = given.filter(({ type }) => !isKnown(type));
  if (inputs.some(({ dtype }) => isPacked(dtype))) return undefined;
  const traced = trace(
    op.name,
    (...tensors: Tensor[]) => {
      let next = 0;
      const operands = given.map(({ type, data }) => {
        return isKnown(type) ? (splat(data[0], [], "i32") as Tensor) : tensors[next++];
      });
      return emit(op, operands, attrs);
    },
    passed.map(({ type }) => type) as never,
  ) as Traced<readonly Tensor[]>;
  if (traced.graph.results.some(({ dtype }) => isPacked(dtype))) return undefined;
  const results = interpret(traced.graph, passed);
  return {
    traced,
    feeds: Object.fromEntries(passed.map((host, i) => [`input_${traced.inputPaths[i]}`, host])),
    expected: Object.fromEntries(results.map((host, i) => [`output_${traced.resultPaths[i]}`, host])),
  };
}

/** What the interpreter computes for a file. */
export function runOnnx(bytes: Uint8Array, feeds: ExportCase["feeds"]): Record<string, HostTensor> {
  const onnx = onnxFunction(readOnnx(bytes));
  const { graph, inputPaths, resultPaths } = trace("onnx", onnx.apply, [
    onnx.parameterTypes,
    onnx.inputTypes(),
  ]) as Traced<unknown>;
  const given = graph.parameters.map(({ type }, i) => {
    const [which, name] = [inputPaths[i][0], inputPaths[i].slice(2)];
    return { type, data: which === "0" ? onnx.parameterValues(name) : feeds[name].data };
  });
  return Object.fromEntries(interpret(graph, given).map((host, i) => [resultPaths[i], host]));
}

/** The largest difference of numbers, relative to those above 1. Infinite where shapes or names differ. */
export function differenceOf(
  actual: Readonly<Record<string, Pick<HostTensor, "data">>>,
  expected: ExportCase["expected"],
): number {
  return Object.entries(expected).reduce((most, [name, { data }]) => {
    const other = actual[name]?.data;
    if (other?.length !== data.length) return Infinity;
    return data.reduce((largest, value, i) => {
      if (Object.is(value, other[i]) || (Number.isNaN(value) && Number.isNaN(other[i]))) return largest;
      return Math.max(largest, Math.abs(value - other[i]) / Math.max(1, Math.abs(value)));
    }, most);
  }, 0);
}
