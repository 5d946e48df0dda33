// Writing a graph of core as an ONNX model: its ops one by one as operators of opset 17, which every runtime of the
// last years has, and what ONNX lacks by its expansion (expansions.ts). Shapes are those of the trace.
//
// A splat, an iota or a broadcast is no tensor of its own where the operator that reads it broadcasts anyway.

import { bf16Bits, topologicalOrder } from "@fidelity/core";
import type { Dtype, Node, Tensor, TensorType, Traced } from "@fidelity/core";
import { UnsupportedFormatError } from "../errors.ts";
import type { SourceDtype } from "../quants/table.ts";
import type { TensorToWrite } from "../tensor-source.ts";
import { expandGraph } from "./expansions.ts";
import type { OnnxValueInfo } from "./model.ts";
import { ONNX_TYPES } from "./tensor-proto.ts";
import { broadcastDims } from "./tensors.ts";
import { writeOnnx } from "./write.ts";
import type { AttributeToWrite, NodeToWrite } from "./write.ts";

const OPSET = 17;
/** What to write, and how to call it. */
export interface OnnxExport {
  /** What `trace` gave for the function. */
  readonly traced: Pick<Traced<unknown>, "graph" | "inputPaths" | "resultPaths">;
  /** Values of those inputs that are weights, by their paths; all others are inputs of the model. */
  readonly weights: ReadonlyMap<string, TensorToWrite>;
  /** Names in the file by paths; `input_<path>` where there is none. */
  readonly inputNames?: Readonly<Record<string, string>>;
  /** Names in the file by paths; `output_<path>`, or `output` for the only one, where there is none. */
  readonly outputNames?: Readonly<Record<string, string>>;
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * The bytes of an ONNX file that computes what a traced function computes. Inputs of i32 are int64 in the file, as
 * is usual for tokens. Throws `UnsupportedFormatError` for an op or a dtype that has no form in ONNX, and as
 * `writeOnnx`.
 */
export function exportOnnx({ traced, weights, inputNames = {}, outputNames = {}, metadata }: OnnxExport): Uint8Array {
  const { inputPaths, resultPaths } = traced;
  const graph = expandGraph(traced.graph, (op) => Object.hasOwn(OPERATORS, op));
  const writer = new GraphWriter();
  const inputs = graph.parameters.flatMap((parameter, i): OnnxValueInfo[] => {
    const weight = weights.get(inputPaths[i]);
    if (weight !== undefined) {
      writer.addWeight(parameter, weight);
      return [];
    }
    return [writer.addInput(parameter, inputNames[inputPaths[i]] ?? `input_${inputPaths[i]}`)];
  });
  for (const node of topologicalOrder(graph.results))
    if (node.op.name !== "parameter") OPERATORS[node.op.name](writer, node);
  const outputs = graph.results.map((result, i): OnnxValueInfo => {
    const name = outputNames[resultPaths[i]] ?? outputName(resultPaths[i]);
    writer.nodes.push({ op: "Identity", inputs: [writer.full(result)], outputs: [name] });
    return { name, dtype: storedDtype(result.dtype), shape: result.shape };
  });
  const { nodes, tensors } = writer;
  return writeOnnx({ graphName: graph.name, opset: OPSET, inputs, outputs, nodes, tensors, metadata });
}

function outputName(path: string): string {
  return path === "" ? "output" : `output_${path}`;
}

/** How a dtype of core is stored in a file. */
function storedDtype(dtype: Dtype): SourceDtype {
  if (ONNX_TYPES.has(dtype as SourceDtype)) return dtype as SourceDtype;
  throw new UnsupportedFormatError(`a tensor of ${dtype} has no form in ONNX`, {
    expected: "f64, f32, bf16, f16, i32, i8 or bool",
    got: dtype,
    hint: "pass float32 and pack it inside of the function",
  });
}

/** A value as an operator that broadcasts may read it: its name, and a shape that may be smaller than its own. */
interface Operand {
  readonly name: string;
  readonly shape: readonly number[];
}

class GraphWriter {
  readonly nodes: NodeToWrite[] = [];
  readonly tensors: TensorToWrite[] = [];
  readonly #names = new Map<Tensor, string>();
  /** Values that are there in a smaller shape, and their names where they were needed in full. */
  readonly #operands = new Map<Tensor, Operand>();
  readonly #constants = new Map<string, string>();

  addInput(parameter: Tensor, name: string): OnnxValueInfo {
    const isWhole = parameter.dtype === "i32";
    this.#names.set(parameter, isWhole ? this.add("Cast", [name], { to: typeAttribute("i32") }) : name);
    return { name, dtype: isWhole ? "i64" : storedDtype(parameter.dtype), shape: parameter.shape };
  }

  addWeight(parameter: Tensor, weight: TensorToWrite): void {
    this.tensors.push(weight);
    const isStored = weight.dtype === parameter.dtype;
    const to = typeAttribute(parameter.dtype);
    this.#names.set(parameter, isStored ? weight.name : this.add("Cast", [weight.name], { to }));
  }

  /** Adds a node with one output and gives its name. */
  add(op: string, inputs: readonly string[], attributes: NodeToWrite["attributes"] = {}): string {
    const output = `/${this.nodes.length}`;
    this.nodes.push({ op, inputs, outputs: [output], attributes });
    return output;
  }

  /** Says under which name a result is. */
  set(tensor: Tensor, name: string): void {
    this.#names.set(tensor, name);
  }

  /** Says that a result is another value, repeated along axes. */
  setOperand(tensor: Tensor, operand: Operand): void {
    this.#operands.set(tensor, operand);
  }

  /** A value for operators that broadcast. */
  operand(tensor: Tensor): Operand {
    const name = this.#names.get(tensor);
    return name === undefined ? this.#operands.get(tensor)! : { name, shape: tensor.shape };
  }

  /** A value in its own shape. */
  full(tensor: Tensor): string {
    const { name, shape } = this.operand(tensor);
    if (this.#names.has(tensor)) return name;
    const isWhole = shape.length === tensor.rank && shape.every((dim, axis) => dim === tensor.shape[axis]);
    const expanded = isWhole ? name : this.add("Expand", [name, this.integers(tensor.shape)]);
    this.#names.set(tensor, expanded);
    return expanded;
  }

  /** Operands of one operator, whose common shape is that of its result. */
  operands(tensors: readonly Tensor[], result: Tensor): string[] {
    const operands = tensors.map((tensor) => this.operand(tensor));
    const common = operands.map(({ shape }) => shape).reduce(broadcastDims);
    const isWhole = common.length === result.rank && common.every((dim, axis) => dim === result.shape[axis]);
    return operands.map(({ name }, i) => (i === 0 && !isWhole ? this.full(tensors[0]) : name));
  }

  /** A list of int64, as shapes and axes are; equal ones are one. */
  integers(values: readonly number[]): string {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.#constant(`i64 ${values.join()}`, "i64", [values.length], () => bytes);
  }

  /** A number without axes. */
  scalar(value: number, dtype: Dtype): string {
    const key = `${dtype} scalar ${Object.is(value, -0) ? "-0" : value}`;
    return this.#constant(key, storedDtype(dtype), [], () => bytesOf([value], dtype));
  }

  /** Numbers that are known. */
  constant({ dtype, shape }: TensorType, values: ArrayLike<number>): string {
    const key = `constant ${this.#constants.size}`;
    return this.#constant(key, storedDtype(dtype), shape, () => bytesOf(values, dtype));
  }

  #constant(key: string, dtype: SourceDtype, shape: readonly number[], bytes: () => Uint8Array): string {
    let name = this.#constants.get(key);
    if (name === undefined) {
      name = `/constant/${this.#constants.size}`;
      this.#constants.set(key, name);
      this.tensors.push({ name, dtype, shape, bytes });
    }
    return name;
  }
}

/** Numbers in the layout of ONNX's raw data. */
function bytesOf(values: ArrayLike<number>, dtype: Dtype): Uint8Array {
  const cells = {
    f64: Float64Array,
    f32: Float32Array,
    f16: Float16Array,
    i32: Int32Array,
    i8: Int8Array,
    bool: Uint8Array,
  };
  if (dtype === "bf16") return new Uint8Array(Uint16Array.from(values, bf16Bits).buffer);
  return new Uint8Array(cells[dtype as keyof typeof cells].from(values).buffer);
}

function typeAttribute(dtype: Dtype): AttributeToWrite {
  return { int: ONNX_TYPES.get(storedDtype(dtype))! };
}

type OperatorWriter = (writer: GraphWriter, node: Node) => void;

/** An operator on values that it broadcasts. */
const broadcasting =
  (op: string): OperatorWriter =>
  (writer, { inputs, results: [y] }) =>
    writer.set(y, writer.add(op, writer.operands(inputs, y)));

/** An operator on values in their own shapes. */
const whole =
  (
    op: string,
    attributes: (node: Node) => NodeToWrite["attributes"] = () => ({}),
    more: (node: Node) => readonly (readonly number[])[] = () => [],
  ): OperatorWriter =>
  (writer, node) => {
    const inputs = node.inputs.map((input) => writer.full(input));
    const lists = more(node).map((values) => writer.integers(values));
    writer.set(node.results[0], writer.add(op, [...inputs, ...lists], attributes(node)));
  };

const numbers = (node: Node, name: string): readonly number[] => node.attrs[name] as readonly number[];

function matmul(writer: GraphWriter, { inputs, attrs, results: [y] }: Node): void {
  const operands = inputs.map((input) => {
    const name = writer.full(input);
    return input.dtype === y.dtype ? name : writer.add("Cast", [name], { to: typeAttribute(y.dtype) });
  });
  const flags = [attrs["transposeA"], attrs["transposeB"]];
  if (y.rank === 2) {
    const [transA, transB] = flags.map((flag): AttributeToWrite => ({ int: flag === true ? 1 : 0 }));
    writer.set(y, writer.add("Gemm", operands, { transA, transB }));
    return;
  }
  const axes = y.shape.map((_dim, axis) => axis);
  const perm = { ints: [...axes.slice(0, -2), y.rank - 1, y.rank - 2] };
  const turned = operands.map((name, i) => (flags[i] === true ? writer.add("Transpose", [name], { perm }) : name));
  writer.set(y, writer.add("MatMul", turned));
}

function sort(writer: GraphWriter, { inputs: [x], attrs, results: [values, indices] }: Node): void {
  const outputs = [`/${writer.nodes.length}/values`, `/${writer.nodes.length}/indices`];
  const attributes = { axis: { int: -1 }, largest: { int: attrs["descending"] === true ? 1 : 0 } };
  const count = writer.integers([x.shape[x.rank - 1]]);
  writer.nodes.push({ op: "TopK", inputs: [writer.full(x), count], outputs, attributes });
  writer.set(values, outputs[0]);
  writer.set(indices, writer.add("Cast", [outputs[1]], { to: typeAttribute("i32") }));
}

function iota(writer: GraphWriter, { results: [y] }: Node): void {
  const columns = y.shape[y.rank - 1];
  const name = writer.constant(
    { dtype: y.dtype, shape: [columns] },
    Array.from({ length: columns }, (_, i) => i),
  );
  writer.setOperand(y, { name, shape: [columns] });
}

const lastAxis = (): NodeToWrite["attributes"] => ({ axis: { int: -1 } });

/** Core's ops that are operators of ONNX. */
const OPERATORS: Readonly<Record<string, OperatorWriter>> = {
  abs: whole("Abs"),
  add: broadcasting("Add"),
  broadcast: (writer, { inputs: [x], results: [y] }) => writer.setOperand(y, writer.operand(x)),
  cast: whole("Cast", ({ results: [y] }) => ({ to: typeAttribute(y.dtype) })),
  concat: whole("Concat", ({ attrs }) => ({ axis: { int: attrs["axis"] as number } })),
  constant: (writer, { attrs, results: [y] }) => writer.set(y, writer.constant(y.type, attrs["data"] as Float64Array)),
  cos: whole("Cos"),
  div: broadcasting("Div"),
  eq: broadcasting("Equal"),
  erf: whole("Erf"),
  exp: whole("Exp"),
  floor: whole("Floor"),
  gather: whole("Gather"),
  iota,
  layer_norm: (writer, node) => {
    const {
      inputs,
      attrs,
      results: [y],
    } = node;
    const [x, weight, ...bias] = inputs.map((input) => writer.full(input));
    const attributes = { axis: { int: -1 }, epsilon: { float: attrs["epsilon"] as number } };
    const ones =
      weight ??
      writer.constant({ dtype: y.dtype, shape: y.shape.slice(-1) }, new Array<number>(y.shape.at(-1)!).fill(1));
    writer.set(y, writer.add("LayerNormalization", [x, ones, ...bias], attributes));
  },
  le: broadcasting("LessOrEqual"),
  log: whole("Log"),
  log_softmax: whole("LogSoftmax", lastAxis),
  logical_and: broadcasting("And"),
  logical_not: whole("Not"),
  lt: broadcasting("Less"),
  matmul,
  max: broadcasting("Max"),
  min: broadcasting("Min"),
  mul: broadcasting("Mul"),
  neg: whole("Neg"),
  pad: (writer, node) => {
    const {
      inputs: [x],
      attrs,
      results: [y],
    } = node;
    const counts = writer.integers([...numbers(node, "low"), ...numbers(node, "high")]);
    writer.set(y, writer.add("Pad", [writer.full(x), counts, writer.scalar(attrs["value"] as number, x.dtype)]));
  },
  parameter: () => undefined,
  pow: (writer, { inputs: [x], attrs, results: [y] }) =>
    writer.set(y, writer.add("Pow", [writer.full(x), writer.scalar(attrs["exponent"] as number, x.dtype)])),
  reduce_max: whole("ReduceMax", (node) => ({ axes: { ints: numbers(node, "axes") } })),
  reduce_sum: whole("ReduceSum", undefined, (node) => [numbers(node, "axes")]),
  relu: whole("Relu"),
  reshape: whole("Reshape", undefined, ({ results: [y] }) => [y.shape]),
  round: whole("Round"),
  select: broadcasting("Where"),
  sigmoid: whole("Sigmoid"),
  sin: whole("Sin"),
  slice: whole("Slice", undefined, (node) => [numbers(node, "starts"), numbers(node, "stops")]),
  softmax: whole("Softmax", lastAxis),
  softplus: whole("Softplus"),
  sort,
  splat: (writer, { attrs, results: [y] }) =>
    writer.setOperand(y, { name: writer.scalar(attrs["value"] as number, y.dtype), shape: [] }),
  sqrt: whole("Sqrt"),
  sub: broadcasting("Sub"),
  tanh: whole("Tanh"),
  transpose: whole("Transpose", (node) => ({ perm: { ints: numbers(node, "permutation") } })),
};
