// Context-free grammars over characters: what regular expressions, GBNF texts and JSON Schemas are turned into before
// they are compiled to an automaton over bytes (automaton.ts).

import { FidelityError } from "@fidelity/units";
import type { CodePoints } from "./code-points.ts";

/** A part of a rule. */
export type GrammarNode =
  | { readonly type: "set"; readonly set: CodePoints }
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "sequence"; readonly parts: readonly GrammarNode[] }
  /** Without options it matches nothing at all. */
  | { readonly type: "choice"; readonly options: readonly GrammarNode[] }
  | { readonly type: "repeat"; readonly body: GrammarNode; readonly min: number; readonly max: number }
  | { readonly type: "rule"; readonly name: string };

/** Rules by their names; texts are those that `root` derives. */
export interface Grammar {
  readonly root: string;
  readonly rules: ReadonlyMap<string, GrammarNode>;
}

/** A grammar, a regular expression or a schema that cannot be read, or that no text can meet. */
export class GrammarError extends FidelityError {}

/** What a grammar may be, whoever wrote it. */
export const GRAMMAR_LIMITS = { length: 1 << 20, depth: 100, repeats: 1 << 16, states: 1 << 20 } as const;

export const text = (value: string): GrammarNode => ({ type: "text", text: value });
export const set = (value: CodePoints): GrammarNode => ({ type: "set", set: value });
export const rule = (name: string): GrammarNode => ({ type: "rule", name });
export const sequence = (...parts: readonly GrammarNode[]): GrammarNode =>
  parts.length === 1 ? parts[0] : { type: "sequence", parts };
export const choice = (options: readonly GrammarNode[]): GrammarNode =>
  options.length === 1 ? options[0] : { type: "choice", options };
export const repeat = (body: GrammarNode, min: number, max: number): GrammarNode => ({
  type: "repeat",
  body,
  min,
  max,
});
export const optional = (body: GrammarNode): GrammarNode => repeat(body, 0, 1);
