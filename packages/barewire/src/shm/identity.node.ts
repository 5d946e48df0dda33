// Who is alive on this machine; proc.ts tells how threads and processes are told apart. Left out: processes in
// different containers that share /dev/shm and not their numbers.

import { readFileSync } from "node:fs";

import { identityOf, numberOf, readOwnThread, readThread } from "./proc.ts";
import type { ReadText } from "./proc.ts";

const readText: ReadText = (path) => readFileSync(path, "latin1");

let own: bigint | undefined;
let ownThread: bigint | undefined;

/** The identity of this process; its worker threads have the same. */
export function ownIdentity(): bigint {
  own ??= readThread(readText, "self")?.identity ?? identityOf(process.pid, 0n);
  return own;
}

/** The identity of this thread; the main thread's is that of the process. */
export function ownThreadIdentity(): bigint {
  ownThread ??= readOwnThread(readText)?.identity ?? ownIdentity();
  return ownThread;
}

/** False once the process, or the thread, is gone, a zombie, or another one has its number. */
export function isProcessAlive(identity: bigint): boolean {
  if (identity === ownIdentity()) return true;
  const number = numberOf(identity);
  const stat = readThread(readText, number);
  if (stat !== undefined) return stat.isRunning && stat.identity === identity;
  return isListed(number); // /proc hides the processes of other users on some systems
}

/** The number of the process, or the thread. */
export function pidOf(identity: bigint): number {
  return numberOf(identity);
}

function isListed(pid: number): boolean {
  if (pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
