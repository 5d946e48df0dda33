// What a page allows, which decides what the other suites prove: with isolation, memory is shared and nothing may be
// evaluated; without it, channels say which headers are missing.

import { ChannelUseError } from "../channel/errors.ts";
import { createThreadChannel } from "../channel/thread.ts";
import { holds, refused } from "./suite.ts";
import type { Suite } from "./suite.ts";

/** For a page that is cross-origin isolated, and its workers. */
export const isolated: Suite = {
  name: "an isolated page",
  sharesMemory: true,
  cases: {
    "memory is shared": () => holds(globalThis.crossOriginIsolated, "the page is cross-origin isolated"),
    "the content policy refuses to evaluate text": noEvaluation,
  },
};

/** For any other page. */
export const notIsolated: Suite = {
  name: "a page without isolation",
  sharesMemory: false,
  cases: {
    "a channel is refused, with the headers that are missing": async () => {
      const message = await refused(() => createThreadChannel(), ChannelUseError);
      holds(message.includes("Cross-Origin-Opener-Policy: same-origin"), "the first header is named");
      holds(message.includes("Cross-Origin-Embedder-Policy: require-corp"), "the second header is named");
    },
    "the content policy refuses to evaluate text": noEvaluation,
  },
};

async function noEvaluation(): Promise<void> {
  await refused(() => Reflect.construct(Function, ["return 1"]), EvalError);
}
