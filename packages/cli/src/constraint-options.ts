// --json-schema, --grammar and --regex: what a generated text must be.

import { readFileSync, statSync } from "node:fs";
import { toFileError } from "@fidelity/barewire/node";
import { gbnfGrammar, jsonSchemaGrammar, regexGrammar } from "@fidelity/models";
import type { Grammar } from "@fidelity/models";
import { Option } from "commander";
import { UsageError } from "./errors.ts";

export interface ConstraintOptions {
  readonly jsonSchema?: string;
  readonly grammar?: string;
  readonly regex?: string;
}

/** Nobody writes a longer grammar by hand. */
const FILE_BYTES_MAX = 1 << 20;

export const jsonSchemaOption = (): Option =>
  new Option("--json-schema <file>", "write JSON that this schema allows (a file, or the schema itself)");

export const grammarOption = (): Option =>
  new Option("--grammar <file>", "write what this GBNF grammar allows (a file, or the grammar itself)");

export const regexOption = (): Option =>
  new Option("--regex <text>", "write a text that this regular expression matches as a whole");

/**
 * The grammar that the options ask for; undefined where they ask for none. Throws `UsageError` for several at once,
 * `GrammarError` and `SchemaError` for those that cannot be used, and what reading a file throws.
 */
export function grammarOf({ jsonSchema, grammar, regex }: ConstraintOptions): Grammar | undefined {
  const given = [jsonSchema, grammar, regex].filter((value) => value !== undefined);
  if (given.length > 1) {
    throw new UsageError("a text has one constraint", {
      expected: "one of --json-schema, --grammar and --regex",
      got: `${given.length} of them`,
    });
  }
  if (regex !== undefined) return regexGrammar(regex);
  if (grammar !== undefined) return gbnfGrammar(grammar.includes("::=") ? grammar : read(grammar));
  if (jsonSchema === undefined) return undefined;
  const isInline = /^\s*(?:\{|true$|false$)/.test(jsonSchema);
  return jsonSchemaGrammar(parse(isInline ? jsonSchema : read(jsonSchema), isInline ? "--json-schema" : jsonSchema));
}

function read(path: string): string {
  try {
    const { size } = statSync(path);
    if (size <= FILE_BYTES_MAX) return readFileSync(path, "utf8");
    throw new UsageError("this file is too large", {
      where: path,
      expected: `at most ${FILE_BYTES_MAX} bytes`,
      got: `${size} bytes`,
    });
  } catch (error) {
    throw toFileError(error, "read", path);
  }
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError("the schema is not JSON", {
      where,
      got: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
}
