// The part of @huggingface/jinja that is used here, with types: the package's own declarations import files without
// extensions, which TypeScript does not follow from a module of Node, and so say nothing.

import * as jinja from "@huggingface/jinja";

export interface JinjaToken {
  readonly value: string;
  readonly type: string;
}

/** A node of a template's tree. */
export interface JinjaNode {
  readonly type: string;
}

/** A value while a template runs: `value` is a text, a number, a list of values, or a Map of them by their keys. */
export interface JinjaValue {
  readonly type: string;
  readonly value: unknown;
}

/** The variables of a template. A function gets the inner values of its arguments, and gives a plain value. */
export interface JinjaEnvironment {
  set(name: string, value: unknown): unknown;
}

export interface JinjaInterpreter {
  run(program: JinjaNode): JinjaValue;
  evaluate(node: JinjaNode | undefined, environment: JinjaEnvironment): JinjaValue;
}

interface Jinja {
  readonly Environment: new () => JinjaEnvironment;
  readonly Interpreter: new (environment: JinjaEnvironment) => JinjaInterpreter;
  readonly parse: (tokens: readonly JinjaToken[]) => JinjaNode;
  readonly tokenize: (source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }) => JinjaToken[];
}

export const { Environment, Interpreter, parse, tokenize }: Jinja = jinja;
