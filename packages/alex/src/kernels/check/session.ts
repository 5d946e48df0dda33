// What one check of a kernel knows: names in their scopes, the arrays and locals made so far, and the types of
// variables as they are inferred. A variable's type is the widest of all that is assigned to it; a check that widens
// one is done again, which ends because types only widen and there are four of them.

import { refuse } from "../diagnostics.ts";
import type { Problem, Span } from "../diagnostics.ts";
import type { Arithmetic, KernelArray, KernelExpr, KernelStmt, Local, ScalarType } from "../ir/kernel_ir.ts";
import type { ReadFunction } from "../syntax/module.ts";
import type { Unit } from "./units.ts";
import { widest } from "./values.ts";

/** What a name stands for. */
export type Binding =
  | { readonly kind: "local"; readonly local: Local; readonly variable?: Variable; readonly unit: Unit }
  /** An array, or a part of it that the leading indices choose. */
  | { readonly kind: "view"; readonly array: KernelArray; readonly indices: readonly KernelExpr[] }
  | { readonly kind: "constant"; readonly expr: KernelExpr; readonly unit: Unit }
  | { readonly kind: "helper"; readonly read: ReadFunction }
  /** Its declaration was refused; what uses it is not refused again. */
  | { readonly kind: "refused" };

/** A variable whose type is being inferred. */
export interface Variable {
  readonly ordinal: number;
  /** The type that its annotation fixes. */
  readonly fixed?: ScalarType;
}

interface Inferred {
  type: ScalarType;
  unit: Unit;
}

/** What variables were found to be, in the order of their declarations; kept from one check to the next. */
export class InferenceTable {
  readonly #entries: Inferred[] = [];
  changed = false;

  /** The type so far. */
  get(ordinal: number): Inferred | undefined {
    return this.#entries[ordinal];
  }

  /** Widens a variable by what is assigned to it. Booleans and numbers do not mix; the caller has checked that. */
  assign(ordinal: number, type: ScalarType, unit: Unit): void {
    const known = this.#entries[ordinal];
    if (known === undefined) {
      this.#entries[ordinal] = { type, unit };
      this.changed = true;
      return;
    }
    const wider = known.type === "bool" || type === "bool" ? known.type : widest(known.type, type);
    if (wider !== known.type || (known.unit === undefined && unit !== undefined)) this.changed = true;
    known.type = wider;
    known.unit ??= unit;
  }
}

/** Expressions and statements of one kernel, helpers inlined. */
const NODES_MAX = 20_000;
const LOCALS_MAX = 2_000;

/** One check of one kernel. */
export class Session {
  readonly arithmetic: Arithmetic;
  readonly table: InferenceTable;
  readonly problems: Problem[] = [];
  readonly arrays: KernelArray[] = [];
  /** Statements that an expression needs before it. */
  readonly pending: KernelStmt[] = [];
  #locals = 0;
  #variables = 0;
  #nodes = 0;

  constructor(arithmetic: Arithmetic, table: InferenceTable) {
    this.arithmetic = arithmetic;
    this.table = table;
  }

  /** Counts a node against the limit. */
  count(span: Span): void {
    if (++this.#nodes > NODES_MAX) {
      refuse("FK020", span, `the kernel has more than ${NODES_MAX} expressions, helpers included`, {
        hint: "split the kernel, or use loops",
      });
    }
  }

  local(name: string, type: ScalarType, role: Local["role"], span: Span): Local {
    if (this.#locals >= LOCALS_MAX) refuse("FK020", span, `the kernel has more than ${LOCALS_MAX} variables`);
    return { id: this.#locals++, name, type, role, span };
  }

  variable(fixed?: ScalarType): Variable {
    return { ordinal: this.#variables++, ...(fixed !== undefined && { fixed }) };
  }

  array(array: Omit<KernelArray, "id">): KernelArray {
    const made = { id: this.arrays.length, ...array };
    this.arrays.push(made);
    return made;
  }

  /** The scalar type of a type that may be `number`. */
  scalar(type: ScalarType | "number"): ScalarType {
    if (type === "number") return this.arithmetic;
    // What is declared f32 is float64 in float64 arithmetic, as it is when TypeScript runs.
    return type === "f32" ? this.arithmetic : type;
  }

  /** Takes the statements that wait to be placed. */
  takePending(): KernelStmt[] {
    return this.pending.splice(0);
  }
}

/** Names in nested blocks. */
export class Scope {
  readonly #outer: Scope | undefined;
  readonly #names = new Map<string, Binding>();

  constructor(outer?: Scope) {
    this.#outer = outer;
  }

  /** The outermost scope: what the file declares. */
  get root(): Scope {
    return this.#outer?.root ?? this;
  }

  find(name: string): Binding | undefined {
    return this.#names.get(name) ?? this.#outer?.find(name);
  }

  /** Declares a name. Throws `ProblemError` when this block has it already. */
  declare(name: string, binding: Binding, span: Span): void {
    if (this.#names.has(name)) {
      refuse("FK018", span, `${name} is declared twice in this block`, { hint: "give one of them another name" });
    }
    this.#names.set(name, binding);
  }

  /** All names, inner ones first, for advice. */
  names(): string[] {
    return [...this.#names.keys(), ...(this.#outer?.names() ?? [])].filter((name) => !name.includes(" "));
  }
}
