// What is outside the subset of TypeScript that kernels are written in: stable codes, one text a code, and errors that
// point into the user's file with line, column and a code frame. A code is never given another meaning; one that is no
// longer used stays retired. docs/kernels.md shows the same table.

import { FidelityError } from "@fidelity/units";

/** A range of a source text, in UTF-16 units; `end` is exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** What each code means. */
export const DIAGNOSTIC_CODES = {
  FK001: "the text is not TypeScript",
  FK002: "this statement is not part of the kernel language",
  FK003: "this expression is not part of the kernel language",
  FK004: "this name is not known in the kernel",
  FK005: "the type of a parameter is missing or is none that kernels know",
  FK006: "a dim is not a whole number from 1 to 2^31 - 1 that is known when the kernel is compiled",
  FK007: "the number of indices is not the rank of the array",
  FK008: "an index is not a whole number",
  FK009: "an index is always outside its array",
  FK010: "a loop does not have the form for (let i = first; i < end; i += step)",
  FK011: "a loop has no bound",
  FK012: "the target cannot be assigned",
  FK013: "the types of operands do not fit",
  FK014: "this function cannot be called in a kernel",
  FK015: "a helper function cannot be inlined",
  FK016: "a call has the wrong number of arguments",
  FK017: "a switch does not have the form that kernels know",
  FK018: "a declaration is not a let or const of one number, with a value and a fresh name",
  FK019: "an array of the kernel's own is declared in the wrong place or form",
  FK020: "the kernel is larger than the compiler takes",
  FK021: "there is no such kernel in the text",
  FK022: "the units of operands do not fit",
  FK023: "a return does not have the form that kernels know",
  FK024: "a divisor of whole numbers may be zero",
  FK025: "the kernel writes nothing",
  FK026: "two kernels of a file have one name",
} as const satisfies Readonly<Record<string, string>>;

export type DiagnosticCode = keyof typeof DIAGNOSTIC_CODES;

/** What a check found wrong, before it is placed in a file. */
export interface Problem {
  readonly code: DiagnosticCode;
  readonly span: Span;
  /** This case of the code's text, in the reader's terms. */
  readonly message: string;
  readonly expected?: string;
  readonly got?: string;
  /** What to write instead. */
  readonly hint?: string;
}

/** A problem with its place. Lines and columns count from 1. */
export interface Diagnostic extends Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The line with those around it, and carets under the place. */
  readonly frame: string;
}

/** What a message tells of many problems. */
const SHOWN_MAX = 8;

/**
 * A kernel that cannot be compiled. `diagnostics` has every problem that was found, in the order of the text; the
 * message shows the first ones.
 */
export class KernelError extends FidelityError {
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    const shown = diagnostics.slice(0, SHOWN_MAX).map(formatDiagnostic);
    if (diagnostics.length > SHOWN_MAX) shown.push(`and ${diagnostics.length - SHOWN_MAX} more`);
    super(shown.length === 0 ? "a kernel cannot be compiled" : shown.join("\n\n"));
    this.diagnostics = diagnostics;
  }
}

/** Thrown inside the front end where a construct cannot be read any further; collected at the next statement. */
export class ProblemError extends Error {
  readonly problem: Problem;
  /** It follows from another problem that was reported already. */
  readonly isConsequence: boolean;

  constructor(problem: Problem, isConsequence = false) {
    super(problem.message);
    this.problem = problem;
    this.isConsequence = isConsequence;
  }
}

/** Stops reading the construct at hand. */
export function refuse(
  code: DiagnosticCode,
  span: Span,
  message: string,
  more: Pick<Problem, "expected" | "got" | "hint"> = {},
): never {
  throw new ProblemError({ code, span, message, ...more });
}

/** A source text that can say where an offset is. */
export class SourceText {
  readonly file: string;
  readonly text: string;
  readonly #lineStarts: number[] = [0];

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#lineStarts.push(at + 1);
  }

  /** Line and column of an offset, from 1. */
  position(offset: number): { readonly line: number; readonly column: number } {
    const inside = Math.min(Math.max(offset, 0), this.text.length);
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#lineStarts[middle]! <= inside) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: inside - this.#lineStarts[low]! + 1 };
  }

  /** The text of a line, from 1, without its end. */
  line(line: number): string {
    const end = this.#lineStarts[line] ?? this.text.length + 1;
    return this.text.slice(this.#lineStarts[line - 1], end - 1).replace(/\r$/, "");
  }

  get lineCount(): number {
    return this.#lineStarts.length;
  }

  /** A problem at its place in this text. */
  place(problem: Problem): Diagnostic {
    const { line, column } = this.position(problem.span.start);
    return { ...problem, file: this.file, line, column, frame: this.#frame(problem.span) };
  }

  /** Two lines before, the line with carets, one line after. */
  #frame(span: Span): string {
    const { line, column } = this.position(span.start);
    const end = this.position(Math.max(span.end, span.start + 1));
    const last = Math.min(line + 1, this.lineCount);
    const digits = String(last).length;
    const lines: string[] = [];
    for (let number = Math.max(1, line - 2); number <= last; number++) {
      const text = clip(this.line(number), column);
      lines.push(`${number === line ? ">" : " "} ${String(number).padStart(digits)} | ${text.text}`.trimEnd());
      if (number !== line) continue;
      const room = Math.max(1, text.text.length - (column - text.skipped) + 1);
      const width = end.line === line ? Math.max(1, end.column - column) : room;
      const margin = this.line(line)
        .slice(text.skipped, column - 1)
        .replaceAll(/[^\t]/g, " ");
      lines.push(`  ${" ".repeat(digits)} | ${margin}${"^".repeat(Math.min(width, room))}`);
    }
    return lines.join("\n");
  }
}

const FRAME_COLUMNS_MAX = 160;

/** The part of a very long line around a column. */
function clip(text: string, column: number): { readonly text: string; readonly skipped: number } {
  if (text.length <= FRAME_COLUMNS_MAX) return { text, skipped: 0 };
  const skipped = Math.max(0, Math.min(column - FRAME_COLUMNS_MAX / 2, text.length - FRAME_COLUMNS_MAX));
  return { text: text.slice(skipped, skipped + FRAME_COLUMNS_MAX), skipped };
}

/** The whole text of a diagnostic, as errors, the command line and a build print it. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { code, message, file, line, column, frame, expected, got, hint } = diagnostic;
  const lines = [`${file}:${line}:${column} ${code} ${message}`, "", frame, ""];
  if (expected !== undefined) lines.push(`  expected: ${expected}`);
  if (got !== undefined) lines.push(`  got:      ${got}`);
  if (hint !== undefined) lines.push(`  try:      ${hint}`);
  return lines.join("\n").trimEnd();
}
