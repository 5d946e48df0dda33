// Constraints on generated text: where grammars come from, and what they become.

export { ConstraintError, createConstraint } from "./constraint.ts";
export type { Constraint } from "./constraint.ts";
export { gbnfGrammar } from "./gbnf.ts";
export { GrammarError } from "./grammar.ts";
export type { Grammar, GrammarNode } from "./grammar.ts";
export { jsonSchemaGrammar } from "./json-schema/compile.ts";
export { SchemaError } from "./json-schema/schema.ts";
export { regexGrammar } from "./regex.ts";
export { TokenVocabulary } from "./token-vocabulary.ts";
