// The root of every error that Fidelity raises on purpose. It lives on the ground floor so that each room can
// subclass it, and the command line, the server and the studio can print one and the same text.

/** What an error knows about the place where it happened; every field is optional and printed when present. */
export interface ErrorDetails {
  /** Where it happened: a path, an op with its trail, a tensor's name, a byte offset. */
  readonly where?: string;
  /** What was expected, in the reader's terms. */
  readonly expected?: string;
  /** What was found instead. */
  readonly got?: string;
  /** One concrete thing to try next. */
  readonly hint?: string;
  /** The underlying error, when there is one. */
  readonly cause?: unknown;
}

/**
 * An error that a person can act on. `message` is the whole text: what happened, where, expected and got, what to try.
 * `name` is that of the constructed class (`new.target.name`), so that a subclass needs no constructor of its own.
 */
export class FidelityError extends Error {
  readonly summary: string;
  readonly details: ErrorDetails;

  constructor(summary: string, details: ErrorDetails = {}) {
    super(FidelityError.format(summary, details), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.summary = summary;
    this.details = details;
  }

  /** The lines of an error, one fact a line. */
  static format(summary: string, details: ErrorDetails): string {
    const lines = [summary];
    if (details.where !== undefined) lines.push(`  where:    ${clipped(details.where)}`);
    if (details.expected !== undefined) lines.push(`  expected: ${clipped(details.expected)}`);
    if (details.got !== undefined) lines.push(`  got:      ${clipped(details.got)}`);
    if (details.hint !== undefined) lines.push(`  try:      ${clipped(details.hint)}`);
    return lines.join("\n");
  }
}

/** What errors quote may come from outside, and a message is for people: longer details are cut. */
const DETAIL_LENGTH_MAX = 2000;

function clipped(text: string): string {
  if (text.length <= DETAIL_LENGTH_MAX) return text;
  return `${text.slice(0, DETAIL_LENGTH_MAX)}... (${text.length} characters)`;
}

/** A broken promise inside Fidelity itself: never the user's fault, always worth a report. */
export class InternalError extends FidelityError {}

/** Throws an `InternalError` unless `condition` holds. For what the code around guarantees, not for input. */
export function invariant(condition: boolean, what: string): asserts condition {
  if (!condition) throw new InternalError(`internal: ${what}`, { hint: "this is a bug in Fidelity; please report it" });
}
