// The arguments of a study's command: --help says what it does, and a mistake is one line, not a stack.

import { parseArgs } from "node:util";
import type { ParseArgsOptionsConfig } from "node:util";

type Values<T extends ParseArgsOptionsConfig> = ReturnType<typeof parseArgs<{ options: T }>>["values"];

/**
 * Reads the arguments of this process. Ends it after --help, and with exit code 64 where an argument cannot be, or one
 * of `required` is missing.
 */
export function studyArguments<const T extends ParseArgsOptionsConfig>(
  usage: string,
  options: T,
  required: readonly (keyof T & string)[] = [],
): Values<T> {
  const refuse = (what: string): never => {
    console.error(`${what}\n\n${usage}`);
    process.exit(64);
  };
  if (process.argv.includes("--help")) {
    console.log(usage);
    process.exit(0);
  }
  try {
    const { values } = parseArgs({ options });
    const given = values as Readonly<Record<string, unknown>>;
    const isMissing = (name: string): boolean => given[name] === undefined || [given[name]].flat().length === 0;
    const missing = required.find(isMissing);
    return missing === undefined ? (values as Values<T>) : refuse(`--${missing} is missing`);
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}
