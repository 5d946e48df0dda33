// The runtime's reports in Node: FIDELITY_DEBUG sets the level, and the lines go to standard error.

import { debugLevel } from "./debug.ts";
import type { DebugSink } from "./debug.ts";

export function debugSinkFromEnvironment(): DebugSink {
  return {
    level: debugLevel(process.env.FIDELITY_DEBUG),
    line: (text) => void process.stderr.write(`[alex] ${text}\n`),
  };
}
