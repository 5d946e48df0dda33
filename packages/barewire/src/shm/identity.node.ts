// Which process is which: its number and the time it started, as one 64-bit word. Numbers are given again soon, the
// pair never within one start of the machine. Field 22 of /proc/<pid>/stat is the start in clock ticks (proc(5)). Left
// out: processes in different containers that share /dev/shm and not their numbers.

import { readFileSync } from "node:fs";

const START_BITS = 40n;
const START_MASK = (1n << START_BITS) - 1n;

let own: bigint | undefined;

/** The identity of this process; its worker threads have the same. */
export function ownIdentity(): bigint {
  own ??= (BigInt(process.pid) << START_BITS) | (readStat("self")?.start ?? 0n);
  return own;
}

/** False once the process is gone, a zombie, or another process has its number. */
export function isProcessAlive(identity: bigint): boolean {
  if (identity === ownIdentity()) return true;
  const pid = pidOf(identity);
  const stat = readStat(String(pid));
  if (stat !== undefined) return stat.isRunning && stat.start === (identity & START_MASK);
  return isListed(pid); // /proc hides the processes of other users on some systems
}

/** The number of the process. */
export function pidOf(identity: bigint): number {
  return Number(identity >> START_BITS);
}

function readStat(pid: string): { readonly isRunning: boolean; readonly start: bigint } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The second field is the program's name, which may hold spaces and brackets.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields.length < 20) return undefined;
  return { isRunning: !/[ZX]/.test(fields[0]), start: BigInt(fields[19]) & START_MASK };
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
