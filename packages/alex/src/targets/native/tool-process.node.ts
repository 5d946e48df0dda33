// Tools as processes, and directories for their files. A terminal sends Ctrl-C to a whole group of processes; what an
// interrupt means is for this process to say (a chat goes on, a fuzzer reports), so that each tool has a group of its
// own. When this process ends, by `process.exit` or by a signal that nobody else listens to, its tools are ended and
// their directories removed. Leaves out what ends without a word (SIGKILL): the tools end with their stage then.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { FileError, toFileError } from "@fidelity/barewire/node";

/** How a tool ended. */
export interface ToolEnd {
  /** Undefined where a signal ended it. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Whether it took too long. */
  readonly isTimeout: boolean;
}

/** What is kept of a tool's output; more than anybody reads. */
const OUTPUT_BYTES_MAX = 2 ** 24;

/** Runs a program to its end, or for so long. Rejects where it cannot be started. */
export function runProcess(program: string, args: readonly string[], timeoutMs: number): Promise<ToolEnd> {
  const { promise, resolve, reject } = Promise.withResolvers<ToolEnd>();
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  let isTimeout = false;
  const timer = setTimeout(() => {
    isTimeout = true;
    end(child);
  }, timeoutMs);
  const release = hold(() => end(child));
  const settle = (): void => {
    clearTimeout(timer);
    release();
  };
  const [stdout, stderr] = [child.stdout, child.stderr].map((stream) => {
    const text = { read: "" };
    stream.setEncoding("utf8").on("data", (piece: string) => {
      if (text.read.length < OUTPUT_BYTES_MAX) text.read += piece;
    });
    return text;
  });
  child.on("error", (error) => {
    settle();
    reject(error);
  });
  child.on("close", (code) => {
    settle();
    resolve({ code: code ?? undefined, stdout: stdout.read, stderr: stderr.read, isTimeout });
  });
  return promise;
}

/** Ends a tool and what it started. */
function end({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** What the system refused to write for a tool, as a `FileError`; anything else as it is. */
export function toToolFileError(error: unknown, directory: string): unknown {
  const told = toFileError(error, "write", directory);
  return told instanceof FileError && told !== error ? toolFileError(directory, told.code) : told;
}

/** A file of a tool could not be written. */
export function toolFileError(directory: string, code: string): FileError {
  const hint = "LLVM's tools need room for temporary files: TMPDIR=<folder> names another place";
  return new FileError("write", directory, code, { hint });
}

/**
 * A directory for the files of a tool; `remove` removes it, `keep` leaves it to whoever reads an error. Throws
 * `FileError`.
 */
export async function openDirectory(): Promise<{ readonly path: string; remove(): void; keep(): void }> {
  const base = os.tmpdir();
  const directory = await mkdtemp(path.join(base, "fidelity-native-")).catch((error: unknown) => {
    throw toToolFileError(error, base);
  });
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const keep = hold(remove);
  return {
    path: directory,
    keep,
    remove() {
      keep();
      remove();
    },
  };
}

/** What is given back when this process ends, the last one first. */
const held: (() => void)[] = [];
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Calls `give` where the process ends before the function that comes back was called. */
function hold(give: () => void): () => void {
  if (held.length === 0) {
    process.on("exit", giveAll);
    // Before listeners that are called once, which are gone when they are called.
    for (const name of SIGNALS) process.prependListener(name, onSignal);
  }
  held.push(give);
  return () => {
    const at = held.indexOf(give);
    if (at < 0) return;
    held.splice(at, 1);
    if (held.length === 0) stopListening();
  };
}

function stopListening(): void {
  process.off("exit", giveAll);
  for (const name of SIGNALS) process.off(name, onSignal);
}

function giveAll(): void {
  for (const give of held.splice(0).reverse()) give();
}

/** Ends the process as the signal would have, unless somebody else decides what it means. */
function onSignal(name: NodeJS.Signals): void {
  if (process.listenerCount(name) > 1) return;
  giveAll();
  stopListening();
  process.kill(process.pid, name);
}
