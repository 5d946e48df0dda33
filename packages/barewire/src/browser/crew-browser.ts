// Workers of the suites in a browser, of a page or of another worker.

import { Crew } from "./crew.ts";
import type { Reply } from "./crew.ts";

/** A crew of web workers. */
export function browserCrew(): Crew {
  return new Crew((reply) => {
    const worker = new Worker(new URL("./crew-worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => reply(data));
    worker.addEventListener("error", (event) =>
      reply({ error: `${event.message} (${event.filename}:${event.lineno})` }),
    );
    return { post: (order) => worker.postMessage(order), terminate: () => worker.terminate() };
  });
}
