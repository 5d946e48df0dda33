// The reader of the BARE schema language: text to schema value, in two passes, words to types and rules between types.

import type { BareSchema, BareType } from "./ast.ts";
import { check } from "./check.ts";
import { SchemaError } from "./errors.ts";
import { parse } from "./parser.ts";

export interface ReadSchemaOptions {
  /** Reads the forms and the freedoms of older drafts too: see parser.ts and check.ts. */
  readonly legacy?: boolean;
  /** What the text is called in errors; by default `schema`. */
  readonly path?: string;
}

/**
 * Reads a schema in the language of draft-devault-bare-14. Throws `SchemaError`, with line and column, at the first
 * thing that the draft does not allow.
 */
export function readSchema(text: string, { legacy = false, path = "schema" }: ReadSchemaOptions = {}): BareSchema {
  const parsed = parse({ text, path }, legacy);
  check(parsed, legacy);
  return { definitions: parsed.definitions };
}

/** The type that a schema defines under a name. Throws `SchemaError` if there is none. */
export function typeNamed({ definitions }: BareSchema, name: string): BareType {
  const found = definitions.find((definition) => definition.name === name);
  if (found !== undefined) return { kind: "alias", name, target: () => found.type };
  const names = definitions.map((definition) => definition.name);
  throw new SchemaError("the schema does not define this type", { expected: names.join(", "), got: name });
}
