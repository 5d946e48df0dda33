// Waiting for another thread or process: spin for up to 60 us, because that is what sleeping and being woken costs,
// then sleep on a futex. The word slept on is an eventcount (Vyukov, "Eventcount"): bit 0 says that someone may sleep,
// the rest counts. A sleeper arms it, looks once more, and sleeps only while the word is as it was armed; whoever
// changes something rings it, which costs one load when nobody sleeps. A change made before the last look is seen by
// it, and one made after it finds the bit set, so that no wake-up is lost (both sides use sequentially consistent
// atomics).
//
// Every sleep is bounded. After it the waiter looks whether its peers are alive: that is how death is noticed, and how
// a wake-up is made good that died with a peer between its change and its ring. Left out: priorities, fairness.

/** How participants of a channel sleep, wake each other and tell whether the others live. */
export interface Parking {
  /** Sleeps until woken, until the word is no longer `expected`, or for the time; may return early for no reason. */
  wait(words: Int32Array, index: number, expected: number, timeoutMs: number): void;
  /** The same without holding up the event loop. */
  waitAsync(words: Int32Array, index: number, expected: number, timeoutMs: number): Promise<void>;
  /** Wakes everyone who sleeps on the word. */
  wake(words: Int32Array, index: number): void;
  /** A number that is this participant's alone and never 0; `ticket` is one that no other of this channel has. */
  identity(ticket: number): bigint;
  isAlive(identity: bigint): boolean;
  /** For people: "process 4711". */
  describe(identity: bigint): string;
}

/** How long to wait at most; forever by default. */
export interface WaitOptions {
  readonly timeoutMs?: number;
}

/** A wait without holding up the event loop can also be broken off; it then rejects with the signal's reason. */
export interface AsyncWaitOptions extends WaitOptions {
  readonly signal?: AbortSignal;
}

/** Milliseconds on a clock that only goes forward: the one place where channels look at one. */
export function nowMs(): number {
  return performance.now();
}

/** Death is looked for at most this often, and at least twice as rarely as this while something is waited for. */
export const LIVENESS_MS = 200;

/** Sleeping and being woken across cores takes about so long. */
const SPIN_MS = 0.06;
const SPIN_MS_MIN = 0.002;
/** Spinning is tried again after so many waits at the latest: so rarely that the 99th percentile does not show it. */
const WAITS_BETWEEN_PROBES_MAX = 1024;
const SPINS_BETWEEN_CLOCKS = 16;

/** One word that others ring. */
export class Bell {
  readonly #words: Int32Array;
  readonly #index: number;
  readonly #parking: Parking;
  readonly #spinner = new Spinner();

  constructor(words: Int32Array, index: number, parking: Parking) {
    this.#words = words;
    this.#index = index;
    this.#parking = parking;
  }

  /** Wakes those who wait for what was just changed. */
  ring(): void {
    const value = Atomics.load(this.#words, this.#index);
    if ((value & 1) === 0) return;
    // Another ring may come first: it happened after our change, so the sleepers it wakes will see ours as well.
    if (Atomics.compareExchange(this.#words, this.#index, value, (value + 1) | 0) !== value) return;
    this.#parking.wake(this.#words, this.#index);
  }

  /**
   * Waits until `isReady` says so; false when the time is over. `check` is called before each sleep and may throw, for
   * example because a peer is dead.
   */
  wait(isReady: () => boolean, check: () => void, timeoutMs: number): boolean {
    if (isReady() || (timeoutMs > 0 && this.#spinner.spin(isReady))) return true;
    const deadline = nowMs() + timeoutMs;
    for (;;) {
      const armed = this.#arm();
      if (isReady()) return true;
      check();
      const leftMs = deadline - nowMs();
      if (leftMs <= 0) return false;
      this.#parking.wait(this.#words, this.#index, armed, Math.min(leftMs, LIVENESS_MS));
    }
  }

  /** As `wait`, without holding up the event loop, and without spinning in it. */
  async waitAsync(isReady: () => boolean, check: () => void, options: AsyncWaitOptions): Promise<boolean> {
    const deadline = nowMs() + (options.timeoutMs ?? Infinity);
    for (;;) {
      options.signal?.throwIfAborted();
      if (isReady()) return true; // first, because it is so when the memory is gone
      const armed = this.#arm();
      if (isReady()) return true;
      check();
      const leftMs = deadline - nowMs();
      if (leftMs <= 0) return false;
      const slept = this.#parking.waitAsync(this.#words, this.#index, armed, Math.min(leftMs, LIVENESS_MS));
      await (options.signal === undefined ? slept : untilAborted(slept, options.signal));
    }
  }

  #arm(): number {
    return Atomics.or(this.#words, this.#index, 1) | 1;
  }
}

// With one processor the other side cannot run while this one spins.
const mayGain = (globalThis.navigator?.hardwareConcurrency ?? 2) > 1;

// Spins where it pays (Karlin et al., "Empirical studies of competitive spinning for a shared-memory multiprocessor",
// SOSP 1991). Where all processors are busy, the other side does not run while this one spins. So after a spin in vain
// the next waits hardly spin, 1 of them, then 2, then 4, ..., with a long spin between to see whether it pays again.
class Spinner {
  #gap = 0;
  #shortWaits = 0;

  spin(isReady: () => boolean): boolean {
    if (!mayGain) return false;
    const isShort = this.#shortWaits > 0;
    const until = nowMs() + (isShort ? SPIN_MS_MIN : this.#gap > 0 ? 2 * SPIN_MS : SPIN_MS);
    do {
      for (let i = 0; i < SPINS_BETWEEN_CLOCKS; i++) {
        if (isReady()) {
          this.#gap = this.#shortWaits = 0;
          return true;
        }
        pause();
      }
    } while (nowMs() < until);
    if (isShort) {
      this.#shortWaits--;
    } else {
      this.#gap = Math.min(WAITS_BETWEEN_PROBES_MAX, Math.max(1, 2 * this.#gap));
      this.#shortWaits = this.#gap;
    }
    return false;
  }
}

/** Tells the core that this is a spin loop; engines without `Atomics.pause` spin without it. */
const pause: () => void = typeof Atomics.pause === "function" ? () => Atomics.pause() : () => {};

// The sleeper goes on to its own end; only the waiting for it is given up.
async function untilAborted(slept: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = (): void => resolve();
  signal.addEventListener("abort", wake, { once: true });
  try {
    await Promise.race([slept, promise]);
  } finally {
    signal.removeEventListener("abort", wake);
  }
  signal.throwIfAborted();
}

/**
 * Lets a check through at most once per `LIVENESS_MS`, so that a waiter that is woken often does not spend its time on
 * looking after its peers.
 */
export class Throttle {
  #nextMs = 0;

  isDue(): boolean {
    const now = nowMs();
    if (now < this.#nextMs) return false;
    this.#nextMs = now + LIVENESS_MS;
    return true;
  }
}
