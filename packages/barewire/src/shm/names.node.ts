// The names of shared memory as files of /dev/shm, which is what shm_open(3) makes of them on Linux, and taking names
// away without ever taking a fresh segment's name: a file is renamed first and looked at then, because between looking
// at a name and unlinking it another process may have put a new segment there.

import { randomBytes } from "node:crypto";
import { linkSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { SharedMemoryError } from "./errors.ts";
import { isProcessAlive, ownIdentity } from "./identity.node.ts";

/** Where Linux keeps shared memory by name. */
export const SHM_FOLDER = "/dev/shm";

const PREFIX = "barewire-";
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/** The path of a segment. Throws `SharedMemoryError` on names that cannot be. */
export function segmentPath(name: string): string {
  if (NAME.test(name)) return join(SHM_FOLDER, PREFIX + name);
  throw new SharedMemoryError(name, "shared memory cannot have this name", {
    expected: "1 to 200 letters, digits, dots, dashes and underscores, no dot or dash at the start",
    got: JSON.stringify(name),
  });
}

/** A path that no other process uses; it tells who made it. */
export function temporaryPath(what: "new" | "old"): string {
  return join(SHM_FOLDER, `${PREFIX}.${what}-${ownIdentity()}-${randomBytes(6).toString("hex")}`);
}

/** The paths of all segments, and of those that were under way when their process died. */
export function listSegments(): { readonly segments: string[]; readonly unfinished: string[] } {
  const names = readdirSync(SHM_FOLDER).filter((name) => name.startsWith(PREFIX));
  const isNew = (name: string): boolean => name.startsWith(`${PREFIX}.new-`);
  const paths = (chosen: string[]): string[] => chosen.map((name) => join(SHM_FOLDER, name));
  return {
    segments: paths(names.filter((name) => !isNew(name))),
    unfinished: paths(names.filter((name) => isNew(name) && !isMakerAlive(name))),
  };
}

/** Takes the name away if it still leads to that file; a fresh segment that has the name by now keeps it. */
export function removeName(path: string, inode: bigint): void {
  const aside = temporaryPath("old");
  try {
    renameSync(path, aside);
  } catch {
    return; // it is gone, or not ours to take
  }
  try {
    if (statSync(aside, { bigint: true }).ino !== inode) linkSync(aside, path);
  } finally {
    rmSync(aside, { force: true });
  }
}

function isMakerAlive(name: string): boolean {
  const identity = /-(\d+)-[0-9a-f]+$/.exec(name)?.[1];
  return identity !== undefined && isProcessAlive(BigInt(identity));
}
