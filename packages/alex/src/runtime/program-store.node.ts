// Compiled programs on disk. What is kept of one is its outline and what its target makes code of again: for
// WebAssembly the module, for native code the key of a library, which has a file of its own. A message that is damaged,
// cut short or of another compiler is as good as none (targets/native/cache.node.ts).

import { fileURLToPath } from "node:url";
import { BareError } from "@fidelity/barewire";
import { FileError } from "@fidelity/barewire/node";
import type { Recipe, VectorTarget } from "@fidelity/core";
import { LibraryCache, cacheKey } from "../targets/native/cache.node.ts";
import type { ScheduleBook } from "../tune/schedule-book.ts";
import { compilerFingerprint, fingerprintOf } from "./compiler-version.node.ts";
import type { GraphCode } from "./graph-code.ts";
import { decodeKept, decodeRecalled, encodeKept, encodeRecalled } from "./outline.ts";
import type { ProgramOfRecipe, ProgramStore, ReadyProgram } from "./store.ts";
import type { CpuTarget } from "./target.ts";

/** The suffix of the files. */
export const PROGRAM_SUFFIX = ".program";

const DIRECTORY_BYTES_MAX = 512 * 2 ** 20;

export interface KeptProgramsOptions {
  readonly directory: string;
  readonly target: CpuTarget;
  /** What the program was lowered for. */
  readonly vectors: VectorTarget;
  readonly schedules: Pick<ScheduleBook, "encode">;
  /** Programs that were made in less are made again: a file costs time, too. */
  readonly leastMs: number;
}

/** The programs that this machine has compiled, by the hash of graph, options, target, schedules and compiler. */
export class KeptPrograms implements ProgramStore {
  readonly #target: CpuTarget;
  /** What every key begins with. The compiler's files are looked at when a device is made, and not for its programs. */
  readonly #start: readonly (string | Uint8Array)[];
  readonly #files: LibraryCache;
  readonly #leastMs: number;
  /** Of the folders of recipes, looked at once a device as well. */
  readonly #fingerprints = new Map<string, string>();

  constructor({ directory, target, vectors, schedules, leastMs }: KeptProgramsOptions) {
    this.#target = target;
    const lowered = [JSON.stringify(vectors), schedules.encode()];
    this.#start = [compilerFingerprint(), target.name, target.identity, ...lowered];
    this.#files = new LibraryCache(directory, DIRECTORY_BYTES_MAX, PROGRAM_SUFFIX);
    this.#leastMs = leastMs;
  }

  async find(code: GraphCode, maximumPages: number): Promise<ReadyProgram | undefined> {
    const file = this.#files.find(this.#key(code, maximumPages));
    return file === undefined ? undefined : restoreProgram(this.#target, file.bytes);
  }

  keep(code: GraphCode, maximumPages: number, { outline, compiled }: ReadyProgram, timeMs: number): void {
    if (timeMs < this.#leastMs) return;
    this.#tryKeep(this.#key(code, maximumPages), encodeKept({ outline, code: compiled.kept }));
  }

  async recall(recipe: Recipe, maximumPages: number): Promise<ProgramOfRecipe | undefined> {
    const code = this.#codeOf(recipe);
    const file = code && this.#files.find(this.#key(code, maximumPages));
    const found = file && tryDecode(() => decodeRecalled(file.bytes));
    const program = found && (await restoreProgram(this.#target, found.kept));
    return program && { program, results: found.results };
  }

  remember(recipe: Recipe, maximumPages: number, { program, results }: ProgramOfRecipe, timeMs: number): void {
    const code = timeMs < this.#leastMs ? undefined : this.#codeOf(recipe);
    if (code === undefined) return;
    const { outline, compiled } = program;
    this.#tryKeep(this.#key(code, maximumPages), encodeRecalled(results, { outline, code: compiled.kept }));
  }

  #tryKeep(key: string, bytes: Uint8Array): void {
    try {
      this.#files.keep(key, bytes);
    } catch (error) {
      // A disk that is full or read-only costs the next start its time, and nothing else.
      if (!(error instanceof FileError) && !isSystemError(error)) throw error;
    }
  }

  /** A recipe as the code of a graph that nobody has; undefined where its modules are no files. */
  #codeOf({ source, key }: Recipe): GraphCode | undefined {
    const fingerprint = this.#fingerprints.get(source) ?? folderFingerprint(source);
    this.#fingerprints.set(source, fingerprint);
    return fingerprint === "" ? undefined : ["recipe", fingerprint, ...key];
  }

  #key(code: GraphCode, maximumPages: number): string {
    return cacheKey([...this.#start, `${maximumPages}`, ...code]);
  }
}

/** The fingerprint of the files of a folder; "" where there are none that can be looked at. */
function folderFingerprint(url: string): string {
  if (!url.startsWith("file:")) return "";
  try {
    return fingerprintOf([fileURLToPath(url)]);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return "";
  }
}

/** The program of a kept message; undefined when it is damaged, or when its code is gone. */
export async function restoreProgram(
  target: Pick<CpuTarget, "restore">,
  bytes: Uint8Array,
): Promise<ReadyProgram | undefined> {
  const kept = tryDecode(() => decodeKept(bytes));
  const restored = kept && (await target.restore(kept.code));
  return restored && { outline: kept.outline, compiled: restored };
}

function tryDecode<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof BareError) return undefined;
    throw error;
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}
