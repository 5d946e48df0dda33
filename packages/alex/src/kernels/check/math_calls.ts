// The functions of Math that kernels may call, each with the IR that it becomes. A row is one function; what is not in
// the table is refused with the table as its advice.

import { refuse } from "../diagnostics.ts";
import type { Span } from "../diagnostics.ts";
import type { Arithmetic, KernelExpr, UnaryOp } from "../ir/kernel_ir.ts";
import type { Unit } from "./units.ts";
import { multiplyUnits, powerUnit } from "./units.ts";
import { binaryExpr, compareExpr, convertTo, numberExpr, requireNumber, selectExpr, unaryExpr } from "./values.ts";
import type { Value } from "./values.ts";

/** What a call may use of the checker. */
export interface MathContext {
  readonly arithmetic: Arithmetic;
  readonly span: Span;
  /** A name for a value that is used twice. */
  share(value: KernelExpr, body: (shared: KernelExpr) => KernelExpr): KernelExpr;
  requireSameUnit(a: Value, b: Value): Unit;
}

interface MathFunction {
  /** How many arguments; `Infinity` for as many as one likes, from one. */
  readonly count: number;
  build(args: readonly Value[], context: MathContext): Value;
}

const NO_UNIT: Unit = new Map();

/** Constants of Math, and the numbers that have names. */
export const MATH_CONSTANTS: ReadonlyMap<string, number> = new Map([
  ...(["PI", "E", "LN2", "LN10", "LOG2E", "LOG10E", "SQRT2", "SQRT1_2"] as const).map(
    (name) => [`Math.${name}`, Math[name]] as const,
  ),
  ["Infinity", Infinity],
  ["NaN", NaN],
]);

/** A function of one float, with no unit or the unit of its argument. */
function onFloat(op: UnaryOp, unitOf: (unit: Unit) => Unit = () => NO_UNIT): MathFunction {
  return {
    count: 1,
    build([a], { arithmetic, span }) {
      const number = requireNumber(a!.expr);
      const float = number.type === "i32" ? convertTo(number, arithmetic) : number;
      const expr =
        number.kind === "const" ? unaryExpr(op, number, span, arithmetic) : unaryExpr(op, float, span, arithmetic);
      return { expr, unit: unitOf(a!.unit) };
    },
  };
}

/** Rounding: a whole number stays as it is, and the quotient of two is divided as whole numbers. */
function rounding(op: "floor" | "ceil" | "trunc" | "round"): MathFunction {
  return {
    count: 1,
    build([a], context) {
      const { arithmetic, span } = context;
      const number = requireNumber(a!.expr);
      if (number.type === "i32") return { expr: number, unit: a!.unit };
      const quotient = wholeQuotient(number);
      if (quotient !== undefined && (op === "floor" || op === "trunc")) {
        return { expr: divideWhole(quotient, op, context), unit: a!.unit };
      }
      return { expr: unaryExpr(op, number, span, arithmetic), unit: a!.unit };
    },
  };
}

interface WholeQuotient {
  readonly a: KernelExpr;
  readonly divisor: number;
}

/** a / divisor, where a is a whole number and the divisor a whole constant. */
export function wholeQuotient(expr: KernelExpr): WholeQuotient | undefined {
  if (expr.kind !== "binary" || expr.op !== "div") return undefined;
  const a = expr.a.kind === "convert" ? expr.a.a : expr.a;
  const b = expr.b;
  if (a.type !== "i32" || b.kind !== "const" || !Number.isInteger(b.value) || b.value === 0) return undefined;
  return Math.abs(b.value) < 2 ** 31 ? { a, divisor: b.value } : undefined;
}

/** The quotient of whole numbers, towards zero or down. */
export function divideWhole(
  { a, divisor }: WholeQuotient,
  toward: "floor" | "trunc",
  { arithmetic, span, share }: Pick<MathContext, "arithmetic" | "span" | "share">,
): KernelExpr {
  const constant = (value: number): KernelExpr => ({ kind: "const", value, type: "i32", span });
  const quotient = (value: KernelExpr): KernelExpr => {
    return { kind: "binary", op: "div", a: value, b: constant(divisor), type: "i32", span };
  };
  if (toward === "trunc") return quotient(a);
  // Down: a quotient with a remainder of the other sign than the divisor is one too large.
  return share(a, (shared) => {
    const rest: KernelExpr = { kind: "binary", op: "rem", a: shared, b: constant(divisor), type: "i32", span };
    const tooLarge = compareExpr(divisor > 0 ? "lt" : "gt", rest, constant(0), span);
    const correction = selectExpr(tooLarge, constant(1), constant(0), span);
    return binaryExpr("sub", quotient(shared), correction, span, arithmetic);
  });
}

function extremum(op: "min" | "max"): MathFunction {
  return {
    count: Infinity,
    build(args, context) {
      return args
        .map((arg): Value => ({ expr: requireNumber(arg.expr), unit: arg.unit }))
        .reduce((a, b) => ({
          expr: binaryExpr(op, a.expr, b.expr, context.span, context.arithmetic),
          unit: context.requireSameUnit(a, b),
        }));
    },
  };
}

const abs: MathFunction = {
  count: 1,
  build: ([a], { arithmetic, span }) => ({
    expr: unaryExpr("abs", requireNumber(a!.expr), span, arithmetic),
    unit: a!.unit,
  }),
};

const sign: MathFunction = { ...onFloat("sign") };

const fround: MathFunction = {
  count: 1,
  build([a], { arithmetic }) {
    const number = requireNumber(a!.expr);
    if (number.kind === "const") {
      return { expr: { ...number, value: Math.fround(number.value), type: arithmetic }, unit: a!.unit };
    }
    return { expr: convertTo(convertTo(number, "f32"), arithmetic === "f64" ? "f64" : "f32"), unit: a!.unit };
  },
};

const imul: MathFunction = {
  count: 2,
  build([a, b], { arithmetic, span }) {
    for (const { expr } of [a!, b!]) {
      if (expr.type !== "i32") refuse("FK013", expr.span, "Math.imul multiplies whole numbers", { expected: "i32" });
    }
    if (a!.expr.kind === "const" && b!.expr.kind === "const") {
      return { expr: numberExpr(Math.imul(a!.expr.value, b!.expr.value), arithmetic, span), unit: NO_UNIT };
    }
    return { expr: binaryExpr("mul", a!.expr, b!.expr, span, arithmetic), unit: multiplyUnits(a!.unit, b!.unit) };
  },
};

const POWER_MAX = 64;

/** A power with a constant exponent: products, a square root, or exp and log. */
export function buildPower(base: Value, exponent: Value, context: MathContext): Value {
  const { arithmetic, span, share } = context;
  const power = exponent.expr;
  if (power.kind !== "const" || power.type === "bool") {
    refuse("FK003", exponent.expr.span, "the exponent of a power is a constant", {
      hint: "write Math.exp(y * Math.log(x))",
    });
  }
  const number = requireNumber(base.expr);
  if (number.kind === "const") {
    return { expr: numberExpr(number.value ** power.value, arithmetic, span), unit: NO_UNIT };
  }
  const n = power.value;
  const unit = powerUnit(base.unit, n);
  if (n === 0) return { expr: numberExpr(1, arithmetic, span), unit };
  const float = number.type === "i32" && n < 0 ? convertTo(number, arithmetic) : number;
  if (Number.isInteger(n) && Math.abs(n) <= POWER_MAX) {
    const product = share(float, (shared) => powerOf(shared, Math.abs(n), context));
    if (n > 0) return { expr: product, unit };
    return { expr: binaryExpr("div", numberExpr(1, arithmetic, span), product, span, arithmetic), unit };
  }
  const root = number.type === "i32" ? convertTo(number, arithmetic) : number;
  if (n === 0.5) return { expr: unaryExpr("sqrt", root, span, arithmetic), unit };
  const scaled = binaryExpr("mul", unaryExpr("log", root, span, arithmetic), power, span, arithmetic);
  return { expr: unaryExpr("exp", scaled, span, arithmetic), unit };
}

/** By squaring; each square is computed once. */
function powerOf(x: KernelExpr, n: number, context: MathContext): KernelExpr {
  const { arithmetic, span, share } = context;
  if (n === 1) return x;
  const half = powerOf(x, Math.floor(n / 2), context);
  return share(half, (shared) => {
    const square = binaryExpr("mul", shared, shared, span, arithmetic);
    return n % 2 === 0 ? square : binaryExpr("mul", square, x, span, arithmetic);
  });
}

const hypot: MathFunction = {
  count: 2,
  build([a, b], context) {
    const { arithmetic, span, share } = context;
    const square = (value: Value): KernelExpr =>
      share(requireNumber(value.expr), (x) => binaryExpr("mul", x, x, span, arithmetic));
    const sum = binaryExpr("add", square(a!), square(b!), span, arithmetic);
    const float = sum.type === "i32" ? convertTo(sum, arithmetic) : sum;
    return { expr: unaryExpr("sqrt", float, span, arithmetic), unit: context.requireSameUnit(a!, b!) };
  },
};

/** log(x) / log(base). */
function logarithm(base: number): MathFunction {
  return {
    count: 1,
    build(args, context) {
      const { expr } = MATH_FUNCTIONS["Math.log"]!.build(args, context);
      const factor: KernelExpr = {
        kind: "const",
        value: 1 / Math.log(base),
        type: context.arithmetic,
        span: context.span,
      };
      return { expr: binaryExpr("mul", expr, factor, context.span, context.arithmetic), unit: NO_UNIT };
    },
  };
}

export const MATH_FUNCTIONS: Readonly<Record<string, MathFunction>> = {
  "Math.abs": abs,
  "Math.sign": sign,
  "Math.sqrt": onFloat("sqrt", (unit) => powerUnit(unit, 0.5)),
  "Math.floor": rounding("floor"),
  "Math.ceil": rounding("ceil"),
  "Math.trunc": rounding("trunc"),
  "Math.round": rounding("round"),
  "Math.fround": fround,
  "Math.exp": onFloat("exp"),
  "Math.log": onFloat("log"),
  "Math.log2": logarithm(2),
  "Math.log10": logarithm(10),
  "Math.tanh": onFloat("tanh"),
  "Math.sin": onFloat("sin"),
  "Math.cos": onFloat("cos"),
  "Math.min": extremum("min"),
  "Math.max": extremum("max"),
  "Math.hypot": hypot,
  "Math.imul": imul,
  "Math.pow": { count: 2, build: ([a, b], context) => buildPower(a!, b!, context) },
};
