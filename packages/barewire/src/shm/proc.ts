// Which thread is which: its number and the time it started, as one 64-bit word. Numbers are given again soon, the pair
// never within one start of the machine. Field 22 of /proc/<number>/stat is the start in clock ticks (proc(5)); threads
// have such a file as well, which the listing of /proc leaves out, and the number of a main thread is its process's.
// This file reads nothing by itself, because it runs in browsers too, where there is nothing of the kind.

/** Reads a text file; throws where there is none. */
export type ReadText = (path: string) => string;

/** What the system says of a thread. */
export interface ThreadStat {
  readonly identity: bigint;
  /** False for what has ended and was not waited for yet. */
  readonly isRunning: boolean;
}

const START_BITS = 40n;
const START_MASK = (1n << START_BITS) - 1n;

/** An identity is at least this large, so that smaller numbers can mean something else. */
export const IDENTITY_MIN = 1n << START_BITS;

/** The identity of a thread with that number and start. */
export function identityOf(number: number, start: bigint): bigint {
  return (BigInt(number) << START_BITS) | (start & START_MASK);
}

/** The number in an identity. */
export function numberOf(identity: bigint): number {
  return Number(identity >> START_BITS);
}

/** The thread that asks; undefined where the others could not see it under its number. */
export function readOwnThread(readText: ReadText): ThreadStat | undefined {
  const own = readThread(readText, "thread-self");
  return own && readThread(readText, numberOf(own.identity))?.identity === own.identity ? own : undefined;
}

/** The thread of a number, or "self" (the process), or "thread-self"; undefined where there is none to be seen. */
export function readThread(readText: ReadText, which: number | "self" | "thread-self"): ThreadStat | undefined {
  let text: string;
  try {
    text = readText(`/proc/${which}/stat`);
  } catch {
    return undefined;
  }
  // The second field is the program's name, which may hold spaces and brackets.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const number = Number.parseInt(text, 10);
  if (fields.length < 20 || !(number > 0)) return undefined;
  return { identity: identityOf(number, BigInt(fields[19])), isRunning: !/[ZX]/.test(fields[0]) };
}
