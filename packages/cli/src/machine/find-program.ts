// Programs on the PATH: where they are, and what they say about themselves when they can be asked quickly.

import { spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";

const ANSWER_MS = 5000;

/** The first of `names` that the PATH has, as a full path. */
export function findProgram(...names: readonly string[]): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  const suffixes = process.platform === "win32" ? [".exe", ".cmd"] : [""];
  for (const name of names) {
    const candidates = folders.flatMap((folder) => suffixes.map((suffix) => join(folder, name + suffix)));
    const found = candidates.find(isProgram);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What a program prints on standard output; undefined when it fails or takes more than a few seconds. */
export function ask(program: string, args: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync(program, args, {
    encoding: "utf8",
    timeout: ANSWER_MS,
    stdio: ["ignore", "pipe", "ignore"],
  });
  return status === 0 ? stdout.trim() : undefined;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // not there, or not ours to run: the next folder may have it
  }
}
