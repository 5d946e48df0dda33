// Remembered schedules on disk, in the folder of compiled programs: one book for each machine, target and compiler,
// kept like the programs are (targets/native/cache.node.ts). A book that is damaged is told of, and as good as none.

import { existsSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { BareError } from "@fidelity/barewire";
import type { VectorTarget } from "@fidelity/core";
import { compilerFingerprint } from "../runtime/compiler-version.node.ts";
import type { CpuTarget } from "../runtime/target.ts";
import { LibraryCache, cacheKey } from "../targets/native/cache.node.ts";
import { ScheduleBook } from "./schedule-book.ts";

const SUFFIX = ".schedules";
const DIRECTORY_BYTES_MAX = 16 * 2 ** 20;
/** The name of the warning of a damaged book. */
export const TUNING_WARNING = "TuningFileWarning";

export interface ScheduleFileOptions {
  readonly directory: string;
  readonly target: Pick<CpuTarget, "name" | "identity">;
  readonly vectors: VectorTarget;
}

/** Damaged books that were told of. */
const told = new Set<string>();

/** The book of this machine, a target and this compiler. */
export class ScheduleFile {
  readonly path: string;
  readonly #files: LibraryCache;
  readonly #key: string;

  constructor({ directory, target, vectors }: ScheduleFileOptions) {
    // Two processors with the same instructions may have other caches, and then other schedules are fast.
    const machine = os.cpus()[0]?.model ?? "";
    this.#key = cacheKey([compilerFingerprint(), machine, target.name, target.identity, JSON.stringify(vectors)]);
    this.#files = new LibraryCache(directory, DIRECTORY_BYTES_MAX, SUFFIX);
    this.path = path.join(directory, `${this.#key}${SUFFIX}`);
  }

  /** What was remembered; nothing where there is no book, or a damaged one, which a warning tells of once. */
  read(): ScheduleBook {
    const found = this.#files.find(this.#key);
    try {
      if (found !== undefined) return ScheduleBook.decode(found.bytes);
    } catch (error) {
      if (!(error instanceof BareError)) throw error;
    }
    if (existsSync(this.path) && !told.has(this.path)) {
      told.add(this.path);
      const text = `${this.path} is damaged and was ignored: kernels go by their default schedules`;
      process.emitWarning(`${text} (fidelity tune measures them again)`, { type: TUNING_WARNING });
    }
    return new ScheduleBook();
  }

  /** Keeps a book in place of the one before. Throws `FileError`. */
  write(book: ScheduleBook): void {
    this.#files.keep(this.#key, book.encode());
  }
}
