// What is wrong with a schema, and where: a line, a column and the line itself with a mark under the place.
// Schemas that a program builds have no lines; their errors name the part instead.

import { FidelityError } from "@fidelity/units";
import type { ErrorDetails } from "@fidelity/units";

/** A schema breaks a rule of BARE, in its text or in the calls that build it. */
export class SchemaError extends FidelityError {
  /** Line of the text, from 1; undefined for a schema that was built by calls. */
  readonly line: number | undefined;
  /** Column, from 1, in UTF-16 units. */
  readonly column: number | undefined;

  constructor(summary: string, details: ErrorDetails = {}, place?: { readonly line: number; readonly column: number }) {
    super(summary, details);
    this.line = place?.line;
    this.column = place?.column;
  }
}

/** The error where a type leads back to itself and no name stands between. */
export function recursionWithoutName(): SchemaError {
  return new SchemaError("a recursive type has no name", {
    expected: "a named type where recursion goes through",
    hint: 'name it: bare.named("Tree", bare.struct({ ... }))',
  });
}

/** A schema's text and the name that its errors go by. */
export interface SchemaText {
  readonly text: string;
  readonly path: string;
}

const FRAME_COLUMNS_MAX = 100;

/** The error at an offset of a schema's text. */
export function errorAt(
  { text, path }: SchemaText,
  offset: number,
  summary: string,
  details: Omit<ErrorDetails, "where"> = {},
): SchemaError {
  const lineStart = text.lastIndexOf("\n", offset - 1) + 1;
  const nextBreak = text.indexOf("\n", offset);
  const lineEnd = nextBreak < 0 ? text.length : nextBreak;
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) line++;
  const column = offset - lineStart + 1;
  const where = `${path}:${line}:${column}\n${codeFrame(text.slice(lineStart, lineEnd), line, column)}`;
  return new SchemaError(summary, { where, ...details }, { line, column });
}

// The line and a mark under the column; of a very long line only what lies round the column.
function codeFrame(lineText: string, line: number, column: number): string {
  const from = Math.max(0, column - FRAME_COLUMNS_MAX / 2);
  const shown = lineText
    .slice(from, from + FRAME_COLUMNS_MAX)
    .replaceAll("\t", " ")
    .trimEnd();
  const margin = String(line);
  return `    ${margin} | ${shown}\n    ${" ".repeat(margin.length)} | ${" ".repeat(column - 1 - from)}^`;
}
