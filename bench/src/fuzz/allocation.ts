// What an action asks of memory, told by the engine's own count. A count that fell, because the collector ran, tells
// nothing; over millions of cases it seldom runs in the one that matters.

import { getHeapStatistics } from "node:v8";

// What the engine itself takes now and then, for code that it compiles and buffers that it keeps.
const SLACK_BYTES = 2 ** 23;

/** Runs `action`. Throws if it took more than about `limitBytes` of heap and buffers. */
export function withinBytes<T>(limitBytes: number, action: () => T): T {
  const before = usedBytes();
  try {
    return action();
  } finally {
    const took = usedBytes() - before;
    // Thrown over whatever the action threw.
    if (took > limitBytes + SLACK_BYTES) tooMuch(took, limitBytes);
  }
}

function tooMuch(took: number, limitBytes: number): never {
  throw new Error(`${took} bytes were allocated where ${limitBytes} are allowed`);
}

function usedBytes(): number {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}
