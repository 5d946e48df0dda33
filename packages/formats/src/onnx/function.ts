// An ONNX model as a function of tensors: tracing it runs its nodes once, each as core's ops, for inputs whose shapes
// are numbers. Weights are parameters under their names in the file; integers, bools and single numbers are constants,
// since shapes and options follow from them.
//
// Numbers are float32 (float64 where the file has that), halves included; integers are 32 bits. Left out: control flow
// (If, Loop, Scan), sequences, convolutions, recurrent layers, and what the tables of operators do not have.

import { elementCount, isFloat, tensorType } from "@fidelity/core";
import type { Tensor, TensorType } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import { quote } from "../byte-cursor.ts";
import { FormatError, UnsupportedFormatError } from "../errors.ts";
import type { SourceTensor } from "../tensor-source.ts";
import type { OnnxModel, OnnxNode, OnnxValueInfo } from "./model.ts";
import { constantOf, dtypeOfValue, folded, isKnown, NodeContext, numbersOf, OnnxNodeError } from "./node-context.ts";
import { ONNX_OPERATORS } from "./ops-sums.ts";

/** Opsets of ONNX's own domain whose operators mean what the tables say. */
const OPSET_MIN = 11;
const OPSET_MAX = 24;

/** A model that can be traced. */
export interface OnnxFunction {
  /** Types of the weights by their names in the file. */
  readonly parameterTypes: Readonly<Record<string, TensorType>>;
  /** The numbers of a weight, in row-major order. */
  parameterValues(name: string): Float64Array;
  /**
   * Types of the inputs by name, with a number for each dim that the file only names. Throws `OnnxNodeError` where one
   * is not given.
   */
  inputTypes(dims?: Readonly<Record<string, number>>): Record<string, TensorType>;
  /**
   * Traces the model: its outputs by name. Throws `UnsupportedFormatError` for operators that are not read, and
   * `OnnxNodeError` where a node does not fit its inputs.
   */
  apply(parameters: Readonly<Record<string, Tensor>>, inputs: Readonly<Record<string, Tensor>>): Record<string, Tensor>;
}

/** The function that an ONNX model is. Throws `UnsupportedFormatError` for opsets and operators that are not read. */
export function onnxFunction(model: OnnxModel): OnnxFunction {
  requireOperators(model);
  const parameters = new Map(model.tensors.filter(isParameter).map((tensor) => [tensor.name, tensor]));
  const parameterTypes = Array.from(parameters, ([name, { dtype, shape }]): [string, TensorType] => {
    return [name, tensorType(dtypeOfValue(dtype), shape)];
  });
  return {
    parameterTypes: Object.fromEntries(parameterTypes),
    parameterValues: (name) => numbersOf(parameters.get(name)!),
    inputTypes: (dims = {}) => Object.fromEntries(model.inputs.map((input) => [input.name, typeOfInput(input, dims)])),
    apply: (given, inputs) => applyModel(model, new Map([...Object.entries(given), ...Object.entries(inputs)])),
  };
}

/** A single number is an option more often than a weight. */
function isParameter({ dtype, shape }: SourceTensor): boolean {
  return isFloat(dtypeOfValue(dtype)) && elementCount(shape) > 1;
}

function typeOfInput({ name, dtype, shape = [] }: OnnxValueInfo, given: Readonly<Record<string, number>>): TensorType {
  const dims = shape.map((dim) => {
    const size = typeof dim === "number" ? dim : Object.hasOwn(given, dim) ? given[dim] : undefined;
    if (size !== undefined) return size;
    throw new OnnxNodeError("a size of an input is not known", {
      where: `input ${quote(name)}`,
      expected: `a number for ${shape.filter((each) => typeof each === "string").join(", ")}`,
      got: `[${shape.join(", ")}]`,
      hint: "give the sizes that the file leaves open by their names",
    });
  });
  return tensorType(dtypeOfValue(dtype), dims);
}

/** Throws where an operator is not read; the message lists all such operators. */
function requireOperators({ opsets, nodes }: OnnxModel): void {
  const opset = opsets.get("");
  if (opset !== undefined && !(opset >= OPSET_MIN && opset <= OPSET_MAX)) {
    throw new UnsupportedFormatError("the model is of an opset that is not read", {
      expected: `${OPSET_MIN} to ${OPSET_MAX}`,
      got: String(opset),
      hint: `export it with opset_version ${OPSET_MIN} or later`,
    });
  }
  const missing = nodes.filter(({ domain, op }) => operatorOf(domain, op) === undefined);
  if (missing.length === 0) return;
  const names = [...new Set(missing.map(({ domain, op }) => quote(domain === "" ? op : `${domain}.${op}`)))];
  throw new UnsupportedFormatError("the model uses operators that are not read", {
    where: placeOf(missing[0], nodes.indexOf(missing[0])),
    expected: `of ${Object.keys(ONNX_OPERATORS[""]).toSorted().join(", ")}`,
    got: names.slice(0, 4).join(", ") + (names.length > 4 ? `, and ${names.length - 4} more` : ""),
    hint: "simplify the model with its exporter, or leave out what needs them",
  });
}

function operatorOf(domain: string, op: string) {
  const table = Object.hasOwn(ONNX_OPERATORS, domain) ? ONNX_OPERATORS[domain] : {};
  return Object.hasOwn(table, op) ? table[op] : undefined;
}

function placeOf({ op, name }: OnnxNode, index: number): string {
  return `node ${index}, ${quote(op)}${name === "" ? "" : ` ${quote(name)}`}`;
}

function applyModel(model: OnnxModel, given: ReadonlyMap<string, Tensor>): Record<string, Tensor> {
  const values = new Map(given);
  for (const tensor of model.tensors) if (!isParameter(tensor)) values.set(tensor.name, constantOf(tensor));
  for (const [index, node] of model.nodes.entries()) {
    const place = placeOf(node, index);
    const inputs = node.inputs.map((name) => (name === "" ? undefined : valueOf(values, name, place)));
    const context = new NodeContext(node, place, model.opsets.get(node.domain) ?? OPSET_MAX, inputs);
    const results = traceNode(context);
    const isFolded = inputs.every((input) => input === undefined || isKnown(input));
    for (const [i, name] of node.outputs.entries()) {
      if (name === "" || results[i] === undefined) continue; // who uses it finds that it is not there
      values.set(name, isFolded ? folded(results[i]) : results[i]);
    }
  }
  return Object.fromEntries(model.outputs.map(({ name }) => [name, valueOf(values, name, "outputs")]));
}

function valueOf(values: ReadonlyMap<string, Tensor>, name: string, place: string): Tensor {
  const value = values.get(name);
  if (value !== undefined) return value;
  throw new OnnxNodeError("a value is not there", {
    where: place,
    expected: `a tensor ${quote(name)}`,
    got: "none: it was not given, or is an optional output that is not computed",
  });
}

function traceNode(context: NodeContext): readonly (Tensor | undefined)[] {
  const operator = operatorOf(context.node.domain, context.node.op)!;
  try {
    const results = operator(context);
    return Array.isArray(results) ? (results as readonly Tensor[]) : [results as Tensor];
  } catch (error) {
    if (!(error instanceof FidelityError) || error instanceof FormatError) throw error;
    // A shape rule of core's ops, which know nothing of the file.
    const details = { ...error.details, where: context.place, cause: error };
    throw new OnnxNodeError(`a node does not fit its inputs: ${error.summary}`, details);
  }
}
