// Team members as web workers. Their mail comes by the event loop, to which a member returns when it has seen that
// there is some.

import type { MemberMail } from "./protocol.ts";
import type { MemberSpawner } from "./team.ts";

// The source tree is served as it is and the package as JavaScript; the compiler does not rewrite a URL.
const WORKER = "./team-worker-browser.ts";

/** Where a member's script lies, unless a bundler has moved it. */
export const memberScript = new URL(
  import.meta.url.endsWith(".ts") ? WORKER : WORKER.replace(/ts$/, "js"),
  import.meta.url,
);

/** Starts members as web workers that run a script. */
export const webWorkers =
  (script: URL): MemberSpawner =>
  (init, onExit) => {
    const worker = new Worker(script, { type: "module", name: `fidelity-member-${init.member}` });
    worker.addEventListener("error", ({ message }) => {
      worker.terminate();
      onExit(message);
    });
    worker.postMessage(init);
    return {
      post: (mail: MemberMail) => worker.postMessage(mail),
      hold: () => {},
      release: () => {},
      end: () => Promise.resolve(worker.terminate()),
    };
  };
