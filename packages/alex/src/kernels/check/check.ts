// From the syntax of a kernel to its typed IR, or to the list of what is wrong with it.
//
//   exits -> names and types, again until no variable widens -> bounds are left to `analysis/`

import { ProblemError } from "../diagnostics.ts";
import type { Problem, Span } from "../diagnostics.ts";
import type { Arithmetic, KernelIr, KernelArray, KernelStmt } from "../ir/kernel_ir.ts";
import { visitStmts } from "../ir/kernel_ir.ts";
import type { Expression, FunctionSyntax, Statement } from "../syntax/ast.ts";
import type { ReadFunction } from "../syntax/module.ts";
import { withoutExits } from "./exits.ts";
import { ExpressionChecker } from "./expressions.ts";
import { typeOfAnnotation } from "./parameter_types.ts";
import type { ParameterType, TypeNames } from "./parameter_types.ts";
import { InferenceTable, Scope, Session } from "./session.ts";
import { StatementChecker } from "./statements.ts";
import { parseUnit } from "./units.ts";

/** What a kernel is checked against. */
export interface CheckInput {
  readonly read: ReadFunction;
  readonly constants: ReadonlyMap<string, Expression>;
  readonly helpers: ReadonlyMap<string, ReadFunction>;
  readonly names: TypeNames;
  /** The parameters' types when they are not in the annotations. */
  readonly types?: readonly ParameterType[];
  readonly arithmetic: Arithmetic;
}

export type Checked =
  | { readonly ir: KernelIr; readonly problems?: undefined }
  | { readonly ir?: undefined; readonly problems: readonly Problem[] };

/** Types widen at most three times a variable; more rounds than this do not happen in texts of people. */
const ROUNDS_MAX = 12;

/** Checks a kernel. Never throws on any kernel. */
export function checkKernel(input: CheckInput): Checked {
  const { read } = input;
  if (read.problems.length > 0) return { problems: read.problems };
  let body: Statement[];
  try {
    body = withoutExits(read.syntax.body);
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    return { problems: [error.problem] };
  }
  const table = new InferenceTable();
  for (let round = 0; ; round++) {
    table.changed = false;
    const session = new Session(input.arithmetic, table);
    const ir = checkOnce(input, body, session);
    if (table.changed && round < ROUNDS_MAX) continue;
    if (session.problems.length > 0) return { problems: inOrder(session.problems) };
    const last = requireEffect(ir);
    return last === undefined ? { ir } : { problems: [last] };
  }
}

function checkOnce(input: CheckInput, body: readonly Statement[], session: Session): KernelIr {
  const { syntax } = input.read;
  const scope = new Scope();
  declareFile(input, session, scope);
  const inner = new Scope(scope);
  const before = declareParameters(input, syntax, session, inner);
  const { names } = input;
  const statements = new StatementChecker(session, new Scope(inner), names).list(body);
  const result = session.arrays.find(({ role }) => role === "result");
  return {
    name: syntax.name,
    arithmetic: input.arithmetic,
    arrays: [...session.arrays],
    parameterCount: syntax.parameters.length,
    ...(result !== undefined && { result }),
    body: [...before, ...statements],
    span: syntax.span,
  };
}

/** Constants and helpers of the file. A constant that is no number is not known to kernels. */
function declareFile({ constants, helpers }: CheckInput, session: Session, scope: Scope): void {
  for (const [name, read] of helpers) scope.declare(name, { kind: "helper", read }, read.syntax.span);
  const checker = new ExpressionChecker(session, scope);
  for (const [name, value] of constants) {
    if (scope.find(name) !== undefined) continue;
    try {
      const { expr } = checker.check(value);
      if (expr.kind === "const") scope.declare(name, { kind: "constant", expr, unit: undefined }, value.span);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
    }
  }
  session.takePending();
}

/** Parameters are the first arrays. Scalars are arrays of rank 0, read when the kernel begins. */
function declareParameters(input: CheckInput, syntax: FunctionSyntax, session: Session, scope: Scope): KernelStmt[] {
  const before: KernelStmt[] = [];
  for (const [i, parameter] of syntax.parameters.entries()) {
    const { name, span } = parameter;
    const type = parameterType(input, i, session);
    if (type === undefined) {
      declare(session, () => scope.declare(name, { kind: "refused" }, span));
      continue;
    }
    const unit = type.unit === undefined ? {} : { unit: type.unit };
    if (type.kind === "array") {
      const array = session.array({ name, role: "parameter", element: type.element, shape: type.shape, ...unit, span });
      declare(session, () => scope.declare(name, { kind: "view", array, indices: [] }, span));
      continue;
    }
    const scalar = session.scalar(type.type);
    const element = scalar === "bool" ? "i32" : scalar;
    const array: KernelArray = session.array({ name, role: "parameter", element, shape: [], ...unit, span });
    const local = session.local(name, scalar, "constant", span);
    declare(session, () => {
      scope.declare(
        name,
        { kind: "local", local, unit: type.unit === undefined ? undefined : parseUnit(type.unit) },
        span,
      );
    });
    const load = { kind: "load", array, indices: [], type: element, span } as const;
    const zero = { kind: "const", value: 0, type: "i32", span } as const;
    const value =
      scalar === "bool" ? ({ kind: "compare", op: "ne", a: load, b: zero, type: "bool", span } as const) : load;
    before.push({ kind: "set", local, value, declares: true, span });
  }
  return before;
}

function declare(session: Session, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    session.problems.push(error.problem);
  }
}

/** The type of a parameter; undefined, and a problem, when it is not understood. */
function parameterType(input: CheckInput, i: number, session: Session): ParameterType | undefined {
  const { read, types, names } = input;
  const parameter = read.syntax.parameters[i]!;
  const given = types?.[i];
  if (given !== undefined) return given;
  try {
    if (parameter.annotation !== undefined) return typeOfAnnotation(parameter.annotation, names);
    const resolved = names.resolve?.(parameter.span);
    if (resolved !== undefined) return resolved;
    session.problems.push({
      code: "FK005",
      span: parameter.span,
      message: `the parameter ${parameter.name} has no type`,
      expected: "an annotation such as Vector<64>",
      hint: "annotate it, or give the types as values: kernel([t.vector(64)], (x) => ...)",
    });
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    session.problems.push(error.problem);
  }
  return undefined;
}

function requireEffect(ir: KernelIr): Problem | undefined {
  let writes = ir.result !== undefined;
  visitStmts(ir.body, (stmt) => {
    if (stmt.kind === "store" && stmt.array.role !== "local") writes = true;
  });
  if (writes) return undefined;
  const span: Span = ir.span;
  return {
    code: "FK025",
    span,
    message: `the kernel ${ir.name} writes to no parameter and returns nothing`,
    hint: "take an array to write to: out: Vector<64>",
  };
}

function inOrder(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  return problems
    .toSorted((a, b) => a.span.start - b.span.start)
    .filter(({ code, span }) => {
      const key = `${code} ${span.start}`;
      return !seen.has(key) && seen.add(key);
    });
}
