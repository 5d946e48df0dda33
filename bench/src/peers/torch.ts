// PyTorch as a peer: a Python process that takes a sample whenever it is asked, so that its samples can be taken in
// turn with ours. Debian's libtorch is fast only when it is told the processor's family and left to do its own
// threading, which happens here, and when its BLAS is OpenBLAS, which it tells.

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcessByStdio } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { FidelityError } from "@fidelity/units";

/** The peer ended or said something else than was agreed. */
export class PeerError extends FidelityError {}

const SCRIPT = fileURLToPath(new URL("./torch_step.py", import.meta.url));
/** Debian's own first: another Python before it in the path would not know Debian's packages. */
const PYTHONS: readonly string[] = ["/usr/bin/python3", "python3"];
/** OpenMP's threads spin for some milliseconds after their last work, and would take a processor from who is next. */
const SETTLE_MS = 100;

/** What the peer tells about itself. */
export interface TorchInfo {
  readonly torch: string;
  readonly blas: string;
  readonly parameters: Readonly<Record<string, number>>;
}

export class TorchPeer {
  readonly info: TorchInfo;
  readonly #child: TorchProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(info: TorchInfo, child: TorchProcess, lines: AsyncIterator<string>) {
    this.info = info;
    this.#child = child;
    this.#lines = lines;
  }

  /** Starts the peer with so many threads; undefined where there is no Python with PyTorch. */
  static async start(threads: number): Promise<TorchPeer | undefined> {
    const python = findTorchPython();
    if (python === undefined) return undefined;
    const child = spawn(python, [SCRIPT, String(threads)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, OPENBLAS_NUM_THREADS: "1", ...blasFamily() },
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return new TorchPeer(await readReply<TorchInfo>(lines), child, lines);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** "PyTorch 1.13.0 (openblas SKYLAKEX)": Debian's 1.13.1 calls itself so; the processor is what its BLAS took. */
  get name(): string {
    return `PyTorch ${this.info.torch} (${this.info.blas})`;
  }

  /** Takes so many steps of a model; gives tokens a second. */
  async tokensPerSecond(model: string, steps: number): Promise<number> {
    this.#child.stdin.write(`${model} ${steps}\n`);
    const reply = await readReply<{ tokensPerSecond: number }>(this.#lines);
    await setTimeout(SETTLE_MS);
    return reply.tokensPerSecond;
  }

  /** Ends the process; it ends by itself, too, when its input does. */
  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin.end();
    await ended;
  }
}

/** The Python that has PyTorch, if any. */
export function findTorchPython(): string | undefined {
  return PYTHONS.find((name) => spawnSync(name, ["-c", "import torch"]).status === 0);
}

type TorchProcess = ChildProcessByStdio<Writable, Readable, null>;

async function readReply<T>(lines: AsyncIterator<string>): Promise<T> {
  const { value, done } = await lines.next();
  if (done !== true) return JSON.parse(value) as T;
  throw new PeerError("PyTorch ended in the middle of a measurement", {
    where: SCRIPT,
    hint: "what it printed above says why",
  });
}

/**
 * Debian's OpenBLAS does not know new processors by itself, and takes the slowest of its kernels for them. What the
 * environment says may be an older processor's, and would make the peer slower than it is.
 */
export function blasFamily(): Record<string, string> {
  try {
    return /\bavx512f\b/.test(readFileSync("/proc/cpuinfo", "utf8")) ? { OPENBLAS_CORETYPE: "SKYLAKEX" } : {};
  } catch {
    return {};
  }
}
