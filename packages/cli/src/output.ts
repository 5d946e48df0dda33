// Where the command's words go. People read standard output; with --json it carries one JSON document and nothing else,
// and what people would read goes to standard error. Text that a model writes is standard output's alone, so that it
// can be piped; remarks about it are standard error's.

import { once } from "node:events";
import { toFileError } from "@fidelity/barewire/node";
import { describeFailure, EXIT_FAILURE, EXIT_OK } from "./errors.ts";
import { columnsOf, wrapDetails } from "./text-width.ts";

export interface Output {
  readonly isJson: boolean;
  /** A line, or lines, for people. */
  line(text?: string): void;
  /** The stream on which people read: standard error with --json. */
  readonly people: NodeJS.WriteStream;
  /** The result: one document, printed with --json and dropped otherwise. */
  result(value: unknown): void;
}

/** The output of a command; `isJson` is its --json. */
export function createOutput(isJson: boolean): Output {
  const people = isJson ? process.stderr : process.stdout;
  return {
    isJson,
    people,
    line: (text = "") => void people.write(`${text}\n`),
    result: (value) => {
      if (isJson) process.stdout.write(`${JSON.stringify(value, jsonValue, 2)}\n`);
    },
  };
}

/** Writes to standard output, and waits where its reader is slower than whoever writes. */
export async function writeText(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, "drain");
}

/** A remark on standard error, whatever the output is; details of an error within the columns of a terminal. */
export function remark(text: string): void {
  process.stderr.write(`${wrapDetails(text, columnsOf(process.stderr))}\n`);
}

/**
 * Ends the process where its output cannot go on: quietly when the reader closed the pipe, as `fidelity show | head`
 * may, and with an error when the disk under it is full.
 */
export function guardOutput(): void {
  process.stderr.on("error", () => process.exit(EXIT_FAILURE)); // nobody is left to hear
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(EXIT_OK);
    const { text, exitCode } = describeFailure(toFileError(error, "write", "standard output"), false);
    remark(text);
    process.exit(exitCode);
  });
}

// JSON has no form for whole numbers beyond 2^53 nor for NaN; both are rare in results, and must not be lost silently.
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  return value;
}
