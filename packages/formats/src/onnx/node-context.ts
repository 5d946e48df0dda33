// What an operator of ONNX sees when its node is traced: its inputs as tensors, its attributes, and the numbers of
// those inputs that are known while tracing. Shapes of tensors are numbers at that time, so that everything that a
// model computes from them is known as well: such values are constants of the graph, folded node by node by the
// interpreter.

import { constant, elementCount, interpret, topologicalOrder } from "@fidelity/core";
import type { Dtype, Tensor } from "@fidelity/core";
import { quote } from "../byte-cursor.ts";
import { FormatError, UnsupportedFormatError } from "../errors.ts";
import type { SourceDtype } from "../quants/table.ts";
import type { SourceTensor } from "../tensor-source.ts";
import type { OnnxNode } from "./model.ts";

/** A node that cannot be traced for the inputs that it got. */
export class OnnxNodeError extends FormatError {}

/** Values of at most so many elements are computed while tracing where their inputs are known. */
const FOLDED_ELEMENTS_MAX = 4096;
/** No value on the way to one that is folded has more elements. */
const FOLDING_ELEMENTS_MAX = 2 ** 18;

/** How values of a stored type are computed with: halves as f32, all integers as i32. */
export function dtypeOfValue(dtype: SourceDtype): Dtype {
  if (dtype === "bool" || dtype === "f64") return dtype;
  return dtype === "f32" || dtype === "f16" || dtype === "bf16" ? "f32" : "i32";
}

/** A tensor of the file as a constant of the graph. Throws `OnnxNodeError` for integers beyond 32 bits. */
export function constantOf(tensor: SourceTensor): Tensor {
  return constant(numbersOf(tensor), tensor.shape, dtypeOfValue(tensor.dtype));
}

/** The numbers of a plain tensor. The ends of the 64-bit range, which say "to the end", become those of 32 bits. */
export function numbersOf(tensor: SourceTensor): Float64Array {
  const bytes = tensor.bytes().slice(); // a copy, so that cells are aligned
  const { buffer } = new Uint8Array(bytes);
  switch (tensor.dtype) {
    case "f64":
      return new Float64Array(buffer);
    case "f32":
      return Float64Array.from(new Float32Array(buffer));
    case "f16":
      return Float64Array.from(new Float16Array(buffer));
    case "bf16":
      return Float64Array.from(
        new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer),
      );
    case "i64":
      return Float64Array.from(new BigInt64Array(buffer), (value) => narrowed(value, tensor));
    case "i32":
      return Float64Array.from(new Int32Array(buffer));
    case "i16":
      return Float64Array.from(new Int16Array(buffer));
    case "i8":
      return Float64Array.from(new Int8Array(buffer));
    default:
      return Float64Array.from(new Uint8Array(buffer), (value) =>
        tensor.dtype === "bool" ? Math.min(value, 1) : value,
      );
  }
}

const INT64_MAX = 2n ** 63n - 1n;

function narrowed(value: bigint, { name }: SourceTensor): number {
  if (value >= INT64_MAX - 1n) return 2 ** 31 - 1;
  if (value <= -INT64_MAX) return -(2 ** 31);
  const number = Number(value);
  if (number === (number | 0)) return number;
  throw new OnnxNodeError("an integer does not fit into 32 bits", {
    where: `tensor ${quote(name)}`,
    expected: "-2^31 to 2^31 - 1: integers are computed with in 32 bits",
    got: String(value),
  });
}

/** The numbers of a tensor that is known while tracing; undefined where it is not, or is too large. */
export function knownValues(tensor: Tensor): ArrayLike<number> | undefined {
  const { op, attrs } = tensor.node;
  const count = elementCount(tensor.shape);
  if (op.name === "constant") return attrs["data"] as Float64Array;
  if (count > FOLDED_ELEMENTS_MAX) return undefined;
  const values = new Float64Array(count);
  if (op.name === "splat") return values.fill(attrs["value"] as number);
  return op.name === "iota" ? values.map((_zero, i) => i % (tensor.shape.at(-1) ?? 1)) : undefined;
}

const SOURCES: readonly string[] = ["constant", "splat", "iota"];

/** Whether a tensor is a constant, or made of nothing. */
export function isKnown(tensor: Tensor): boolean {
  return SOURCES.includes(tensor.node.op.name);
}

/** A result whose inputs are all known as a constant, where it is small. */
export function folded(result: Tensor): Tensor {
  if (isKnown(result) || elementCount(result.shape) > FOLDED_ELEMENTS_MAX) return result;
  const nodes = topologicalOrder([result]);
  const fits = nodes.every(({ op, results }) => {
    return op.name !== "parameter" && results.every(({ shape }) => elementCount(shape) <= FOLDING_ELEMENTS_MAX);
  });
  if (!fits) return result;
  const [{ data }] = interpret({ name: "known", parameters: [], results: [result] }, []);
  return constant(data, result.shape, result.dtype);
}

/** A node, its inputs and its attributes. Whatever it reads that is not there or not known is an error by name. */
export class NodeContext {
  readonly node: OnnxNode;
  readonly place: string;
  /** The version of the node's operator set. */
  readonly opset: number;
  readonly #inputs: readonly (Tensor | undefined)[];

  constructor(node: OnnxNode, place: string, opset: number, inputs: readonly (Tensor | undefined)[]) {
    this.node = node;
    this.place = place;
    this.opset = opset;
    this.#inputs = inputs;
  }

  get inputs(): readonly Tensor[] {
    return this.#inputs.map((_tensor, i) => this.input(i));
  }

  input(index: number): Tensor {
    return this.#inputs[index] ?? this.refuse("a node lacks an input", `input ${index}`, "none");
  }

  maybe(index: number): Tensor | undefined {
    return this.#inputs[index];
  }

  /** The numbers of an input that decides shapes; undefined where the input is not there. */
  known(index: number): readonly number[] | undefined {
    const tensor = this.#inputs[index];
    if (tensor === undefined) return undefined;
    const values = knownValues(tensor);
    if (values !== undefined) return Array.from(values);
    const expected = `input ${index} to follow from shapes and constants`;
    return this.refuse("a shape depends on the values of the inputs", expected, "values known at run time only");
  }

  requireKnown(index: number): readonly number[] {
    return this.known(index) ?? this.refuse("a node lacks an input", `input ${index}`, "none");
  }

  integer(name: string, otherwise: number): number {
    return (this.#attribute(name, "number") as number | undefined) ?? otherwise;
  }

  float = this.integer;

  text(name: string, otherwise: string): string {
    return (this.#attribute(name, "string") as string | undefined) ?? otherwise;
  }

  integers(name: string): readonly number[] | undefined {
    return this.#attribute(name, "object") as readonly number[] | undefined;
  }

  tensor(name: string): SourceTensor | undefined {
    const value = this.node.attributes.get(name);
    return typeof value === "object" && "dtype" in value ? value : undefined;
  }

  #attribute(name: string, kind: string): unknown {
    const value = this.node.attributes.get(name);
    const isList = Array.isArray(value) && value.every((item) => typeof item === "number");
    if (value === undefined || (kind === "object" ? isList : typeof value === kind)) return value;
    return this.refuse(
      `the attribute ${quote(name)} has another type`,
      kind === "object" ? "numbers" : kind,
      "another",
    );
  }

  /** An axis counted from 0. Throws `OnnxNodeError` where a tensor of this rank has none. */
  axis(axis: number, rank: number): number {
    const at = axis < 0 ? axis + rank : axis;
    if (Number.isInteger(at) && at >= 0 && at < rank) return at;
    return this.refuse("there is no such axis", `-${rank} to ${rank - 1}`, String(axis));
  }

  refuse(summary: string, expected: string, got: string): never {
    throw new OnnxNodeError(summary, { where: this.place, expected, got });
  }

  unsupported(expected: string, got: string): never {
    throw new UnsupportedFormatError(`${quote(this.node.op)} is not read in this form`, {
      where: this.place,
      expected,
      got,
    });
  }
}
