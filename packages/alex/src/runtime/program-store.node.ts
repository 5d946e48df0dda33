// Compiled programs on disk. What is kept of one is its outline and what its target makes code of again: for
// WebAssembly the module, for native code the key of a library, which has a file of its own. A message that is damaged,
// cut short or of another compiler is as good as none (targets/native/cache.node.ts).

import { BareError } from "@fidelity/barewire";
import { FileError } from "@fidelity/barewire/node";
import type { VectorTarget } from "@fidelity/core";
import { LibraryCache, cacheKey } from "../targets/native/cache.node.ts";
import type { ScheduleBook } from "../tune/schedule-book.ts";
import { compilerFingerprint } from "./compiler-version.node.ts";
import type { GraphCode } from "./graph-code.ts";
import { decodeKept, encodeKept } from "./outline.ts";
import type { KeptProgram } from "./outline.ts";
import type { ProgramStore, ReadyProgram } from "./store.ts";
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
    try {
      this.#files.keep(this.#key(code, maximumPages), encodeKept({ outline, code: compiled.kept }));
    } catch (error) {
      // A disk that is full or read-only costs the next start its time, and nothing else.
      if (!(error instanceof FileError) && !isSystemError(error)) throw error;
    }
  }

  #key(code: GraphCode, maximumPages: number): string {
    return cacheKey([...this.#start, `${maximumPages}`, ...code]);
  }
}

/** The program of a kept message; undefined when it is damaged, or when its code is gone. */
export async function restoreProgram(
  target: Pick<CpuTarget, "restore">,
  bytes: Uint8Array,
): Promise<ReadyProgram | undefined> {
  const kept = tryDecode(bytes);
  const restored = kept && (await target.restore(kept.code));
  return restored && { outline: kept.outline, compiled: restored };
}

function tryDecode(bytes: Uint8Array): KeptProgram | undefined {
  try {
    return decodeKept(bytes);
  } catch (error) {
    if (error instanceof BareError) return undefined;
    throw error;
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}
