// The worker thread that sleeps on a futex in place of an event loop; futex.node.ts tells when.

import { parentPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";

import { WATCH, loadFutex } from "./futex.node.ts";
import type { WatchInit } from "./futex.node.ts";

const { control, address }: WatchInit = workerData;
const port: MessagePort = parentPort!;
const futex = loadFutex();
if (typeof futex === "string") throw new Error(futex); // the owner has loaded it before

for (let done = 0; ; done++) {
  Atomics.wait(control, WATCH.command, done);
  if (Atomics.load(control, WATCH.isOver) !== 0) break;
  futex.wait(address, control[WATCH.expected], control[WATCH.timeoutMs]);
  port.postMessage(null);
}
