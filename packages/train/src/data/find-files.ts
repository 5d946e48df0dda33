// From what a person names (files, folders, globs) to a list of files in an order that is the same on every machine.
// A folder is walked whole, by extension; a file or a glob is taken at its word, whatever its extension.
//
// Leaves out: .gitignore rules. Hidden entries and nested node_modules folders are skipped, and so are links to
// folders, which can form loops.

import { globSync, readdirSync, statSync } from "node:fs";
import type { Dirent, Stats } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { NoMatchError, NoSuchFileError, TooManyFilesError, UnreadableFileError } from "./errors.ts";
import { nearestNames } from "./near-names.ts";

/** A file of a corpus, found and not yet read. */
export interface CorpusFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** What a folder is searched for unless the caller says otherwise: prose and source text. */
export const defaultExtensions: readonly string[] = [
  ".txt",
  ".text",
  ".md",
  ".markdown",
  ".rst",
  ".tex",
  ".html",
  ".csv",
  ".tsv",
  ".json",
  ".jsonl",
  ".yaml",
  ".yml",
  ".ts",
  ".tsx",
  ".mts",
  ".cts",
  ".js",
  ".jsx",
  ".mjs",
  ".cjs",
  ".css",
  ".py",
  ".rs",
  ".go",
  ".java",
  ".c",
  ".h",
  ".cpp",
  ".hpp",
  ".cs",
  ".fs",
  ".rb",
  ".php",
  ".swift",
  ".kt",
  ".scala",
  ".hs",
  ".ml",
  ".lua",
  ".sh",
  ".sql",
  ".toml",
];

const fileLimit = 100_000;
const deepestFolder = 64;
const globCharacters = /[*?[\]{}]/;

/**
 * The files that `inputs` name: inputs in the order given, the files of each sorted by path, each file once. Throws
 * `NoSuchFileError`, `NoMatchError`, `UnreadableFileError` or `TooManyFilesError`.
 * @param extensions what folders are searched for, with the dot
 */
export function findTextFiles(
  inputs: readonly string[],
  extensions: readonly string[] = defaultExtensions,
): CorpusFile[] {
  const files = new Map<string, CorpusFile>();
  for (const input of inputs) {
    const found = filesOfInput(input, extensions);
    found.sort((a, b) => comparePaths(a.path, b.path));
    for (const file of found) files.set(file.path, files.get(file.path) ?? file);
    if (files.size > fileLimit) throw tooManyFiles(input);
  }
  return Array.from(files.values());
}

/** Compares by code units with "/" between folders, so that no locale and no system changes the order. */
export function comparePaths(a: string, b: string): number {
  const left = a.replaceAll("\\", "/");
  const right = b.replaceAll("\\", "/");
  return left < right ? -1 : left > right ? 1 : 0;
}

function filesOfInput(input: string, extensions: readonly string[]): CorpusFile[] {
  const stats = statIfPresent(input);
  if (stats === undefined) return globCharacters.test(input) ? filesOfGlob(input) : refuseMissing(input);
  if (stats.isFile()) return [{ path: input, sizeBytes: stats.size }];
  if (!stats.isDirectory()) throw unreadable(input, "it is not a regular file");
  const files: CorpusFile[] = [];
  walk(input, extensions, 0, files);
  if (files.length > 0) return files;
  throw new NoMatchError(`the folder ${input} holds no text files`, {
    where: input,
    expected: `files that end in ${extensions.slice(0, 12).join(" ")}${extensions.length > 12 ? " ..." : ""}`,
    got: describeEntries(input, ""),
    hint: `name the files themselves, or use a glob such as "${join(input, "**", "*")}"`,
  });
}

function walk(folder: string, extensions: readonly string[], depth: number, files: CorpusFile[]): void {
  if (depth > deepestFolder) return;
  for (const entry of entriesOf(folder)) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      walk(path, extensions, depth + 1, files);
      continue;
    }
    if (!extensions.includes(extname(entry.name).toLowerCase())) continue;
    const stats = statIfPresent(path);
    if (stats?.isFile() !== true) continue;
    if (files.length >= fileLimit) throw tooManyFiles(folder);
    files.push({ path, sizeBytes: stats.size });
  }
}

function filesOfGlob(pattern: string): CorpusFile[] {
  const files: CorpusFile[] = [];
  for (const path of globSync(pattern)) {
    const stats = statIfPresent(path);
    if (stats?.isFile() === true) files.push({ path, sizeBytes: stats.size });
    if (files.length > fileLimit) throw tooManyFiles(pattern);
  }
  if (files.length > 0) return files;
  const segments = pattern.replaceAll("\\", "/").split("/");
  const firstGlob = segments.findIndex((segment) => globCharacters.test(segment));
  const folder = segments.slice(0, firstGlob).join("/") || (pattern.startsWith("/") ? "/" : ".");
  const wanted = segments[segments.length - 1].replaceAll(/[*?[\]{}]/g, "");
  throw new NoMatchError(`nothing matches ${pattern}`, {
    where: statIfPresent(folder) === undefined ? `the folder ${folder}, which does not exist` : `the folder ${folder}`,
    expected: "at least one file",
    got: describeEntries(folder, wanted),
    hint: "quote the pattern so that the shell leaves it alone, and use ** to search folders in folders",
  });
}

function refuseMissing(path: string): never {
  const folder = dirname(path);
  throw new NoSuchFileError(`there is no file or folder ${path}`, {
    where: statIfPresent(folder) === undefined ? `the folder ${folder}, which does not exist` : `the folder ${folder}`,
    expected: "a text file, a folder or a glob pattern",
    got: describeEntries(folder, basename(path)),
    hint: "check the spelling; paths are taken from the folder that the command runs in",
  });
}

/** The entries of a folder that come closest to what was asked for. */
function describeEntries(folder: string, wanted: string): string {
  if (statIfPresent(folder)?.isDirectory() !== true) return "nothing";
  const near = nearestNames(
    wanted,
    entriesOf(folder).map((entry) => entry.name),
  );
  return near.length === 0 ? "an empty folder" : `near misses: ${near.join(", ")}`;
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (cause) {
    throw unreadable(folder, cause);
  }
}

function statIfPresent(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && (cause.code === "ENOTDIR" || cause.code === "ENAMETOOLONG")) {
      return undefined;
    }
    throw unreadable(path, cause);
  }
}

/** The error for a path that the system will not let us read. */
export function unreadable(path: string, cause: unknown): UnreadableFileError {
  return new UnreadableFileError(`cannot read ${path}`, {
    where: path,
    got: cause instanceof Error ? cause.message : String(cause),
    hint: "check that you may read it (ls -l), and that the disk is still there",
    cause,
  });
}

function tooManyFiles(input: string): TooManyFilesError {
  return new TooManyFilesError(`${input} names too many files`, {
    expected: `up to ${fileLimit} files`,
    got: "more",
    hint: "name a smaller folder, or join the files first",
  });
}
