// Graphs in arbitrary precision: the oracle that float64, double-double and exact sums are compared with. Every float
// tensor holds `BigFloat`s; ops that only move elements run on element numbers through their own reference, so that
// no rule of theirs is written twice; composite ops are taken apart. Integers and truth values are JavaScript
// numbers. Slow on purpose. Left out: linear algebra, attention and packed weights (`NoOracleRuleError` names the
// op).

import { elementCount, hostValues, inTrace, isFloat, topologicalOrder } from "@fidelity/core";
import type { Attrs, Graph, HostTensor, Node, Tensor, TensorType } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import type { BigFloat, BigFloats } from "./bigfloat.ts";
import { bigFloat, toFloat64 } from "./bigfloat.ts";

/** Elements in row-major order. Those of integer and bool tensors are numbers. */
export interface BigTensor {
  readonly type: TensorType;
  readonly data: readonly BigFloat[];
}

/** An op that the oracle cannot evaluate. */
export class NoOracleRuleError extends FidelityError {
  constructor(op: string) {
    super(`${op} has no rule in arbitrary precision`, {
      expected: "elementwise ops, sums, products of matrices, ops that move elements, and scan",
      hint: "compare with the interpreter, which computes in float64",
    });
  }
}

/** A host tensor as the oracle takes it: its numbers, exactly. */
export function bigTensor(host: HostTensor): BigTensor {
  const values = Array.from(hostValues(host));
  return { type: host.type, data: isFloat(host.type.dtype) ? values.map(bigFloat) : values };
}

/** The results of `graph` in the arithmetic `on`, for inputs of its parameters' types. */
export function evaluateBig(graph: Graph, inputs: readonly BigTensor[], on: BigFloats): BigTensor[] {
  const known = new Map<Tensor, BigTensor>(graph.parameters.map((parameter, i) => [parameter, inputs[i]!]));
  const visit = (node: Node): void => {
    if (node.results.every((result) => known.has(result))) return;
    for (const input of node.inputs) visit(input.node);
    const { lowering } = node.op;
    if (lowering.kind === "expand" && !(node.op.name in RULES)) {
      const parts = inTrace(() => lowering.expand(node.inputs, node.attrs));
      for (const part of parts) for (const inner of topologicalOrder([part])) visit(inner);
      node.results.forEach((result, i) => known.set(result, known.get(parts[i]!)!));
      return;
    }
    const operands = node.inputs.map((input) => known.get(input)!);
    evaluateNode(node, operands, on).forEach((value, i) => known.set(node.results[i]!, value));
  };
  for (const node of topologicalOrder(graph.results)) visit(node);
  return graph.results.map((result) => known.get(result)!);
}

type Rule = (operands: readonly BigTensor[], on: BigFloats, attrs: Attrs, node: Node) => readonly BigFloat[];

function evaluateNode(node: Node, operands: readonly BigTensor[], on: BigFloats): BigTensor[] {
  if (node.op.name === "scan") return evaluateScan(node, operands, on);
  const rule = RULES[node.op.name] ?? (node.results.length === 1 && MOVES.has(node.op.name) ? moveElements : undefined);
  if (rule === undefined) throw new NoOracleRuleError(node.op.name);
  return [{ type: node.results[0]!.type, data: rule(operands, on, node.attrs, node) }];
}

const unary =
  (compute: (on: BigFloats, x: BigFloat) => BigFloat): Rule =>
  ([x], on) =>
    x!.data.map((value) => compute(on, value));

const binary =
  (compute: (on: BigFloats, a: BigFloat, b: BigFloat) => BigFloat): Rule =>
  ([a, b], on) =>
    a!.data.map((value, i) => compute(on, value, b!.data[i]!));

const compares = (holds: (order: number) => boolean): Rule => binary((on, a, b) => (holds(on.compare(a, b)) ? 1 : 0));

const ONE = bigFloat(1);
const larger = (on: BigFloats, a: BigFloat, b: BigFloat): BigFloat => (on.compare(a, b) < 0 ? b : a);

/** Where each element of x goes when `axes` are reduced to size 1. */
function reduced(x: BigTensor, axes: readonly number[], visit: (to: number, value: BigFloat) => void): void {
  const { shape } = x.type;
  x.data.forEach((value, i) => {
    let [rest, to, stride] = [i, 0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const dim = shape[axis]!;
      if (!axes.includes(axis)) {
        to += (rest % dim) * stride;
        stride *= dim;
      }
      rest = Math.floor(rest / dim);
    }
    visit(to, value);
  });
}

const reduce =
  (start: BigFloat, combine: (on: BigFloats, a: BigFloat, b: BigFloat) => BigFloat): Rule =>
  ([x], on, { axes }, node) => {
    const data: BigFloat[] = new Array<BigFloat>(elementCount(node.results[0]!.shape)).fill(start);
    reduced(x!, axes as readonly number[], (to, value) => (data[to] = combine(on, data[to]!, value)));
    return data;
  };

const product: Rule = ([a, b], on, { transposeA, transposeB }, node) => {
  const [m, n] = node.results[0]!.shape.slice(-2) as [number, number];
  const inner = a!.type.shape.at(transposeA === true ? -2 : -1)!;
  const [rowA, stepA] = transposeA === true ? [1, m] : [inner, 1];
  const [stepB, columnB] = transposeB === true ? [1, inner] : [n, 1];
  return Array.from({ length: elementCount(node.results[0]!.shape) }, (_, at) => {
    const [j, i, p] = [at % n, Math.floor(at / n) % m, Math.floor(at / (m * n))];
    let sum: BigFloat = bigFloat(0);
    for (let l = 0; l < inner; l++) {
      const left = a!.data[p * m * inner + i * rowA + l * stepA]!;
      sum = on.add(sum, on.mul(left, b!.data[p * inner * n + l * stepB + j * columnB]!));
    }
    return sum;
  });
};

const power: Rule = ([x], on, { exponent }) =>
  x!.data.map((value) => {
    if (!Number.isInteger(exponent)) return on.exp(on.mul(on.log(value), bigFloat(Number(exponent))));
    let result: BigFloat = ONE;
    for (let i = 0; i < Math.abs(Number(exponent)); i++) result = on.mul(result, value);
    return Number(exponent) < 0 ? on.div(ONE, result) : result;
  });

const convert: Rule = ([x], on, { dtype }) =>
  x!.data.map((value) => {
    const from = isFloat(x!.type.dtype) ? value : bigFloat(Number(value));
    return isFloat(dtype as never) ? from : toFloat64(on.integer(from));
  });

const scatterAdd: Rule = ([ids, updates], on, _attrs, node) => {
  const [rows, columns] = node.results[0]!.shape as [number, number];
  const data: BigFloat[] = new Array<BigFloat>(rows * columns).fill(bigFloat(0));
  updates!.data.forEach((value, i) => {
    const to = Number(ids!.data[Math.floor(i / columns)]) * columns + (i % columns);
    data[to] = on.add(data[to]!, value);
  });
  return data;
};

const fixed: Rule = (_operands, _on, attrs, node) => {
  const values = node.op.evaluate([], attrs, [node.results[0]!.type])[0]!;
  // Numbers that a float32 tensor repeats are float32.
  const { dtype } = values.type;
  return Array.from(values.data, (value) =>
    isFloat(dtype) ? bigFloat(dtype === "f32" ? Math.fround(value) : value) : value,
  );
};

const RULES: Readonly<Record<string, Rule>> = {
  abs: unary((on, x) => on.abs(x)),
  add: binary((on, a, b) => on.add(a, b)),
  cast: convert,
  constant: fixed,
  cos: unary((on, x) => on.cos(x)),
  div: binary((on, a, b) => on.div(a, b)),
  eq: compares((order) => order === 0),
  exp: unary((on, x) => on.exp(x)),
  floor: unary((on, x) => on.integer(x, true)),
  iota: fixed,
  le: compares((order) => order <= 0),
  log: unary((on, x) => on.log(x)),
  logical_and: binary((_on, a, b) => Number(a) * Number(b)),
  logical_not: unary((_on, x) => 1 - Number(x)),
  lt: compares((order) => order < 0),
  matmul: product,
  max: binary(larger),
  min: binary((on, a, b) => (on.compare(a, b) < 0 ? a : b)),
  mul: binary((on, a, b) => on.mul(a, b)),
  neg: unary((on, x) => on.neg(x)),
  pow: power,
  reduce_max: reduce(-Infinity, larger),
  reduce_sum: reduce(bigFloat(0), (on, a, b) => on.add(a, b)),
  round: unary((on, x) => on.integer(x)),
  rsqrt: unary((on, x) => on.div(ONE, on.sqrt(x))),
  scatter_add: scatterAdd,
  select: ([mask, a, b]) => a!.data.map((value, i) => (mask!.data[i] === 0 ? b!.data[i]! : value)),
  sigmoid: unary((on, x) => on.div(ONE, on.add(ONE, on.exp(on.neg(x))))),
  sin: unary((on, x) => on.sin(x)),
  splat: fixed,
  sqrt: unary((on, x) => on.sqrt(x)),
  sub: binary((on, a, b) => on.sub(a, b)),
  tanh: unary((on, x) => on.tanh(x)),
};

/** Ops whose results are elements of their inputs, or zeros. */
const MOVES = new Set([
  "after",
  "broadcast",
  "checkpoint_name",
  "concat",
  "dynamic_slice",
  "dynamic_update_slice",
  "gather",
  "pad",
  "reshape",
  "slice",
  "stop_gradient",
  "transpose",
]);

/** Runs an op's reference on numbers of elements, counted from 1, and takes the elements that come out. */
const moveElements: Rule = (operands, _on, attrs, node) => {
  const elements: BigFloat[] = [isFloat(node.results[0]!.dtype) ? bigFloat(0) : 0];
  const numbered = operands.map(({ type, data }) => {
    // Ids and starts are read, not moved.
    if (type.dtype !== node.results[0]!.dtype) return { type, data: Float64Array.from(data as readonly number[]) };
    return { type, data: Float64Array.from(data, (value) => elements.push(value) - 1) };
  });
  const moved = node.op.evaluate(numbered, attrs, [node.results[0]!.type])[0]!;
  return Array.from(moved.data, (at) => elements[at]!);
};

function evaluateScan(node: Node, operands: readonly BigTensor[], on: BigFloats): BigTensor[] {
  if (node.attrs["limited"] === true) throw new NoOracleRuleError("scan with a limit");
  const body = node.attrs["body"] as Graph;
  const [constants, carries, length] = ["constants", "carries", "length"].map((key) => Number(node.attrs[key]));
  let carry = operands.slice(constants!, constants! + carries!);
  const stacks = operands.slice(constants! + carries!);
  const outputs = node.results.slice(carries).map(({ type }) => ({ type, data: new Array<BigFloat>() }));
  const slices = outputs.map(() => new Array<readonly BigFloat[]>(length!));
  for (let step = 0; step < length!; step++) {
    const t = node.attrs["reverse"] === true ? length! - 1 - step : step;
    const parts = stacks.map((stack, i): BigTensor => {
      const { type } = body.parameters[constants! + carries! + i]!;
      const size = elementCount(type.shape);
      return { type, data: stack.data.slice(t * size, (t + 1) * size) };
    });
    const results = evaluateBig(body, [...operands.slice(0, constants), ...carry, ...parts], on);
    carry = results.slice(0, carries);
    results.slice(carries).forEach(({ data }, i) => (slices[i]![t] = data));
  }
  return [...carry, ...outputs.map(({ type }, i) => ({ type, data: slices[i]!.flat() }))];
}
