// Statements of the parser's tree into the kernel language. Loops get their one form here, compound assignments are
// written out, and a switch loses its breaks. A statement that is refused is reported and skipped, so that one run
// shows every mistake.

import { ProblemError, refuse } from "../diagnostics.ts";
import type { Problem } from "../diagnostics.ts";
import type { BinaryOperator, Expression, Statement, SwitchCase } from "./ast.ts";
import { child, children, identifierName, spanOf } from "./estree.ts";
import type { EstreeNode } from "./estree.ts";
import { DEPTH_MAX, describeNode, liftExpression } from "./lift_expression.ts";
import { liftType } from "./lift_type.ts";

/** Lifts a list of statements; what is refused is added to `problems`. */
export function liftStatements(nodes: readonly EstreeNode[], problems: Problem[], depth = 0): Statement[] {
  const lifted: Statement[] = [];
  for (const node of nodes) {
    try {
      lifted.push(...liftStatement(node, problems, depth));
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      problems.push(error.problem);
    }
  }
  return lifted;
}

const INSTEAD: Readonly<Record<string, string>> = {
  ThrowStatement: "check inputs before the kernel is called",
  TryStatement: "kernels raise no errors",
  ForOfStatement: "count: for (let i = 0; i < x.length; i++)",
  ForInStatement: "count: for (let i = 0; i < x.length; i++)",
  FunctionDeclaration: "declare the helper beside the kernel",
  LabeledStatement: "use a flag and break",
};

function liftStatement(node: EstreeNode, problems: Problem[], depth: number): Statement[] {
  const span = spanOf(node);
  if (depth > DEPTH_MAX) {
    refuse("FK020", span, `statements nest deeper than ${DEPTH_MAX}`, { hint: "split the kernel" });
  }
  switch (node.type) {
    case "EmptyStatement":
      return [];
    case "VariableDeclaration":
      return liftDeclaration(node);
    case "ExpressionStatement":
      return liftAction(child(node, "expression") ?? node);
    case "BlockStatement":
      return [{ kind: "block", body: liftStatements(children(node, "body"), problems, depth + 1), span }];
    case "IfStatement":
      return [
        {
          kind: "if",
          condition: liftExpression(child(node, "test") ?? node),
          then: liftBranch(child(node, "consequent"), problems, depth + 1),
          else: liftBranch(child(node, "alternate"), problems, depth + 1),
          span,
        },
      ];
    case "ForStatement":
      return [liftFor(node, problems, depth)];
    case "SwitchStatement":
      return [liftSwitch(node, problems, depth)];
    case "WhileStatement":
    case "DoWhileStatement":
      return refuse("FK011", span, "a while loop has no bound, so that a kernel could run for ever", {
        expected: "a loop that counts",
        hint: "write for (let step = 0; step < 1000 && condition; step++)",
      });
    case "BreakStatement":
    case "ContinueStatement":
      if (child(node, "label") !== undefined) refuse("FK002", span, "labels cannot be used in a kernel");
      return [{ kind: node.type === "BreakStatement" ? "break" : "continue", span }];
    case "ReturnStatement": {
      const value = child(node, "argument");
      return [{ kind: "return", ...(value !== undefined && { value: liftExpression(value) }), span }];
    }
    default: {
      const hint = INSTEAD[node.type];
      return refuse("FK002", span, `${describeNode(node)} cannot be used in a kernel`, {
        ...(hint !== undefined && { hint }),
      });
    }
  }
}

/** The body of a loop or branch, whether or not it has braces. */
function liftBranch(node: EstreeNode | undefined, problems: Problem[], depth: number): Statement[] {
  if (node === undefined) return [];
  return liftStatements(node.type === "BlockStatement" ? children(node, "body") : [node], problems, depth);
}

function liftDeclaration(node: EstreeNode): Statement[] {
  const span = spanOf(node);
  const keyword = String(node.kind);
  if (keyword !== "let" && keyword !== "const") {
    refuse("FK018", span, `kernels declare with let or const, not ${keyword}`, { hint: "write let or const" });
  }
  return children(node, "declarations").map((declarator): Statement => {
    const target = child(declarator, "id");
    const name = identifierName(target);
    const at = spanOf(declarator);
    if (name === undefined || target === undefined) {
      refuse("FK018", at, "a declaration names one value", { hint: "take patterns apart into declarations" });
    }
    const value = child(declarator, "init");
    if (value === undefined) {
      refuse("FK018", at, `${name} has no value`, { hint: `write let ${name} = 0` });
    }
    const written = child(target, "typeAnnotation");
    const annotation = written === undefined ? undefined : liftType(written);
    return {
      kind: "declare",
      name,
      constant: keyword === "const",
      ...(annotation !== undefined && { annotation }),
      value: liftExpression(value),
      span: at,
    };
  });
}

/** An expression that is a statement: an assignment or a count. */
function liftAction(node: EstreeNode): Statement[] {
  const span = spanOf(node);
  if (node.type === "UpdateExpression") {
    const target = liftExpression(child(node, "argument") ?? node);
    const one: Expression = { kind: "number", value: 1, span };
    const operator = node.operator === "++" ? "+" : "-";
    return [{ kind: "assign", target, value: { kind: "binary", operator, a: target, b: one, span }, span }];
  }
  if (node.type !== "AssignmentExpression") {
    // A string is a directive such as "use strict" and says nothing here.
    if (node.type === "Literal" && typeof node.value === "string") return [];
    refuseUnused(node);
  }
  const target = liftExpression(child(node, "left") ?? node);
  const right = liftExpression(child(node, "right") ?? node);
  const operator = String(node.operator);
  if (operator === "=") return [{ kind: "assign", target, value: right, span }];
  const base = operator.slice(0, -1);
  if (base === "&&" || base === "||" || base === "??") {
    refuse("FK002", span, `the assignment ${operator} cannot be used in a kernel`, { hint: "write an if" });
  }
  const value: Expression = { kind: "binary", operator: base as BinaryOperator, a: target, b: right, span };
  return [{ kind: "assign", target, value, span }];
}

/** What people call for what it does, such as `x.forEach(...)` and `console.log(...)`; or a value that nobody takes. */
function refuseUnused(node: EstreeNode): never {
  const span = spanOf(node);
  const callee = node.type === "CallExpression" ? child(node, "callee") : undefined;
  const [object, method] = ["object", "property"].map((field) => identifierName(callee && child(callee, field)));
  if (object === undefined || method === undefined) {
    refuse("FK002", span, "the value of this expression is not used", { hint: "assign it, or remove it" });
  }
  const counts = `count: for (let i = 0; i < ${object}.length; i++)`;
  const hints: Readonly<Record<string, string>> = {
    forEach: counts,
    fill: `${counts} ${object}[i] = 0`,
    set: `${counts} ${object}[i] = other[i]`,
    log: "call it where the kernel is called: a kernel has nowhere to print",
  };
  const hint = Object.hasOwn(hints, method) ? hints[method] : "write to its elements in a loop";
  refuse("FK002", span, `${object}.${method} cannot be called in a kernel`, { hint });
}

function badLoop(node: EstreeNode, got: string): never {
  refuse("FK010", spanOf(node), "a loop counts from a first value to an end by a constant step", {
    expected: "for (let i = first; i < end; i += step)",
    got,
    hint: "a further condition may stand behind &&",
  });
}

function liftFor(node: EstreeNode, problems: Problem[], depth: number): Statement {
  const init = child(node, "init");
  const declarators = init?.type === "VariableDeclaration" && init.kind === "let" ? children(init, "declarations") : [];
  const counter = identifierName(child(declarators[0] ?? node, "id"));
  const first = declarators[0] === undefined ? undefined : child(declarators[0], "init");
  if (declarators.length !== 1 || counter === undefined || first === undefined) {
    badLoop(init ?? node, "another start");
  }
  const bound = liftTest(child(node, "test") ?? badLoop(node, "no test"), counter);
  const step = liftStep(child(node, "update") ?? badLoop(node, "no step"), counter);
  const up = bound.test === "<" || bound.test === "<=";
  if (up !== step > 0) badLoop(node, `${bound.test} with a step of ${step}, which never ends`);
  return {
    kind: "for",
    counter,
    first: liftExpression(first),
    ...bound,
    step,
    body: liftBranch(child(node, "body"), problems, depth + 1),
    span: { start: node.start, end: child(node, "body")?.start ?? node.end },
  };
}

type Bound = Pick<Statement & { kind: "for" }, "test" | "end" | "condition">;

/** `i < end`, or `i < end && condition`. */
function liftTest(node: EstreeNode, counter: string): Bound {
  const left = child(node, "left");
  const right = child(node, "right");
  if (left === undefined || right === undefined) badLoop(node, "another test");
  if (node.type === "LogicalExpression" && node.operator === "&&") {
    const bound = liftTest(left, counter);
    const condition = liftExpression(right);
    const { condition: before } = bound;
    return before === undefined
      ? { ...bound, condition }
      : { ...bound, condition: { kind: "binary", operator: "&&", a: before, b: condition, span: spanOf(node) } };
  }
  const test = String(node.operator);
  const compares = test === "<" || test === "<=" || test === ">" || test === ">=";
  if (node.type !== "BinaryExpression" || !compares || identifierName(left) !== counter) {
    badLoop(node, "another test");
  }
  return { test, end: liftExpression(right) };
}

function liftStep(node: EstreeNode, counter: string): number {
  if (node.type === "UpdateExpression" && identifierName(child(node, "argument")) === counter) {
    return node.operator === "++" ? 1 : -1;
  }
  const right = child(node, "right");
  const isStep = node.type === "AssignmentExpression" && (node.operator === "+=" || node.operator === "-=");
  if (!isStep || right === undefined || identifierName(child(node, "left")) !== counter) badLoop(node, "another step");
  const amount = liftExpression(right);
  if (amount.kind !== "number" || !Number.isInteger(amount.value) || amount.value === 0) {
    badLoop(node, "a step that is no whole number");
  }
  if (Math.abs(amount.value) > 2 ** 20) badLoop(node, `a step of ${amount.value}`);
  return node.operator === "+=" ? amount.value : -amount.value;
}

function liftSwitch(node: EstreeNode, problems: Problem[], depth: number): Statement {
  const cases: SwitchCase[] = [];
  let values: Expression[] = [];
  let isDefault = false;
  const nodes = children(node, "cases");
  for (const [i, one] of nodes.entries()) {
    const test = child(one, "test");
    if (test === undefined) isDefault = true;
    else values.push(liftExpression(test));
    const body = children(one, "consequent").flatMap((inner) =>
      inner.type === "BlockStatement" ? children(inner, "body") : [inner],
    );
    // Labels in a row share the body that follows.
    if (body.length === 0 && i < nodes.length - 1) continue;
    const last = body.at(-1);
    const ends = last !== undefined && /^(Break|Continue|Return)Statement$/.test(last.type);
    if (!ends && i < nodes.length - 1) {
      refuse("FK017", spanOf(one), "a case falls through to the next one", { hint: "end it with break" });
    }
    const kept = last?.type === "BreakStatement" ? body.slice(0, -1) : body;
    cases.push({ values, isDefault, body: liftStatements(kept, problems, depth + 1), span: spanOf(one) });
    values = [];
    isDefault = false;
  }
  const span = { start: node.start, end: nodes[0]?.start ?? node.end };
  return { kind: "switch", value: liftExpression(child(node, "discriminant") ?? node), cases, span };
}
