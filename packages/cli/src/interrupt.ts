// Ctrl-C. The first one asks: the signal aborts and whoever works stops at the next safe place. The second one means
// it, and the process ends at once; files are written to a temporary name first, so even then none is torn.

import { constants } from "node:os";
import { remark } from "./output.ts";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** Whoever waits longer for the next safe place, as behind a compiler, is told what to do. */
const SLOW_MS = 1000;

export class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #onSignal: (name: NodeJS.Signals) => void;
  #exitCode = 0;
  #slow: NodeJS.Timeout | undefined;

  /** @param onFirst called at the first signal, to say what happens now; by default that is said where it takes long */
  constructor(onFirst?: () => void) {
    this.#onSignal = (name) => {
      const exitCode = 128 + constants.signals[name];
      if (this.#controller.signal.aborted) process.exit(exitCode);
      this.#exitCode = exitCode;
      if (onFirst !== undefined) onFirst();
      else this.#slow = setTimeout(() => remark("stopping; press Ctrl-C again to quit at once"), SLOW_MS).unref();
      this.#controller.abort();
    };
    for (const name of SIGNALS) process.on(name, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** 128 and the number of the signal that came; 0 while none did. */
  get exitCode(): number {
    return this.#exitCode;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#slow);
    for (const name of SIGNALS) process.off(name, this.#onSignal);
  }
}
