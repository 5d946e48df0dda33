// Expressions of the parser's tree into the kernel language; whatever is not part of it is refused by name.

import { refuse } from "../diagnostics.ts";
import type { BinaryOperator, Expression, UnaryOperator } from "./ast.ts";
import { child, children, identifierName, spanOf } from "./estree.ts";
import type { EstreeNode } from "./estree.ts";

/** Expressions and statements nest at most this deep; walks over them may then use the stack. */
export const DEPTH_MAX = 100;

const UNARY: ReadonlySet<string> = new Set<UnaryOperator>(["-", "+", "!", "~"]);
const BINARY: ReadonlySet<string> = new Set<BinaryOperator>([
  ...(["+", "-", "*", "/", "%", "**", "&", "|", "^", "<<", ">>", ">>>"] as const),
  ...(["<", "<=", ">", ">=", "===", "!==", "&&", "||"] as const),
]);

/** What to write instead of some expressions that are often tried. */
const INSTEAD: Readonly<Record<string, string>> = {
  ArrowFunctionExpression: "write a loop; helpers are functions declared beside the kernel",
  FunctionExpression: "declare the helper beside the kernel",
  ObjectExpression: "use one constant for each field",
  NewExpression: "declare an array with vector(n) or tensor([...]) at the top of the kernel",
  AwaitExpression: "kernels compute; wait for data before calling them",
  AssignmentExpression: "make the assignment a statement of its own",
  UpdateExpression: "make it a statement of its own",
  SequenceExpression: "an element of a matrix is a[i][j]; several statements are written one by one",
  TemplateLiteral: "kernels have no text",
};

/** Lifts one expression. Throws `ProblemError` at the first part that is outside the language. */
export function liftExpression(node: EstreeNode, depth = 0): Expression {
  const span = spanOf(node);
  if (depth > DEPTH_MAX) {
    refuse("FK020", span, `expressions nest deeper than ${DEPTH_MAX}`, { hint: "name parts of it with const" });
  }
  const lift = (field: string): Expression => liftExpression(required(node, field), depth + 1);
  switch (node.type) {
    case "Literal":
      return liftLiteral(node);
    case "Identifier":
      return { kind: "name", name: identifierName(node) ?? "", span };
    // Types are erased: what they say about a value is checked by the compiler of TypeScript.
    case "TSAsExpression":
    case "TSSatisfiesExpression":
    case "TSNonNullExpression":
    case "ParenthesizedExpression":
      return lift("expression");
    case "UnaryExpression":
      if (!UNARY.has(String(node.operator))) break;
      return foldSign({ kind: "unary", operator: node.operator as UnaryOperator, a: lift("argument"), span });
    case "BinaryExpression":
    case "LogicalExpression":
      return liftBinary(node, depth);
    case "ConditionalExpression":
      return { kind: "conditional", condition: lift("test"), a: lift("consequent"), b: lift("alternate"), span };
    case "MemberExpression":
      if (node.optional === true) break;
      if (node.computed === true) return { kind: "index", object: lift("object"), index: lift("property"), span };
      return { kind: "member", object: lift("object"), property: memberName(node), span };
    case "CallExpression":
      return liftCall(node, depth);
    case "ArrayExpression":
      return { kind: "list", items: children(node, "elements").map((item) => liftExpression(item, depth + 1)), span };
    default:
      break;
  }
  const hint = INSTEAD[node.type];
  refuse("FK003", span, `${describeNode(node)} cannot be used in a kernel`, { ...(hint !== undefined && { hint }) });
}

/** A name for a kind of node that people know: `ArrowFunctionExpression` becomes "an arrow function". */
export function describeNode(node: EstreeNode): string {
  if (node.type === "UnaryExpression" || node.type === "BinaryExpression" || node.type === "LogicalExpression") {
    return `the operator ${String(node.operator)}`;
  }
  const words = node.type
    .replace(/^TS/, "")
    .replace(/(Expression|Statement|Literal)$/, "")
    .replaceAll(/([a-z])([A-Z])/g, "$1 $2")
    .toLowerCase();
  return words === "" ? "this" : `${/^[aeiou]/.test(words) ? "an" : "a"} ${words}`;
}

function required(node: EstreeNode, field: string): EstreeNode {
  return child(node, field) ?? refuse("FK003", spanOf(node), `${describeNode(node)} is not complete`);
}

function liftLiteral(node: EstreeNode): Expression {
  const span = spanOf(node);
  if (typeof node.value === "number") return { kind: "number", value: node.value, span };
  if (typeof node.value === "boolean") return { kind: "boolean", value: node.value, span };
  if (typeof node.value === "string") return { kind: "string", value: node.value, span };
  refuse("FK003", span, "kernels know numbers, true and false only", {
    got: typeof node.raw === "string" ? node.raw : "a literal",
  });
}

/** `-1` is a number. */
function foldSign(expression: Expression & { readonly kind: "unary" }): Expression {
  const { operator, a, span } = expression;
  return operator === "-" && a.kind === "number" ? { kind: "number", value: -a.value, span } : expression;
}

function liftBinary(node: EstreeNode, depth: number): Expression {
  const span = spanOf(node);
  let operator = String(node.operator);
  if (operator === "==" || operator === "!=") {
    refuse("FK003", span, `kernels compare with ${operator}=`, { hint: `write ${operator}= instead of ${operator}` });
  }
  if (!BINARY.has(operator)) refuse("FK003", span, `the operator ${operator} cannot be used in a kernel`);
  operator = operator as BinaryOperator;
  const a = liftExpression(required(node, "left"), depth + 1);
  const b = liftExpression(required(node, "right"), depth + 1);
  return { kind: "binary", operator: operator as BinaryOperator, a, b, span };
}

function memberName(node: EstreeNode): string {
  const name = identifierName(child(node, "property"));
  return name ?? refuse("FK003", spanOf(node), "private members cannot be used in a kernel");
}

function liftCall(node: EstreeNode, depth: number): Expression {
  const span = spanOf(node);
  const callee = required(node, "callee");
  let name = identifierName(callee);
  if (name === undefined && callee.type === "MemberExpression" && callee.computed !== true) {
    const object = identifierName(child(callee, "object"));
    if (object !== undefined) name = `${object}.${memberName(callee)}`;
  }
  if (name === undefined || node.optional === true) {
    refuse("FK014", spanOf(callee), "kernels call helpers and functions of Math by name only", {
      hint: "write a loop, or declare a helper function beside the kernel",
    });
  }
  const args = children(node, "arguments").map((argument) => liftExpression(argument, depth + 1));
  return { kind: "call", callee: name, args, span };
}
