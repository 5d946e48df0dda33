// Compiled libraries on disk, by the hash of all that they come from: a directory of `<key>.so` files, each with a
// manifest that holds the hash of the library's bytes. A library is read and compared before it is loaded, so one
// that was cut short or changed is made again. Both files are written beside their place, synced and renamed; of two
// processes that make the same library the last one wins, with the same bytes. What was used longest ago goes first
// when the directory grows beyond its limit; a library that is loaded stays with its process.
// Whoever may write to the directory may run code in this process: it is made for its owner alone.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { makeFolder, writeFileAtomic } from "@fidelity/barewire/node";

/** The most that all libraries together take on disk. */
const DIRECTORY_BYTES_MAX = 512 * 2 ** 20;

interface Manifest {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** Where code of a target is kept: FIDELITY_CACHE_DIR, or the user's cache directory. */
export function cacheDirectory(environment: NodeJS.ProcessEnv = process.env, target = "native"): string {
  const own = environment.FIDELITY_CACHE_DIR;
  if (own !== undefined && own !== "") return path.resolve(own, target);
  const cache = environment.XDG_CACHE_HOME;
  const base = cache !== undefined && path.isAbsolute(cache) ? cache : path.join(os.homedir(), ".cache");
  return path.join(base, "fidelity", target);
}

/** The SHA-256 of some texts and bytes, each told apart from the next. */
export function cacheKey(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest("hex");
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Notes that a file was used. In a directory that is read only it is not noted. */
function touch(file: string): void {
  const now = new Date();
  try {
    utimesSync(file, now, now);
  } catch {
    // Then nothing is evicted here either.
  }
}

/** Libraries in one directory, or other files that compilers make. */
export class LibraryCache {
  readonly directory: string;
  readonly #bytesMax: number;
  readonly #suffix: string;

  constructor(directory: string, bytesMax = DIRECTORY_BYTES_MAX, suffix = ".so") {
    this.directory = directory;
    this.#bytesMax = bytesMax;
    this.#suffix = suffix;
  }

  /** A library that is there and whole; undefined when it has to be made. */
  find(key: string): { readonly path: string; readonly bytes: Uint8Array } | undefined {
    const file = this.#libraryPath(key);
    try {
      const manifest = JSON.parse(readFileSync(this.#manifestPath(key), "utf8")) as Partial<Manifest> | null;
      const { size } = statSync(file);
      if (size !== manifest?.sizeBytes) return undefined;
      const bytes = readFileSync(file);
      if (sha256(bytes) !== manifest.sha256) return undefined;
      touch(file);
      return { path: file, bytes };
    } catch {
      // Not there, not readable or no manifest: all the same as not there.
      return undefined;
    }
  }

  /** Keeps a library and gives its path. Throws `FileError` when it cannot be written. */
  keep(key: string, library: Uint8Array): string {
    makeFolder(this.directory, 0o700);
    const manifest: Manifest = { sha256: sha256(library), sizeBytes: library.byteLength };
    writeFileAtomic(this.#libraryPath(key), [library]);
    writeFileAtomic(this.#manifestPath(key), [new TextEncoder().encode(JSON.stringify(manifest))]);
    this.#evict(key);
    return this.#libraryPath(key);
  }

  #libraryPath(key: string): string {
    return path.join(this.directory, `${key}${this.#suffix}`);
  }

  #manifestPath(key: string): string {
    return path.join(this.directory, `${key}.json`);
  }

  #evict(newest: string): void {
    const libraries = readdirSync(this.directory)
      .filter((name) => name.endsWith(this.#suffix))
      .flatMap((name) => {
        const stat = statSync(path.join(this.directory, name), { throwIfNoEntry: false });
        return stat === undefined
          ? []
          : [{ key: name.slice(0, -this.#suffix.length), sizeBytes: stat.size, usedMs: stat.mtimeMs }];
      })
      // The newest by name: a file system's clock for writes may be some milliseconds behind that of `touch`.
      .sort((a, b) => Number(b.key === newest) - Number(a.key === newest) || b.usedMs - a.usedMs);
    let totalBytes = 0;
    for (const { key, sizeBytes } of libraries) {
      totalBytes += sizeBytes;
      if (totalBytes <= this.#bytesMax || key === newest) continue;
      rmSync(this.#libraryPath(key), { force: true });
      rmSync(this.#manifestPath(key), { force: true });
    }
  }
}
