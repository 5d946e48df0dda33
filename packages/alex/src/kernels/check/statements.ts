// Statements: declarations get their types, assignments their targets, loops their counters. What comes out is
// structured and typed; a statement that is refused is reported, and checking goes on with the next.

import { ProblemError, refuse } from "../diagnostics.ts";
import type { Span } from "../diagnostics.ts";
import type { KernelExpr, KernelStmt, ScalarType } from "../ir/kernel_ir.ts";
import type { Expression, Statement } from "../syntax/ast.ts";
import { ExpressionChecker } from "./expressions.ts";
import type { View } from "./expressions.ts";
import { arrayOfCall } from "./local_arrays.ts";
import { typeOfAnnotation } from "./parameter_types.ts";
import type { TypeNames } from "./parameter_types.ts";
import { Scope } from "./session.ts";
import type { Binding, Session } from "./session.ts";
import { desugarSwitch } from "./switches.ts";
import { formatUnit, parseUnit, sameUnit } from "./units.ts";
import type { Unit } from "./units.ts";
import * as values from "./values.ts";
import type { Value } from "./values.ts";

/** Deeper nests come from generated text only. */
const DEPTH_MAX = 64;

/** Checks the statements of one block. */
export class StatementChecker {
  readonly #session: Session;
  readonly #scope: Scope;
  readonly #names: TypeNames;
  readonly #depth: number;
  readonly #expressions: ExpressionChecker;

  constructor(session: Session, scope: Scope, names: TypeNames, depth = 0) {
    this.#session = session;
    this.#scope = scope;
    this.#names = names;
    this.#depth = depth;
    this.#expressions = new ExpressionChecker(session, scope);
  }

  /** Checks a list in this block's scope. */
  list(statements: readonly Statement[]): KernelStmt[] {
    const out: KernelStmt[] = [];
    for (const statement of statements) {
      try {
        const checked = this.#statement(statement);
        // What the expressions need comes before the statement that they are in.
        out.push(...this.#session.takePending(), ...checked);
      } catch (error) {
        if (!(error instanceof ProblemError)) throw error;
        this.#session.takePending();
        if (!error.isConsequence) this.#session.problems.push(error.problem);
        this.#recover(statement);
      }
    }
    return out;
  }

  /** Checks a nested block. */
  #block(statements: readonly Statement[], scope = new Scope(this.#scope)): KernelStmt[] {
    const [first] = statements;
    if (this.#depth >= DEPTH_MAX && first !== undefined) {
      refuse("FK020", first.span, `statements nest deeper than ${DEPTH_MAX}, early exits included`, {
        hint: "split the kernel",
      });
    }
    const waiting = this.#session.takePending();
    const out = new StatementChecker(this.#session, scope, this.#names, this.#depth + 1).list(statements);
    this.#session.pending.push(...waiting);
    return out;
  }

  /** A name whose declaration was refused is still known, so that one mistake is reported once. */
  #recover(statement: Statement): void {
    if (statement.kind !== "declare" || this.#scope.find(statement.name) !== undefined) return;
    this.#scope.declare(statement.name, { kind: "refused" }, statement.span);
  }

  #statement(statement: Statement): KernelStmt[] {
    this.#session.count(statement.span);
    switch (statement.kind) {
      case "declare":
        return this.#declare(statement);
      case "assign":
        return this.#assign(statement);
      case "for":
        return [this.#for(statement)];
      case "if": {
        const condition = values.requireBool(this.#expressions.check(statement.condition).expr);
        const [then, otherwise] = [this.#block(statement.then), this.#block(statement.else)];
        if (then.length + otherwise.length === 0) return [];
        return [{ kind: "if", condition, then, else: otherwise, span: statement.span }];
      }
      case "switch":
        return this.#block(desugarSwitch(statement));
      case "block":
        return this.#block(statement.body);
      case "return":
        return this.#result(statement);
      case "break":
      case "continue":
        return refuse("FK002", statement.span, `${statement.kind} stands in a loop`);
    }
  }

  #declare(statement: Statement & { readonly kind: "declare" }): KernelStmt[] {
    const { name, value, annotation, constant, span } = statement;
    const local = arrayOfCall(value, this.#names, this.#session);
    if (local !== undefined) {
      if (this.#depth > 0) {
        refuse("FK019", span, "an array of the kernel's own is declared at the top of the kernel", {
          hint: "declare it outside the loop and set its elements to 0 inside",
        });
      }
      const array = this.#session.array({ name, role: "local", ...local, span });
      this.#scope.declare(name, { kind: "view", array, indices: [] }, span);
      return [];
    }
    const view = this.#expressions.view(value);
    if (view !== undefined && view.indices.length < view.array.shape.length) {
      return this.#declareView(name, view, span);
    }
    const checked = this.#expressions.check(value);
    const fixed = annotation === undefined ? undefined : this.#scalarOf(annotation);
    const unit = this.#declaredUnit(checked, fixed?.unit, span);
    const type = fixed?.type;
    if (constant && checked.expr.kind === "const") {
      const expr = type === undefined ? checked.expr : this.#fit(checked.expr, type, span);
      this.#scope.declare(name, { kind: "constant", expr, unit }, span);
      return [];
    }
    if (constant) {
      const expr = type === undefined ? checked.expr : this.#fit(checked.expr, type, span);
      const made = this.#session.local(name, expr.type, "constant", span);
      this.#scope.declare(name, { kind: "local", local: made, unit }, span);
      return [{ kind: "set", local: made, value: expr, declares: true, span }];
    }
    const variable = this.#session.variable(type);
    if (type === undefined) this.#session.table.assign(variable.ordinal, checked.expr.type, unit);
    const made = this.#session.local(
      name,
      type ?? this.#session.table.get(variable.ordinal)?.type ?? checked.expr.type,
      "variable",
      span,
    );
    this.#scope.declare(name, { kind: "local", local: made, variable, unit }, span);
    return [{ kind: "set", local: made, value: this.#fit(checked.expr, made.type, span), declares: true, span }];
  }

  #scalarOf(annotation: Parameters<typeof typeOfAnnotation>[0]): { type?: ScalarType; unit?: string } {
    const type = typeOfAnnotation(annotation, this.#names);
    if (type.kind === "array") {
      refuse("FK019", annotation.span, "an array is declared without a type", { hint: "write const a = vector(n)" });
    }
    const unit = type.unit === undefined ? {} : { unit: type.unit };
    // `number` says nothing that the value does not say.
    return type.type === "number" ? unit : { type: this.#session.scalar(type.type), ...unit };
  }

  #declaredUnit(value: Value, text: string | undefined, span: Span): Unit {
    if (text === undefined) return value.expr.kind === "const" ? undefined : value.unit;
    const unit = parseUnit(text);
    if (value.expr.kind === "const" || sameUnit(unit, value.unit)) return unit;
    refuse("FK022", span, "the value does not have the unit of its type", {
      expected: formatUnit(unit),
      got: formatUnit(value.unit),
    });
  }

  /** `const row = m[i]`: indices that may change later are read now. */
  #declareView(name: string, view: View, span: Span): KernelStmt[] {
    const before: KernelStmt[] = [];
    const indices = view.indices.map((index): KernelExpr => {
      if (index.kind === "const" || (index.kind === "local" && index.local.role !== "variable")) return index;
      const local = this.#session.local(`${name} index`, "i32", "constant", index.span);
      before.push({ kind: "set", local, value: index, declares: true, span: index.span });
      return { kind: "local", local, type: "i32", span: index.span };
    });
    this.#scope.declare(name, { kind: "view", array: view.array, indices }, span);
    return before;
  }

  #assign(statement: Statement & { readonly kind: "assign" }): KernelStmt[] {
    const { target, value, span } = statement;
    const view = this.#expressions.view(target);
    if (target.kind === "name") return this.#assignLocal(target.name, target.span, value, span);
    if (view === undefined) {
      refuse("FK012", target.span, "only variables and elements of arrays can be assigned");
    }
    const { array, indices } = view;
    if (array.element === "ternary") {
      refuse("FK012", target.span, `${array.name} is packed and can only be read`, { hint: "write to a Tensor" });
    }
    const checked = this.#expressions.check(value);
    const current = this.#expressions.load(view, target.span);
    this.#requireUnit(current.unit, checked, span);
    const number = values.requireNumber(checked.expr);
    return [{ kind: "store", array, indices, value: values.convertTo(number, array.element), span }];
  }

  #assignLocal(name: string, at: Span, value: Expression, span: Span): KernelStmt[] {
    const binding = this.#scope.find(name);
    if (binding?.kind !== "local" || binding.variable === undefined) this.#refuseTarget(name, binding, at);
    const checked = this.#expressions.check(value);
    const { local, variable } = binding;
    const { table } = this.#session;
    const known = variable.fixed === undefined ? table.get(variable.ordinal)?.unit : binding.unit;
    this.#requireUnit(known, checked, span);
    if (local.type === "bool" || checked.expr.type === "bool") {
      if (local.type !== checked.expr.type) {
        refuse("FK013", span, `${name} is a ${local.type === "bool" ? "boolean" : "number"}`, {
          got: values.typeName(checked.expr.type),
        });
      }
    } else if (variable.fixed === undefined) {
      const unit = checked.expr.kind === "const" ? undefined : checked.unit;
      // A constant widens a variable only when it has a fraction.
      const type = checked.expr.kind === "const" && checked.expr.type === "i32" ? "i32" : checked.expr.type;
      table.assign(variable.ordinal, type, unit);
    }
    return [{ kind: "set", local, value: this.#fit(checked.expr, local.type, span), declares: false, span }];
  }

  #refuseTarget(name: string, binding: Binding | undefined, span: Span): never {
    if (binding === undefined) refuse("FK004", span, `${name} is not known in this kernel`);
    const advice: Readonly<Record<Binding["kind"], string>> = {
      local: "declare a variable with let and assign that",
      view: "assign its elements",
      constant: "declare it with let inside the kernel",
      helper: "give the variable another name",
      refused: "mend its declaration first",
    };
    refuse("FK012", span, `${name} cannot be assigned`, { hint: advice[binding.kind] });
  }

  #requireUnit(unit: Unit, value: Value, span: Span): void {
    if (value.expr.kind === "const" || sameUnit(unit, value.unit)) return;
    refuse("FK022", span, "the value does not have the unit of what it is assigned to", {
      expected: formatUnit(unit),
      got: formatUnit(value.unit),
    });
  }

  /** A value in the type of its variable. A float does not become an integer unasked. */
  #fit(expr: KernelExpr, type: ScalarType, span: Span): KernelExpr {
    if (expr.type === type) return expr;
    const isWhole = expr.kind === "const" && Number.isInteger(expr.value);
    if (expr.type === "bool" || type === "bool" || (type === "i32" && !isWhole)) {
      refuse("FK013", span, "the value does not fit the type of the variable", {
        expected: values.typeName(type),
        got: values.typeName(expr.type),
        ...(type === "i32" && { hint: "take the whole part: (x | 0)" }),
      });
    }
    return values.convertTo(expr, type);
  }

  #for(statement: Statement & { readonly kind: "for" }): KernelStmt {
    const { counter, test, step, span } = statement;
    const first = this.#expressions.checkIndex(statement.first);
    const bound = this.#expressions.checkIndex(statement.end);
    const one: KernelExpr = { kind: "const", value: 1, type: "i32", span: statement.end.span };
    const { arithmetic } = this.#session;
    const shifted = test === "<=" ? "add" : test === ">=" ? "sub" : undefined;
    const end = shifted === undefined ? bound : values.binaryExpr(shifted, bound, one, statement.end.span, arithmetic);
    const local = this.#session.local(counter, "i32", "counter", span);
    const scope = new Scope(this.#scope);
    scope.declare(counter, { kind: "local", local, unit: undefined }, span);
    const body = this.#block(statement.body, new Scope(scope));
    return { kind: "for", counter: local, first, end: values.convertTo(end, "i32"), step, body, span };
  }

  /** `return value` at the end: the value goes to an array of rank 0. */
  #result(statement: Statement & { readonly kind: "return" }): KernelStmt[] {
    const { value, span } = statement;
    if (value === undefined) return [];
    const number = values.requireNumber(this.#expressions.check(value).expr);
    const element = number.kind === "const" || number.type === "bool" ? this.#session.arithmetic : number.type;
    const array = this.#session.array({ name: "return", role: "result", element, shape: [], span });
    return [{ kind: "store", array, indices: [], value: values.convertTo(number, element), span }];
  }
}
