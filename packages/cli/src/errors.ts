// How the command fails: one text for every error, and the exit code. A mistake on the command line is 2, an error that
// Fidelity raises on purpose is 1, a fault in Fidelity itself is 70 (EX_SOFTWARE of sysexits.h), and an interrupt is
// 128 and the signal's number, as shells have it.

import { FidelityError, InternalError } from "@fidelity/units";
import type { CommanderError } from "commander";

export const EXIT_OK = 0;
export const EXIT_FAILURE = 1;
export const EXIT_USAGE = 2;
export const EXIT_BUG = 70;

/** The command line itself is wrong: an unknown option, a value that an option cannot take, options that clash. */
export class UsageError extends FidelityError {}

/** A file is not of the kind that the command reads. */
export class WrongFileError extends FidelityError {}

/** What the reader of an error sees, and how the process ends. */
export interface Failure {
  readonly text: string;
  readonly exitCode: number;
}

/** Puts an error in words. `withStack` shows the trace too, where the error is a fault of Fidelity. */
export function describeFailure(error: unknown, withStack: boolean): Failure {
  if (error instanceof UsageError) return { text: `fidelity: ${error.message}`, exitCode: EXIT_USAGE };
  if (error instanceof FidelityError && !(error instanceof InternalError)) {
    return { text: `fidelity: ${error.message}`, exitCode: EXIT_FAILURE };
  }
  return { text: describeBug(error, withStack), exitCode: EXIT_BUG };
}

function describeBug(error: unknown, withStack: boolean): string {
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const text = FidelityError.format("fidelity: something went wrong that is a bug in Fidelity, not in what you did", {
    got: message.replaceAll("\n", "\n            "),
    hint: withStack
      ? "report it with the lines below and the command that you ran"
      : "run it again with FIDELITY_DEBUG=1 to see where, and report that with the command that you ran",
  });
  return withStack && error instanceof Error ? `${text}\n${error.stack}` : text;
}

/** What llama.cpp, ollama and libraries call options, and what they are called here. */
const NAMES_ELSEWHERE: Readonly<Record<string, string>> = {
  "--max-tokens": "--tokens",
  "--max-new-tokens": "--tokens",
  "--n-predict": "--tokens",
  "--num-predict": "--tokens",
  "--ctx-size": "--context",
  "--num-ctx": "--context",
  "--cache-type-k": "--cache-dtype",
  "--cache-type-v": "--cache-dtype",
  "--temp": "--temperature",
  "--repeat-penalty": "--repetition-penalty",
  "--system-prompt": "--system",
  "--chat-template": "--template",
};

/**
 * Commander's complaint about the command line in the house's form. `commandName` is as the user types it, `options`
 * are those that the command has.
 */
export function usageErrorFrom(error: CommanderError, commandName: string, options: readonly string[]): UsageError {
  // Commander has printed the help of a command that only has commands.
  if (error.code === "commander.help") return new UsageError(`${commandName} needs a command, one of those above`);
  const [first, ...rest] = error.message.replace(/^error: /, "").split("\n");
  const called = NAMES_ELSEWHERE[/unknown option '(--[\w-]+)/.exec(first)?.[1] ?? ""];
  const similar = /\(Did you mean (?:one of )?(.*)\?\)/.exec(rest.join(" "))?.[1];
  const near = called !== undefined && options.includes(called) ? called : similar;
  return new UsageError(first, {
    hint: near === undefined ? `${commandName} --help` : `${near}, or see ${commandName} --help`,
  });
}
