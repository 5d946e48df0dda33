// Helpers: functions of the kernel's file, inlined where they are called. A helper is an expression in the form of a
// function: constants, ifs that return, and a return. So it can stand anywhere in an expression, costs no call, and is
// evaluated only where its value is needed.

import { refuse } from "../diagnostics.ts";
import type { Span } from "../diagnostics.ts";
import type { KernelExpr } from "../ir/kernel_ir.ts";
import type { Expression, Statement } from "../syntax/ast.ts";
import type { ReadFunction } from "../syntax/module.ts";
import { ExpressionChecker } from "./expressions.ts";
import { Scope } from "./session.ts";
import type { Binding } from "./session.ts";
import { desugarSwitch } from "./switches.ts";
import * as values from "./values.ts";
import type { Value } from "./values.ts";

const DEPTH_MAX = 16;

/** The value of a call of a helper. Throws `ProblemError`. */
export function inlineHelper(
  caller: ExpressionChecker,
  read: ReadFunction,
  args: readonly Expression[],
  span: Span,
): Value {
  const { syntax, problems } = read;
  const { name, parameters } = syntax;
  const trail = [...caller.trail, name];
  if (caller.trail.includes(name) || trail.length > DEPTH_MAX) {
    refuse("FK015", span, `${name} calls itself, or helpers call each other too deep`, { got: trail.join(" > ") });
  }
  const [problem] = problems;
  if (problem !== undefined) {
    refuse(problem.code, problem.span, `${problem.message} (in the helper ${name})`, {
      ...(problem.hint !== undefined && { hint: problem.hint }),
    });
  }
  if (args.length !== parameters.length) {
    refuse("FK016", span, `${name} takes ${parameters.length} arguments`, { got: `${args.length}` });
  }
  // A helper sees what its file declares, not what its caller does.
  const scope = new Scope(caller.scope.root);
  const lets: { readonly local: KernelExpr & { readonly kind: "local" }; readonly value: KernelExpr }[] = [];
  for (const [i, parameter] of parameters.entries()) {
    const binding = bindArgument(caller, args[i]!, parameter.name, lets);
    scope.declare(parameter.name, binding, parameter.span);
  }
  const inner = new ExpressionChecker(caller.session, scope, trail);
  const { expr, unit } = valueOf(inner, syntax.body, syntax.name, syntax.span);
  const wrapped = lets.reduceRight<KernelExpr>((body, { local, value }) => {
    return { kind: "let", local: local.local, value, body, type: body.type, span };
  }, expr);
  return { expr: wrapped, unit };
}

function bindArgument(
  caller: ExpressionChecker,
  argument: Expression,
  name: string,
  lets: { local: KernelExpr & { readonly kind: "local" }; value: KernelExpr }[],
): Binding {
  const view = caller.view(argument);
  if (view !== undefined && view.indices.length < view.array.shape.length) return { kind: "view", ...view };
  const { expr, unit } = caller.check(argument);
  if (expr.kind === "const") return { kind: "constant", expr, unit };
  if (expr.kind === "local" && expr.local.role !== "variable") return { kind: "local", local: expr.local, unit };
  const local = caller.session.local(name, expr.type, "constant", expr.span);
  lets.push({ local: { kind: "local", local, type: expr.type, span: expr.span }, value: expr });
  return { kind: "local", local, unit };
}

/** The value that a list of statements returns. */
function valueOf(checker: ExpressionChecker, statements: readonly Statement[], name: string, span: Span): Value {
  const [first, ...rest] = statements;
  if (first === undefined) {
    refuse("FK015", span, `${name} does not return a value on every path`, { hint: "end it with a return" });
  }
  switch (first.kind) {
    case "return":
      if (first.value === undefined) refuse("FK015", first.span, `${name} returns no value`);
      return checker.check(first.value);
    case "block":
      return valueOf(checker, [...first.body, ...rest], name, span);
    case "switch":
      return valueOf(checker, [...desugarSwitch(first), ...rest], name, span);
    case "declare":
      return valueOfDeclaration(checker, first, rest, name, span);
    case "if":
      return valueOfIf(checker, first, rest, name, span);
    case "assign":
    case "for":
    case "break":
    case "continue":
      return refuse("FK015", first.span, `${name} has statements that a helper cannot have`, {
        expected: "const declarations, ifs that return, and a return",
        hint: "write this part in the kernel itself",
      });
  }
}

function valueOfDeclaration(
  checker: ExpressionChecker,
  statement: Statement & { readonly kind: "declare" },
  rest: readonly Statement[],
  name: string,
  span: Span,
): Value {
  const { expr, unit } = checker.check(statement.value);
  const scope = new Scope(checker.scope);
  const inner = new ExpressionChecker(checker.session, scope, checker.trail);
  if (expr.kind === "const") {
    scope.declare(statement.name, { kind: "constant", expr, unit }, statement.span);
    return valueOf(inner, rest, name, span);
  }
  const local = checker.session.local(statement.name, expr.type, "constant", statement.span);
  scope.declare(statement.name, { kind: "local", local, unit }, statement.span);
  const body = valueOf(inner, rest, name, span);
  return {
    expr: { kind: "let", local, value: expr, body: body.expr, type: body.expr.type, span: statement.span },
    unit: body.unit,
  };
}

function valueOfIf(
  checker: ExpressionChecker,
  statement: Statement & { readonly kind: "if" },
  rest: readonly Statement[],
  name: string,
  span: Span,
): Value {
  const then = alwaysReturns(statement.then);
  const otherwise = alwaysReturns(statement.else);
  if (!then && !otherwise) {
    refuse("FK015", statement.span, `an if in the helper ${name} returns in no branch`, {
      hint: "return in one of its branches, or choose with condition ? a : b",
    });
  }
  const condition = values.requireBool(checker.check(statement.condition).expr);
  // Nothing is written twice: what follows goes to the branch that does not return.
  const a = valueOf(checker, then ? statement.then : [...statement.then, ...rest], name, span);
  const b = valueOf(checker, then ? [...statement.else, ...rest] : statement.else, name, span);
  const unit = checker.requireSameUnit(a, b, statement.span);
  return { expr: values.selectExpr(condition, a.expr, b.expr, statement.span), unit };
}

function alwaysReturns(statements: readonly Statement[]): boolean {
  return statements.some((statement) => {
    if (statement.kind === "return") return true;
    if (statement.kind === "block") return alwaysReturns(statement.body);
    return statement.kind === "if" && alwaysReturns(statement.then) && alwaysReturns(statement.else);
  });
}
