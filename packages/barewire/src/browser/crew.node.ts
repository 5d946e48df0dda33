// Workers of the suites in Node: this file is their program as well.

import { Worker, isMainThread, parentPort } from "node:worker_threads";

import { Crew } from "./crew.ts";
import type { Order } from "./crew.ts";
import { play } from "./roles.ts";

/** A crew of worker threads. */
export function nodeCrew(): Crew {
  return new Crew((reply) => {
    const worker = new Worker(new URL(import.meta.url));
    worker.on("message", reply);
    worker.on("error", (error) => reply({ error: String(error) }));
    return { post: (order) => worker.postMessage(order), terminate: () => worker.terminate() };
  });
}

if (!isMainThread) {
  parentPort?.on("message", (order: Order) => void play(order).then((reply) => parentPort?.postMessage(reply)));
}
