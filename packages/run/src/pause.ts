// A turn for everybody else: between two tokens, timers run, signals are heard, and what was written goes out. A turn
// is taken only when some time has passed, so that small models, which have a token in microseconds, are not slowed.

/** No longer does anybody wait for a turn. */
const BETWEEN_TURNS_MS = 5;

export class Pause {
  #turnMs = performance.now();

  /** Gives others a turn if they have waited for long enough. */
  async turn(): Promise<void> {
    if (performance.now() - this.#turnMs < BETWEEN_TURNS_MS) return;
    await nextTurn();
    this.#turnMs = performance.now();
  }
}

/**
 * Resolves when all others have had their turn. Timers would do, but round up to a millisecond or four. Node has a
 * function for it; in browsers it is a message to oneself, of which Node takes a thousand in one turn.
 */
export function nextTurn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (typeof setImmediate === "function") {
    setImmediate(resolve);
    return promise;
  }
  const { port1, port2 } = new MessageChannel();
  port1.addEventListener("message", () => {
    port1.close();
    resolve();
  });
  port1.start();
  port2.postMessage(undefined);
  return promise;
}
