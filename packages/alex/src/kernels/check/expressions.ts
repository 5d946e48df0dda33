// Expressions: names are resolved, types found, indices checked for rank and type, helpers inlined, units multiplied.

import { ProblemError, refuse } from "../diagnostics.ts";
import type { Span } from "../diagnostics.ts";
import type { BinaryOp, CompareOp, KernelArray, KernelExpr, ScalarType } from "../ir/kernel_ir.ts";
import type { BinaryOperator, Expression } from "../syntax/ast.ts";
import { inlineHelper } from "./helpers.ts";
import { buildPower, divideWhole, MATH_CONSTANTS, MATH_FUNCTIONS, wholeQuotient } from "./math_calls.ts";
import type { MathContext } from "./math_calls.ts";
import type { Scope, Session } from "./session.ts";
import { formatUnit, multiplyUnits, parseUnit, sameUnit } from "./units.ts";
import type { Unit } from "./units.ts";
import * as values from "./values.ts";
import type { Value } from "./values.ts";

/** A part of an array: some of its indices are chosen. */
export interface View {
  readonly array: KernelArray;
  readonly indices: readonly KernelExpr[];
}

/** Helpers that are being inlined, outermost first. */
export type Trail = readonly string[];

const ARITHMETIC: Partial<Record<BinaryOperator, BinaryOp>> = { "+": "add", "-": "sub", "*": "mul", "/": "div" };
const BITS: Partial<Record<BinaryOperator, BinaryOp>> = {
  "&": "and",
  "|": "or",
  "^": "xor",
  "<<": "shl",
  ">>": "shr_s",
  ">>>": "shr_u",
};
const COMPARE: Partial<Record<BinaryOperator, CompareOp>> = {
  "<": "lt",
  "<=": "le",
  ">": "gt",
  ">=": "ge",
  "===": "eq",
  "!==": "ne",
};

/** Checks expressions in one scope. */
export class ExpressionChecker {
  readonly session: Session;
  readonly scope: Scope;
  readonly trail: Trail;

  constructor(session: Session, scope: Scope, trail: Trail = []) {
    this.session = session;
    this.scope = scope;
    this.trail = trail;
  }

  /** The value of an expression. Throws `ProblemError`. */
  check(expression: Expression): Value {
    const { span } = expression;
    this.session.count(span);
    switch (expression.kind) {
      case "number":
        return { expr: values.numberExpr(expression.value, this.session.arithmetic, span), unit: undefined };
      case "boolean":
        return { expr: values.boolExpr(expression.value, span), unit: undefined };
      case "string":
      case "list":
        return refuse("FK003", span, "kernels compute with numbers and booleans only");
      case "name":
      case "index":
        return this.#read(expression);
      case "member":
        return this.#member(expression);
      case "call":
        return this.#call(expression);
      case "unary":
        return this.#unary(expression);
      case "binary":
        return this.#binary(expression);
      case "conditional":
        return this.#conditional(expression);
    }
  }

  /** A number that is whole, for an index or a bound. */
  checkIndex(expression: Expression): KernelExpr {
    const { expr } = this.check(expression);
    if (expr.type === "i32") return expr;
    refuse("FK008", expression.span, "an index is a whole number", {
      expected: "i32",
      got: values.typeName(expr.type),
      hint: "round it: Math.floor(i / 2), or (x | 0)",
    });
  }

  /** The array, or part of one, that an expression names; undefined when it names none. */
  view(expression: Expression): View | undefined {
    if (expression.kind === "name") {
      const binding = this.scope.find(expression.name);
      if (binding?.kind === "refused") {
        throw new ProblemError({ code: "FK004", span: expression.span, message: "refused where it is declared" }, true);
      }
      return binding?.kind === "view" ? binding : undefined;
    }
    if (expression.kind !== "index") return undefined;
    const base = this.view(expression.object);
    if (base === undefined) return undefined;
    if (base.indices.length >= base.array.shape.length) this.#tooManyIndices(base.array, expression.span);
    return { array: base.array, indices: [...base.indices, this.checkIndex(expression.index)] };
  }

  /** Operands that are added, compared or chosen between have one unit. */
  requireSameUnit(a: Value, b: Value, span: Span): Unit {
    const left = a.expr.kind === "const" ? undefined : a.unit;
    const right = b.expr.kind === "const" ? undefined : b.unit;
    if (sameUnit(left, right)) return left ?? right;
    refuse("FK022", span, "the units of these values differ", {
      got: `${formatUnit(left)} and ${formatUnit(right)}`,
      hint: "multiply by a factor that has the unit of the quotient",
    });
  }

  /** Gives `value` a name where it would be computed twice. */
  share(value: KernelExpr, body: (shared: KernelExpr) => KernelExpr): KernelExpr {
    if (value.kind === "const" || value.kind === "local") return body(value);
    const { span, type } = value;
    const local = this.session.local("shared", type, "constant", span);
    const inner = body({ kind: "local", local, type, span });
    return { kind: "let", local, value, body: inner, type: inner.type, span };
  }

  #tooManyIndices(array: KernelArray, span: Span): never {
    refuse("FK007", span, `${array.name} has ${array.shape.length} dims`, {
      expected: `${array.name}${array.shape.map(() => "[i]").join("")}`,
      got: "one index more",
    });
  }

  #read(expression: Expression & { readonly kind: "name" | "index" }): Value {
    const { span } = expression;
    const view = this.view(expression);
    if (view !== undefined) return this.load(view, span);
    if (expression.kind === "index") {
      // A name that is not known says more than that it is no array.
      this.check(expression.object);
      return refuse("FK013", expression.object.span, "only arrays have elements", { hint: "name the array" });
    }
    const { name } = expression;
    const constant = MATH_CONSTANTS.get(name);
    if (constant !== undefined)
      return { expr: values.numberExpr(constant, this.session.arithmetic, span), unit: undefined };
    const binding = this.scope.find(name);
    if (binding?.kind === "local") {
      const { local } = binding;
      const unit =
        binding.variable === undefined ? binding.unit : this.session.table.get(binding.variable.ordinal)?.unit;
      return { expr: { kind: "local", local, type: local.type, span }, unit };
    }
    if (binding?.kind === "constant") return { expr: { ...binding.expr, span }, unit: binding.unit };
    if (binding?.kind === "helper") return refuse("FK013", span, `${name} is a function; call it`);
    return refuse("FK004", span, `${name} is not known in this kernel`, {
      hint:
        nearest(name, this.scope.names()) ?? "kernels see their parameters, and constants and helpers of their file",
    });
  }

  /** One element. */
  load(view: View, span: Span): Value {
    const { array, indices } = view;
    if (indices.length < array.shape.length) {
      refuse("FK007", span, `${array.name} has ${array.shape.length} dims`, {
        expected: `${array.name}${array.shape.map(() => "[i]").join("")}`,
        got: `${indices.length} indices`,
      });
    }
    const { arithmetic } = this.session;
    const unit = array.unit === undefined ? undefined : parseUnit(array.unit);
    const type: ScalarType = array.element === "ternary" ? "i32" : array.element;
    const load: KernelExpr = { kind: "load", array, indices, type, span };
    return { expr: type === "f32" && arithmetic === "f64" ? values.convertTo(load, "f64") : load, unit };
  }

  #member(expression: Expression & { readonly kind: "member" }): Value {
    const { object, property, span } = expression;
    const { arithmetic } = this.session;
    const constant = object.kind === "name" ? MATH_CONSTANTS.get(`${object.name}.${property}`) : undefined;
    if (constant !== undefined) return { expr: values.numberExpr(constant, arithmetic, span), unit: undefined };
    const view = this.view(object);
    const dim = view?.array.shape[view.indices.length];
    if (view !== undefined && property === "length" && dim !== undefined) {
      return { expr: values.numberExpr(dim, arithmetic, span), unit: undefined };
    }
    if (view?.array.element === "ternary" && property === "scale" && view.indices.length === 0) {
      const scale: KernelExpr = { kind: "scale", array: view.array, type: "f32", span };
      const unit = view.array.unit === undefined ? undefined : parseUnit(view.array.unit);
      return { expr: arithmetic === "f64" ? values.convertTo(scale, "f64") : scale, unit };
    }
    return refuse("FK003", span, `there is no .${property} here`, {
      expected: "length of an array, or scale of a ternary matrix",
    });
  }

  #call(expression: Expression & { readonly kind: "call" }): Value {
    const { callee, args, span } = expression;
    const math = Object.hasOwn(MATH_FUNCTIONS, callee) ? MATH_FUNCTIONS[callee] : undefined;
    if (math !== undefined) {
      const fits = math.count === Infinity ? args.length > 0 : args.length === math.count;
      if (!fits) {
        refuse("FK016", span, `${callee} takes ${math.count === Infinity ? "one or more arguments" : math.count}`, {
          got: `${args.length}`,
        });
      }
      return math.build(
        args.map((arg) => this.check(arg)),
        this.#mathContext(span),
      );
    }
    const binding = this.scope.find(callee);
    if (binding?.kind === "helper") return inlineHelper(this, binding.read, args, span);
    return refuse("FK014", span, `${callee} cannot be called in a kernel`, {
      hint: callee.startsWith("Math.")
        ? `use one of ${Object.keys(MATH_FUNCTIONS).join(", ")}`
        : "declare a helper function in the kernel's file",
    });
  }

  #mathContext(span: Span): MathContext {
    return {
      arithmetic: this.session.arithmetic,
      span,
      share: (value, body) => this.share(value, body),
      requireSameUnit: (a, b) => this.requireSameUnit(a, b, span),
    };
  }

  #unary(expression: Expression & { readonly kind: "unary" }): Value {
    const { operator, span } = expression;
    const { arithmetic } = this.session;
    const a = this.check(expression.a);
    if (operator === "!")
      return { expr: values.unaryExpr("not", values.requireBool(a.expr), span, arithmetic), unit: undefined };
    const number = values.requireNumber(a.expr);
    if (operator === "+") return { expr: number, unit: a.unit };
    if (operator === "-") return { expr: values.unaryExpr("neg", number, span, arithmetic), unit: a.unit };
    const ones: KernelExpr = { kind: "const", value: -1, type: "i32", span };
    return { expr: this.#bits("xor", number, ones, span), unit: undefined };
  }

  #binary(expression: Expression & { readonly kind: "binary" }): Value {
    const { operator, span } = expression;
    const { arithmetic } = this.session;
    const [a, b] = [this.check(expression.a), this.check(expression.b)];
    if (operator === "&&" || operator === "||") {
      const [left, right] = [values.requireBool(a.expr), values.requireBool(b.expr)];
      const expr =
        operator === "&&"
          ? values.selectExpr(left, right, values.boolExpr(false, span), span)
          : values.selectExpr(left, values.boolExpr(true, span), right, span);
      return { expr, unit: undefined };
    }
    const compare = COMPARE[operator];
    if (compare !== undefined) return this.#compare(compare, a, b, span);
    const left: Value = { expr: values.requireNumber(a.expr), unit: a.unit };
    const right: Value = { expr: values.requireNumber(b.expr), unit: b.unit };
    if (operator === "**") return buildPower(left, right, this.#mathContext(span));
    if (operator === "%") return { expr: this.#remainder(left.expr, right.expr, span), unit: left.unit };
    const bits = BITS[operator];
    if (bits !== undefined) return { expr: this.#bits(bits, left.expr, right.expr, span), unit: undefined };
    const op = ARITHMETIC[operator]!;
    if (op === "add" || op === "sub") {
      const unit = this.requireSameUnit(left, right, span);
      return { expr: values.binaryExpr(op, left.expr, right.expr, span, arithmetic), unit };
    }
    const unit = multiplyUnits(values.factorUnit(left), values.factorUnit(right), op === "mul" ? 1 : -1);
    const expr = op === "div" ? this.#quotient(left.expr, right.expr, span) : undefined;
    return { expr: expr ?? values.binaryExpr(op, left.expr, right.expr, span, arithmetic), unit };
  }

  #compare(op: CompareOp, a: Value, b: Value, span: Span): Value {
    this.requireSameUnit(a, b, span);
    const bools = a.expr.type === "bool" && b.expr.type === "bool";
    if (bools && op !== "eq" && op !== "ne") values.requireNumber(a.expr);
    const number = (expr: KernelExpr): KernelExpr => (bools ? values.convertTo(expr, "i32") : expr);
    return { expr: values.compareExpr(op, number(a.expr), number(b.expr), span), unit: undefined };
  }

  /** A quotient of whole numbers is a fraction, as in JavaScript. */
  #quotient(a: KernelExpr, b: KernelExpr, span: Span): KernelExpr | undefined {
    if (a.type !== "i32" || b.type !== "i32" || (a.kind === "const" && b.kind === "const")) return undefined;
    const { arithmetic } = this.session;
    return values.binaryExpr("div", values.convertTo(a, arithmetic), values.convertTo(b, arithmetic), span, arithmetic);
  }

  #remainder(a: KernelExpr, b: KernelExpr, span: Span): KernelExpr {
    if (a.kind === "const" && b.kind === "const") return values.binaryExpr("rem", a, b, span, this.session.arithmetic);
    if (a.type !== "i32" || b.type !== "i32") {
      refuse("FK013", span, "the remainder is that of whole numbers", {
        got: `${values.typeName(a.type)} % ${values.typeName(b.type)}`,
        hint: "write x - Math.trunc(x / y) * y",
      });
    }
    if (b.kind !== "const" || b.value === 0) {
      refuse("FK024", b.span, "the divisor of a remainder is a constant that is not 0", {
        hint: "write a - Math.trunc(a / b) * b",
      });
    }
    return values.binaryExpr("rem", a, b, span, this.session.arithmetic);
  }

  #bits(op: BinaryOp, a: KernelExpr, b: KernelExpr, span: Span): KernelExpr {
    const { arithmetic } = this.session;
    const zero = op === "or" && b.kind === "const" && b.value === 0;
    if (zero && a.type !== "i32" && a.kind !== "const") {
      // `x | 0` is how JavaScript writes the whole part of x.
      const quotient = wholeQuotient(a);
      if (quotient === undefined) return values.convertTo(a, "i32");
      return divideWhole(quotient, "trunc", { arithmetic, span, share: (value, body) => this.share(value, body) });
    }
    for (const { expr } of [{ expr: a }, { expr: b }]) {
      if (expr.type === "i32") continue;
      refuse("FK013", expr.span, "bits are those of whole numbers", {
        expected: "i32",
        got: values.typeName(expr.type),
        hint: "convert it first: (x | 0)",
      });
    }
    if (op === "shr_u" && (b.kind !== "const" || (b.value & 31) === 0) && a.kind !== "const") {
      refuse("FK013", span, "x >>> n needs a constant n from 1 to 31, so that the result is an i32", {
        hint: "write x >> n for numbers that are not negative",
      });
    }
    return values.binaryExpr(op, a, b, span, arithmetic);
  }

  #conditional(expression: Expression & { readonly kind: "conditional" }): Value {
    const condition = values.requireBool(this.check(expression.condition).expr);
    const [a, b] = [this.check(expression.a), this.check(expression.b)];
    const unit = this.requireSameUnit(a, b, expression.span);
    return { expr: values.selectExpr(condition, a.expr, b.expr, expression.span), unit };
  }
}

/** "did you mean" for a name that differs in case or by one letter. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const close = names.find((other) => other.toLowerCase() === name.toLowerCase() || differsByOne(other, name));
  return close === undefined ? undefined : `did you mean ${close}?`;
}

function differsByOne(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1 || Math.min(a.length, b.length) < 3) return false;
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  const skip = (text: string, other: string): string => text.slice(start + (text.length >= other.length ? 1 : 0));
  return skip(a, b) === skip(b, a);
}
