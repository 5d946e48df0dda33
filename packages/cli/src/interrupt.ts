// Ctrl-C. The first one asks: the signal aborts and whoever works stops at the next safe place. The second one means
// it, and the process ends at once; files are written to a temporary name first, so even then none is torn.

import { constants } from "node:os";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

export class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #onSignal: (name: NodeJS.Signals) => void;
  #exitCode = 0;

  /** @param onFirst called at the first signal, to say what happens now */
  constructor(onFirst: () => void = () => undefined) {
    this.#onSignal = (name) => {
      const exitCode = 128 + constants.signals[name];
      if (this.#controller.signal.aborted) process.exit(exitCode);
      this.#exitCode = exitCode;
      onFirst();
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
    for (const name of SIGNALS) process.off(name, this.#onSignal);
  }
}
