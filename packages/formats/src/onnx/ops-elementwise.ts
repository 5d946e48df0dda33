// ONNX's operators that compute element by element (github.com/onnx/onnx, docs/Operators.md), each in core's ops.

import { cast, isFloat } from "@fidelity/core";
import type { OpName, Tensor } from "@fidelity/core";
import type { NodeContext } from "./node-context.ts";
import { knownValues } from "./node-context.ts";
import { add, apply, binary, castTo, div, inFloats, mul, sub, where } from "./tensors.ts";

/** Traces a node: its results, of which the last ones may be missing where nobody can use them. */
export type OnnxOperator = (node: NodeContext) => Tensor | readonly Tensor[];

const unary =
  (op: OpName): OnnxOperator =>
  (node) =>
    apply(op, [node.input(0)]);

/** The same on integers, by way of float64. */
const viaFloats =
  (compute: (x: Tensor) => Tensor): OnnxOperator =>
  (node) =>
    inFloats(node.input(0), compute);

const arithmetic =
  (op: OpName): OnnxOperator =>
  (node) =>
    binary(op, node.input(0), node.input(1));

/** Bools are compared as numbers. */
const comparison =
  (compare: (a: Tensor, b: Tensor) => Tensor): OnnxOperator =>
  (node) => {
    const [a, b] = [node.input(0), node.input(1)].map((x) => (x.dtype === "bool" ? cast(x, "i32") : x));
    return compare(a, b);
  };

const not = (x: Tensor): Tensor => apply("logical_not", [x]);

const fold =
  (op: OpName): OnnxOperator =>
  (node) =>
    node.inputs.slice(1).reduce((x, y) => binary(op, x, y), node.input(0));

function divide(node: NodeContext): Tensor {
  const [a, b] = [node.input(0), node.input(1)];
  if (isFloat(a.dtype)) return div(a, b);
  return cast(div(cast(a, "f64"), cast(b, "f64")), "i32"); // ONNX's integer division truncates, as cast does
}

function modulo(node: NodeContext): Tensor {
  if (node.integer("fmod", 0) !== 0) node.unsupported("fmod 0", "fmod 1");
  const [a, b] = [node.input(0), node.input(1)].map((x) => cast(x, "f64"));
  return cast(sub(a, mul(b, apply("floor", [div(a, b)]))), node.input(0).dtype);
}

/** x^p for a power that is known, or that of two; e^(p ln x) otherwise, for positive x. */
function power(node: NodeContext): Tensor {
  const x = node.input(0);
  const exponents = knownValues(node.input(1));
  if (exponents === undefined || exponents.length !== 1) {
    return apply("exp", [mul(cast(node.input(1), x.dtype), apply("log", [x]))]);
  }
  return inFloats(x, (value) => powerOf(value, exponents[0]));
}

/** Whole powers by products, since core's pow takes positive numbers. */
function powerOf(x: Tensor, exponent: number): Tensor {
  if (exponent === 0.5) return apply("sqrt", [x]);
  if (!Number.isInteger(exponent) || Math.abs(exponent) > 64) return apply("pow", [x], { exponent });
  if (exponent < 0) return div(1, powerOf(x, -exponent));
  if (exponent === 0) return add(mul(x, 0), 1);
  if (exponent === 1) return x;
  const half = powerOf(x, Math.floor(exponent / 2));
  return exponent % 2 === 0 ? mul(half, half) : mul(mul(half, half), x);
}

function clip(node: NodeContext): Tensor {
  let x = node.input(0);
  const [low, high] = [node.maybe(1), node.maybe(2)];
  if (low !== undefined) x = binary("max", x, low);
  return high === undefined ? x : binary("min", x, high);
}

function leakyRelu(x: Tensor, alpha: number): Tensor {
  return where(binary("le", 0, x), x, mul(x, alpha));
}

function elu(x: Tensor, alpha: number): Tensor {
  const below = mul(sub(apply("exp", [binary("min", x, 0)]), 1), alpha);
  return where(binary("le", 0, x), x, below);
}

/** x Phi(x), or its approximation by tanh. */
export function gelu(x: Tensor, isApproximate: boolean): Tensor {
  return apply(isApproximate ? "gelu" : "gelu_exact", [x]);
}

const logicalAnd = (a: Tensor, b: Tensor): Tensor => binary("logical_and", a, b);
const negative = (x: Tensor): Tensor => mul(x, -1);

export const ELEMENTWISE: Readonly<Record<string, OnnxOperator>> = {
  Abs: viaFloats((x) => apply("abs", [x])),
  Add: arithmetic("add"),
  And: (node) => logicalAnd(node.input(0), node.input(1)),
  Ceil: (node) => negative(apply("floor", [negative(node.input(0))])),
  Clip: clip,
  Cos: unary("cos"),
  Div: divide,
  Elu: (node) => elu(node.input(0), node.float("alpha", 1)),
  Equal: comparison((a, b) => binary("eq", a, b)),
  Erf: unary("erf"),
  Exp: unary("exp"),
  Floor: unary("floor"),
  Gelu: (node) => gelu(node.input(0), node.text("approximate", "none") === "tanh"),
  Greater: comparison((a, b) => binary("lt", b, a)),
  GreaterOrEqual: comparison((a, b) => binary("le", b, a)),
  HardSigmoid: (node) => {
    const line = add(mul(node.input(0), node.float("alpha", 0.2)), node.float("beta", 0.5));
    return binary("min", binary("max", line, 0), 1);
  },
  IsNaN: (node) => not(binary("eq", node.input(0), node.input(0))),
  LeakyRelu: (node) => leakyRelu(node.input(0), node.float("alpha", 0.01)),
  Less: comparison((a, b) => binary("lt", a, b)),
  LessOrEqual: comparison((a, b) => binary("le", a, b)),
  Log: unary("log"),
  Max: fold("max"),
  Min: fold("min"),
  Mod: modulo,
  Mul: arithmetic("mul"),
  Neg: (node) => negative(node.input(0)),
  Not: (node) => not(node.input(0)),
  Or: (node) => not(logicalAnd(not(node.input(0)), not(node.input(1)))),
  Pow: power,
  Reciprocal: (node) => div(1, node.input(0)),
  Relu: viaFloats((x) => apply("relu", [x])),
  Round: unary("round"),
  Sigmoid: unary("sigmoid"),
  Sign: viaFloats((x) => sub(cast(binary("lt", 0, x), x.dtype), cast(binary("lt", x, 0), x.dtype))),
  Sin: unary("sin"),
  Softplus: unary("softplus"),
  Sqrt: unary("sqrt"),
  Sub: arithmetic("sub"),
  Sum: fold("add"),
  Tanh: unary("tanh"),
  Where: (node) => where(castTo(node.input(0), "bool"), node.input(1), node.input(2)),
};
