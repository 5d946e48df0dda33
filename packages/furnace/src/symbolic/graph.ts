// Between graphs of tensors and expressions: a graph of elementwise ops is read as a formula of one element, and a
// formula is built over tensors, which compiles like anything else.

import * as T from "@fidelity/core";
import type { Graph, Node, Shape, Tensor } from "@fidelity/core";
import {
  and,
  call,
  comparing,
  difference,
  negated,
  not,
  number,
  power,
  product,
  quotient,
  reciprocal,
  select,
  squareRoot,
  sum,
  variable,
} from "./build.ts";
import { valueOf } from "./build.ts";
import type { Condition, Expression } from "./expression.ts";
import { isCondition, partsOf, SymbolicError } from "./expression.ts";
import type { FunctionName } from "./functions.ts";
import type { SymbolicFunction } from "./parse.ts";
import * as Q from "./rational.ts";

const sigmoid = (x: Expression): Expression => reciprocal(sum(1, call("exp", negated(x))));
const gelu = (x: Expression): Expression => {
  const inner = product(squareRoot(2 / Math.PI), sum(x, product(0.044715, power(x, 3))));
  return product(0.5, x, sum(1, call("tanh", inner)));
};

/** What an op over tensors of one shape computes for each element. */
const REALS: Readonly<Record<string, (...inputs: Expression[]) => Expression>> = {
  abs: (x) => call("abs", x!),
  add: (x, y) => sum(x!, y!),
  broadcast: (x) => x!,
  cast: (x) => x!,
  cos: (x) => call("cos", x!),
  div: (x, y) => quotient(x!, y!),
  exp: (x) => call("exp", x!),
  floor: (x) => call("floor", x!),
  gelu: (x) => gelu(x!),
  log: (x) => call("log", x!),
  max: (x, y) => call("max", x!, y!),
  min: (x, y) => call("min", x!, y!),
  mul: (x, y) => product(x!, y!),
  neg: (x) => negated(x!),
  relu: (x) => call("max", x!, 0),
  reshape: (x) => x!,
  rsqrt: (x) => power(x!, number(Q.rational(-1, 2))),
  sigmoid: (x) => sigmoid(x!),
  silu: (x) => product(x!, sigmoid(x!)),
  sin: (x) => call("sin", x!),
  softplus: (x) => call("log", sum(1, call("exp", x!))),
  sqrt: (x) => squareRoot(x!),
  square: (x) => power(x!, 2),
  sub: (x, y) => difference(x!, y!),
  tanh: (x) => call("tanh", x!),
};

const TRUTHS: Readonly<Record<string, (a: Expression, b: Expression) => Condition>> = {
  eq: (a, b) => comparing(a, "==", b),
  le: (a, b) => comparing(a, "<=", b),
  lt: (a, b) => comparing(a, "<", b),
};

/**
 * The formula of a graph with one result, each parameter a variable named x0, x1, ... in their order. Shapes do not
 * matter: it is what happens to one element. Throws `SymbolicError` that names the op where the graph mixes elements.
 */
export function fromGraph(graph: Graph): SymbolicFunction {
  const [root] = graph.results;
  if (root === undefined || graph.results.length > 1) {
    throw new SymbolicError("a formula has one result", { where: graph.name, got: `${graph.results.length}` });
  }
  const parameters = graph.parameters.map((_, i) => `x${i}`);
  const reals = new Map<Tensor, Expression>();
  const truths = new Map<Tensor, Condition>();
  graph.parameters.forEach((parameter, i) => reals.set(parameter, variable(parameters[i]!)));
  for (const node of T.topologicalOrder([root])) {
    const [result] = node.results;
    if (reals.has(result!)) continue;
    const truth = truthOf(node, reals, truths);
    if (truth === undefined) reals.set(result!, realOf(node, reals, truths, graph.name));
    else truths.set(result!, truth);
  }
  const body = reals.get(root);
  if (body === undefined) throw new SymbolicError("a formula gives a number, not a condition", { where: graph.name });
  return { parameters, body };
}

function truthOf(
  node: Node,
  reals: ReadonlyMap<Tensor, Expression>,
  truths: ReadonlyMap<Tensor, Condition>,
): Condition | undefined {
  const [x, y] = node.inputs;
  if (node.op.name === "logical_not") return not(truths.get(x!)!);
  if (node.op.name === "logical_and") return and(truths.get(x!)!, truths.get(y!)!);
  const [a, b] = [x && reals.get(x), y && reals.get(y)];
  if (a === undefined) return x && node.op.name === "broadcast" ? truths.get(x) : undefined;
  return b && Object.hasOwn(TRUTHS, node.op.name) ? TRUTHS[node.op.name]!(a, b) : undefined;
}

function realOf(
  { op, inputs, attrs, results }: Node,
  reals: ReadonlyMap<Tensor, Expression>,
  truths: ReadonlyMap<Tensor, Condition>,
  where: string,
): Expression {
  const value = attrs["value"];
  if (op.name === "splat" && typeof value === "number" && Number.isFinite(value)) return number(value);
  const operands = inputs.map((input) => reals.get(input));
  if (op.name === "select") {
    const [mask] = inputs;
    const condition = truths.get(mask!);
    if (condition && operands[1] && operands[2]) return select(condition, operands[1], operands[2]);
  }
  const isReal = operands.every((operand) => operand !== undefined) && T.isFloat(results[0]!.dtype);
  if (isReal && op.name === "pow" && typeof attrs["exponent"] === "number") {
    return power(operands[0]!, number(attrs["exponent"]));
  }
  if (isReal && Object.hasOwn(REALS, op.name)) return REALS[op.name]!(...operands);
  throw new SymbolicError(`the op ${op.name} is not a formula of single elements`, {
    where,
    expected: `one of ${[...Object.keys(REALS), ...Object.keys(TRUTHS), "select", "splat"].sort().join(", ")}`,
    hint: "differentiate the graph itself with grad or jvp",
  });
}

/** Functions that are ops of core, or short compositions of them. */
const TENSOR_FUNCTIONS: Readonly<Partial<Record<FunctionName, (a: Real, b: Real) => Real>>> = {
  abs: (a) => T.abs(a),
  ceil: (a) => T.neg(T.floor(T.neg(a))),
  cos: (a) => T.cos(a),
  cosh: (a) => T.mul(T.add(T.exp(a), T.exp(T.neg(a))), 0.5),
  exp: (a) => T.exp(a),
  floor: (a) => T.floor(a),
  log: (a) => T.log(a),
  max: (a, b) => T.max(a, b),
  min: (a, b) => T.min(a, b),
  sign: (a) => T.sub(T.select(T.lt(0, a), ones(a), 0), T.select(T.lt(a, 0), ones(a), 0)),
  sigmoid: (a) => T.sigmoid(a),
  sin: (a) => T.sin(a),
  sinh: (a) => T.mul(T.sub(T.exp(a), T.exp(T.neg(a))), 0.5),
  tan: (a) => T.div(T.sin(a), T.cos(a)),
  tanh: (a) => T.tanh(a),
};

/** Stands for either float dtype, which no function here looks at. */
type Real = Tensor<Shape, "f32">;
type Truth = Tensor<Shape, "bool">;
const ones = (like: Real): Real => T.splat(1, like.shape, like.dtype) as Real;

/**
 * Builds the formula over tensors, one for each variable, all of one float dtype and shape. Inside a trace. Throws
 * `SymbolicError` for a variable without a tensor and for functions that tensors do not have.
 */
export function toTensor<D extends "f32" | "f64">(
  e: Expression,
  tensors: Readonly<Record<string, Tensor<Shape, D>>>,
): Tensor<Shape, D> {
  const [first] = Object.values(tensors) as Tensor[];
  if (first === undefined) throw new SymbolicError("a formula over tensors needs one of them for its shape");
  const reals = new Map<Expression, Real>();
  const truths = new Map<Condition, Truth>();
  const real = (part: Expression): Real => reals.get(part)!;
  const splat = (value: number): Real => T.splat(value, first.shape, first.dtype) as Real;
  for (const part of partsOf([e])) {
    if (isCondition(part)) truths.set(part, conditionOf(part, real, truths, splat));
    else if (part.kind === "select") {
      reals.set(part, T.select(truths.get(part.condition)!, real(part.then), real(part.otherwise)) as Real);
    } else if (part.kind === "variable") {
      const tensor = Object.hasOwn(tensors, part.name) ? tensors[part.name] : undefined;
      if (tensor === undefined) throw new SymbolicError(`the variable ${part.name} has no tensor`);
      reals.set(part, tensor as Tensor as Real);
    } else reals.set(part, tensorOf(part, real, splat));
  }
  return real(e) as Tensor as Tensor<Shape, D>;
}

type Splat = (value: number) => Real;

function conditionOf(
  c: Condition,
  real: (part: Expression) => Real,
  truths: ReadonlyMap<Condition, Truth>,
  splat: Splat,
): Truth {
  if (c.kind === "truth") return T.lt(splat(0), splat(c.value ? 1 : 0));
  if (c.kind === "not") return T.logicalNot(truths.get(c.of)!);
  if (c.kind === "compare") {
    const [a, b] = [real(c.left), real(c.right)];
    return c.comparison === "<" ? T.lt(a, b) : c.comparison === "<=" ? T.le(a, b) : T.eq(a, b);
  }
  const [a, b] = [truths.get(c.left)!, truths.get(c.right)!];
  return c.kind === "and" ? T.logicalAnd(a, b) : T.logicalNot(T.logicalAnd(T.logicalNot(a), T.logicalNot(b)));
}

function tensorOf(
  e: Exclude<Expression, { kind: "variable" | "select" }>,
  real: (part: Expression) => Real,
  splat: Splat,
): Real {
  switch (e.kind) {
    case "number":
      return splat(Q.toNumber(e.value));
    case "constant":
      return splat(Math.PI);
    case "sum": {
      const terms = e.terms.map(({ coefficient, of }) => scale(real(of), Q.toNumber(coefficient)));
      if (!Q.isZero(e.constant)) terms.push(splat(Q.toNumber(e.constant)));
      return terms.reduce((total, term) => T.add(total, term));
    }
    case "product":
      return e.factors.map(real).reduce((total, factor) => T.mul(total, factor));
    case "power": {
      const exponent = valueOf(e.exponent);
      // core's pow takes constants, and any base where they are whole.
      if (exponent !== undefined) return T.pow(real(e.base), Q.toNumber(exponent)) as Real;
      return T.exp(T.mul(real(e.exponent), T.log(real(e.base))));
    }
    case "call": {
      const build = TENSOR_FUNCTIONS[e.name];
      if (build === undefined) throw new SymbolicError(`tensors have no ${e.name}`);
      return build(real(e.args[0]!), real(e.args[1] ?? e.args[0]!));
    }
  }
}

const scale = (x: Real, factor: number): Real => (factor === 1 ? x : factor === -1 ? T.neg(x) : T.mul(x, factor));
