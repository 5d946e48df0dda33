// One writer at a time: a file beside the target that names its writer and exists for as long as it writes. It is made
// under another name and linked, so that it has its contents from the first moment. The lock of a process that is gone
// is taken over; only who holds a second lock, named after the dead writer's token, may remove it, so that two who come
// at once cannot remove each other's. Left out: telling whether a writer on another host is alive; a name with a hint
// is all that it gets.

import { copyFileSync, constants, linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { randomBytes } from "node:crypto";

import { hasCode, temporaryBeside } from "../file.node.ts";
import { isProcessAlive, ownIdentity, pidOf } from "../shm/identity.node.ts";
import { ContainerBusyError } from "./errors.ts";

const ATTEMPTS_MAX = 8;

interface Owner {
  readonly host: string;
  readonly identity: bigint;
  readonly token: string;
}

/** The right to write to a file. */
export class WriterLock implements Disposable {
  readonly #path: string;
  readonly #token: string;

  private constructor(path: string, token: string) {
    this.#path = path;
    this.#token = token;
  }

  /** Throws `ContainerBusyError` where another writer has the file, and what `node:fs` throws. */
  static acquire(target: string): WriterLock {
    const path = join(dirname(target), `.${basename(target)}.lock`);
    const token = randomBytes(8).toString("hex");
    const temporary = temporaryBeside(target);
    writeFileSync(temporary, `${hostname()} ${ownIdentity()} ${token}\n`, { flag: "wx" });
    try {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        if (putInPlace(temporary, path)) return new WriterLock(path, token);
        takeAwayDead(temporary, path);
      }
    } finally {
      rmSync(temporary, { force: true });
    }
    throw new ContainerBusyError(path, "several writers at once");
  }

  [Symbol.dispose](): void {
    if (ownerOf(this.#path)?.token === this.#token) rmSync(this.#path, { force: true });
  }
}

function takeAwayDead(temporary: string, path: string): void {
  const owner = ownerOf(path);
  if (owner === undefined) return; // it is gone
  if (owner.host !== hostname() || isProcessAlive(owner.identity)) {
    throw new ContainerBusyError(path, `process ${pidOf(owner.identity)} on ${owner.host}`);
  }
  const right = `${path}.${owner.token}`;
  if (!putInPlace(temporary, right)) throw new ContainerBusyError(right, "a writer that takes over from a dead one");
  try {
    if (ownerOf(path)?.token === owner.token) rmSync(path, { force: true });
  } finally {
    rmSync(right, { force: true });
  }
}

function putInPlace(temporary: string, path: string): boolean {
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
  }
  try {
    copyFileSync(temporary, path, constants.COPYFILE_EXCL); // a file system without links
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

function ownerOf(path: string): Owner | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
  const match = /^(\S+) (\d{1,20}) ([0-9a-f]{16})\n$/.exec(text);
  if (match === null) throw new ContainerBusyError(path, "a lock that no writer of this version made");
  return { host: match[1], identity: BigInt(match[2]), token: match[3] };
}
