// The abstract syntax of kernels: what is left of a TypeScript function once everything that kernels do not know has
// been refused. Plain data with the span of each node; nothing is resolved yet.

import type { Span } from "../diagnostics.ts";

export type UnaryOperator = "-" | "+" | "!" | "~";
export type BinaryOperator =
  | "+"
  | "-"
  | "*"
  | "/"
  | "%"
  | "**"
  | "&"
  | "|"
  | "^"
  | "<<"
  | ">>"
  | ">>>"
  | "<"
  | "<="
  | ">"
  | ">="
  | "==="
  | "!=="
  | "&&"
  | "||";

export type Expression =
  | { readonly kind: "number"; readonly value: number; readonly span: Span }
  | { readonly kind: "boolean"; readonly value: boolean; readonly span: Span }
  /** Only where the name of an element type is expected. */
  | { readonly kind: "string"; readonly value: string; readonly span: Span }
  | { readonly kind: "name"; readonly name: string; readonly span: Span }
  | { readonly kind: "list"; readonly items: readonly Expression[]; readonly span: Span }
  /** `object[index]`. */
  | { readonly kind: "index"; readonly object: Expression; readonly index: Expression; readonly span: Span }
  /** `object.property`. */
  | { readonly kind: "member"; readonly object: Expression; readonly property: string; readonly span: Span }
  /** `callee(args)`, where the callee is a name or two names with a dot. */
  | { readonly kind: "call"; readonly callee: string; readonly args: readonly Expression[]; readonly span: Span }
  | { readonly kind: "unary"; readonly operator: UnaryOperator; readonly a: Expression; readonly span: Span }
  | {
      readonly kind: "binary";
      readonly operator: BinaryOperator;
      readonly a: Expression;
      readonly b: Expression;
      readonly span: Span;
    }
  | {
      readonly kind: "conditional";
      readonly condition: Expression;
      readonly a: Expression;
      readonly b: Expression;
      readonly span: Span;
    };

export type Statement =
  | {
      readonly kind: "declare";
      readonly name: string;
      readonly constant: boolean;
      readonly annotation?: TypeSyntax;
      readonly value: Expression;
      readonly span: Span;
    }
  /** `target = value`; compound assignments and `i++` are written out. */
  | { readonly kind: "assign"; readonly target: Expression; readonly value: Expression; readonly span: Span }
  | {
      readonly kind: "for";
      readonly counter: string;
      readonly first: Expression;
      /** How the test compares, and with what. `up` loops have `<` and a positive step. */
      readonly test: "<" | "<=" | ">" | ">=";
      readonly end: Expression;
      readonly step: number;
      /** What else must hold for another iteration: the right of `i < end && condition`. */
      readonly condition?: Expression;
      readonly body: readonly Statement[];
      readonly span: Span;
    }
  | {
      readonly kind: "if";
      readonly condition: Expression;
      readonly then: readonly Statement[];
      readonly else: readonly Statement[];
      readonly span: Span;
    }
  | {
      readonly kind: "switch";
      readonly value: Expression;
      readonly cases: readonly SwitchCase[];
      readonly span: Span;
    }
  | { readonly kind: "block"; readonly body: readonly Statement[]; readonly span: Span }
  | { readonly kind: "break" | "continue"; readonly span: Span }
  | { readonly kind: "return"; readonly value?: Expression; readonly span: Span };

/** `values` is empty for `default`. Bodies do not fall through; their `break` is gone. */
export interface SwitchCase {
  readonly values: readonly Expression[];
  readonly isDefault: boolean;
  readonly body: readonly Statement[];
  readonly span: Span;
}

/** A type as it was written, as far as kernels may use it. */
export type TypeSyntax =
  | {
      readonly kind: "reference";
      readonly name: string;
      readonly args: readonly TypeSyntax[];
      readonly span: Span;
    }
  | { readonly kind: "number"; readonly value: number; readonly span: Span }
  | { readonly kind: "string"; readonly value: string; readonly span: Span }
  | { readonly kind: "tuple"; readonly items: readonly TypeSyntax[]; readonly span: Span }
  /** `typeof NAME`. */
  | { readonly kind: "typeof"; readonly name: string; readonly span: Span }
  /** Anything else. */
  | { readonly kind: "other"; readonly span: Span };

export interface Parameter {
  readonly name: string;
  readonly annotation?: TypeSyntax;
  readonly span: Span;
}

/** A function as it stands in the source. An arrow function with an expression returns it. */
export interface FunctionSyntax {
  readonly name: string;
  readonly parameters: readonly Parameter[];
  readonly returns?: TypeSyntax;
  readonly body: readonly Statement[];
  readonly span: Span;
}
