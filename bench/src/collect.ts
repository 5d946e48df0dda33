// Collecting garbage at a moment of our choosing, so that nobody's sample pays for what the one before left behind.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

// Contexts that are made after the flag is set have the function.
setFlagsFromString("--expose-gc");
const gc: () => void = runInNewContext("gc");

/** Collects all garbage now; takes a few milliseconds. */
export function collectGarbage(): void {
  gc();
}
