// Sleeping and waking between processes: Linux's futex on a word of mapped memory (Drepper, "Futexes Are Tricky"), by
// `syscall` through node:ffi, because `Atomics.wait` takes SharedArrayBuffers only. Without holding up the event loop,
// a worker thread sleeps in our place, one for each word that is ever waited for; it sleeps as well when there is
// nothing to wait for, and does not keep the process alive. Left out: systems other than Linux.

import { Worker } from "node:worker_threads";

import type { Parking } from "../channel/wait.ts";
import { loadLibc } from "../ffi.node.ts";
import type { Libc } from "../ffi.node.ts";
import { isProcessAlive, ownThreadIdentity, pidOf } from "./identity.node.ts";

const FUTEX_WAIT = 0n;
const FUTEX_WAKE = 1n;
const EVERYONE = 0x7fff_ffffn;
const FUTEX_NUMBERS: Readonly<Partial<Record<NodeJS.Architecture, bigint>>> = { x64: 202n, arm64: 98n, riscv64: 98n };

const WATCHER = "./futex-watcher.node.ts";
const WATCHER_URL = new URL(import.meta.url.endsWith(".ts") ? WATCHER : WATCHER.replace(/ts$/, "js"), import.meta.url);

/** Words of what a watcher and its owner share. */
export const WATCH = { command: 0, expected: 1, timeoutMs: 2, isOver: 3 } as const;

/** What a watcher starts with. */
export interface WatchInit {
  readonly control: Int32Array<SharedArrayBuffer>;
  readonly address: bigint;
}

/** The futex calls of this thread, or why there are none. */
export function loadFutex(): Futex | string {
  const number = FUTEX_NUMBERS[process.arch];
  if (process.platform !== "linux" || number === undefined) {
    return `futexes are used on Linux (x64, arm64, riscv64), not on ${process.platform} ${process.arch}`;
  }
  const { libc, reason } = loadLibc();
  return libc === undefined ? reason : new Futex(libc, number);
}

/** Futex calls on addresses. What the calls give back is not needed: every waiter looks again. */
export class Futex {
  readonly #libc: Libc;
  readonly #number: bigint;
  readonly #timespec = new BigInt64Array(new ArrayBuffer(16)); // struct timespec: seconds, nanoseconds
  readonly #timespecAddress: bigint;

  constructor(libc: Libc, number: bigint) {
    this.#libc = libc;
    this.#number = number;
    this.#timespecAddress = libc.addressOf(this.#timespec);
  }

  /** Sleeps until woken, until the word is no longer `expected`, or for the time. */
  wait(address: bigint, expected: number, timeoutMs: number): void {
    const wholeMs = Math.max(0, Math.ceil(timeoutMs));
    this.#timespec[0] = BigInt(Math.floor(wholeMs / 1000));
    this.#timespec[1] = BigInt(wholeMs % 1000) * 1_000_000n;
    this.#libc.syscall(this.#number, address, FUTEX_WAIT, BigInt(expected >>> 0), this.#timespecAddress, 0n);
  }

  wake(address: bigint): void {
    this.#libc.syscall(this.#number, address, FUTEX_WAKE, EVERYONE, 0n, 0n);
  }
}

/** Sleeping and waking on words of one mapping, between all processes that have it. */
export class ProcessParking implements Parking {
  readonly #futex: Futex;
  readonly #base: bigint;
  readonly #watchers = new Map<bigint, Watcher>();

  /** `base` is the address of the first byte of the mapping's buffer. */
  constructor(futex: Futex, base: bigint) {
    this.#futex = futex;
    this.#base = base;
  }

  wait(words: Int32Array, index: number, expected: number, timeoutMs: number): void {
    this.#futex.wait(this.#address(words, index), expected, timeoutMs);
  }

  waitAsync(words: Int32Array, index: number, expected: number, timeoutMs: number): Promise<void> {
    const address = this.#address(words, index);
    let watcher = this.#watchers.get(address);
    if (watcher === undefined) {
      watcher = new Watcher(address);
      this.#watchers.set(address, watcher);
    }
    return watcher.wait(expected, timeoutMs);
  }

  wake(words: Int32Array, index: number): void {
    this.#futex.wake(this.#address(words, index));
  }

  identity(): bigint {
    return ownThreadIdentity();
  }

  isAlive(identity: bigint): boolean {
    return isProcessAlive(identity);
  }

  describe(identity: bigint): string {
    return `process or thread ${pidOf(identity)}`;
  }

  /** Ends the worker threads that slept for this mapping. */
  close(): void {
    for (const [address, watcher] of this.#watchers) {
      watcher.end();
      this.#futex.wake(address);
    }
    this.#watchers.clear();
  }

  #address(words: Int32Array, index: number): bigint {
    return this.#base + BigInt(words.byteOffset + 4 * index);
  }
}

// A worker thread that sleeps on one word. Whoever waits while it sleeps shares its sleep: if the word has changed, it
// is not asleep for long, and if not, there is nothing else to wait for.
class Watcher {
  readonly #control = new Int32Array(new SharedArrayBuffer(16));
  readonly #worker: Worker;
  #sleep: PromiseWithResolvers<void> | undefined;

  constructor(address: bigint) {
    const init: WatchInit = { control: this.#control, address };
    this.#worker = new Worker(WATCHER_URL, { name: "barewire-futex", workerData: init, execArgv: [] });
    this.#worker.on("message", () => this.#wakeUp());
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.unref();
  }

  wait(expected: number, timeoutMs: number): Promise<void> {
    if (this.#sleep !== undefined) return this.#sleep.promise;
    this.#sleep = Promise.withResolvers<void>();
    this.#worker.ref();
    this.#control[WATCH.expected] = expected;
    this.#control[WATCH.timeoutMs] = Math.ceil(timeoutMs);
    this.#command();
    return this.#sleep.promise;
  }

  end(): void {
    Atomics.store(this.#control, WATCH.isOver, 1);
    this.#command();
    this.#wakeUp();
  }

  #command(): void {
    Atomics.add(this.#control, WATCH.command, 1);
    Atomics.notify(this.#control, WATCH.command);
  }

  #wakeUp(): void {
    this.#worker.unref();
    this.#sleep?.resolve();
    this.#sleep = undefined;
  }

  #fail(error: unknown): void {
    this.#sleep?.reject(error);
    this.#sleep = undefined;
  }
}
