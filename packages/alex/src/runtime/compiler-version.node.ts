// Which compiler this is, for what is kept of its work. There is no version to forget to raise: a compiler is its
// files, those of alex and of core, which has the ops and what they lower to. In one place they are told by name, size
// and the time of their last change, as the system keeps it (ctime, which no program can set), for the cost of asking
// the system about some hundred files once a process. For what goes from machine to machine they are read. Tests are
// left out; barewire is, too: what it writes here is BARE, whose format does not change.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

let fingerprint: string | undefined;
let digest: string | undefined;

/** Changes whenever a file of the compiler was written; another on every machine. */
export function compilerFingerprint(): string {
  return (fingerprint ??= fingerprintOf(sourceDirectories()));
}

/** The same for equal files, wherever they are. */
export function compilerDigest(): string {
  return (digest ??= digestOf(sourceDirectories()));
}

/** Sources in directories, by size and time of the last change. */
export function fingerprintOf(directories: readonly string[]): string {
  return hashOf(directories, (file) => {
    const { size, ctimeMs } = statSync(file);
    return `${size} ${ctimeMs}`;
  });
}

/** Sources in directories, by what is in them. */
export function digestOf(directories: readonly string[]): string {
  return hashOf(directories, (file) => readFileSync(file));
}

function hashOf(directories: readonly string[], describe: (file: string) => string | Uint8Array): string {
  const hash = createHash("sha256");
  for (const directory of directories) {
    for (const name of compilerFiles(directory)) {
      const said = describe(`${directory}/${name}`);
      hash.update(`${name} ${said.length}:`).update(said);
    }
  }
  return hash.digest("hex");
}

/** `src` in the repository, `dist` where the packages are installed. */
function sourceDirectories(): string[] {
  return [path.join(import.meta.dirname, ".."), path.dirname(fileURLToPath(import.meta.resolve("@fidelity/core")))];
}

function compilerFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.[jt]s$/.test(name) && !/\.(test|d)\.[jt]s$/.test(name))
    .sort();
}
