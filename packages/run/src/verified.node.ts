// Which files have had their checksums compared on this machine, so that opening a large one again does not read all of
// it. What is remembered belongs to one state of a file: its place, size and times, which every change moves; what a
// disk changes by itself stays unseen until `verify: true` asks. It lies in the user's cache, an empty file each.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "@fidelity/alex/node";

/** Smaller files are verified in the time that a look into the cache is worth. */
const REMEMBERED_BYTES_MIN = 1 << 25;
/** Times of files are coarse: what was changed a moment ago may change again without a trace. */
const SETTLED_MS = 2000;

/** A state of a file to be remembered by; undefined where it is not worth it, or not safe at the time `nowMs`. */
export function verifiableState(path: string, nowMs = Date.now()): string | undefined {
  if (process.env.FIDELITY_CACHE === "off") return undefined;
  try {
    const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = statSync(path, { bigint: true });
    if (size < REMEMBERED_BYTES_MIN || nowMs - Number(ctimeMs) < SETTLED_MS) return undefined;
    const state = [realpathSync(path), dev, ino, size, mtimeNs, ctimeNs].join("\n");
    return createHash("sha256").update(state).digest("hex").slice(0, 32);
  } catch {
    return undefined; // who opens the file says what is wrong with it
  }
}

export function wasVerified(state: string): boolean {
  return existsSync(join(folder(), state));
}

/** Remembers it where the cache can be written; elsewhere the file is verified again. */
export function rememberVerified(state: string): void {
  try {
    mkdirSync(folder(), { recursive: true, mode: 0o700 });
    writeFileSync(join(folder(), state), "");
  } catch {
    // a cache that cannot be written is no cache
  }
}

function folder(): string {
  return cacheDirectory(process.env, "verified");
}
