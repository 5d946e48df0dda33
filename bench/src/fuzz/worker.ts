// The thread that runs the cases; main.ts starts it and watches how it goes on.

import { parentPort, workerData } from "node:worker_threads";
import { fuzz } from "./target.ts";
import type { FuzzPlan } from "./target.ts";
import { TARGETS } from "./targets.ts";

/** What the worker is to do. */
export interface WorkerTask extends FuzzPlan {
  readonly target: string;
  /** The case that runs, and 1 where the worker is to stop; shared. */
  readonly progress: Int32Array;
}

const { target, progress, ...plan } = workerData as WorkerTask;
const report = await fuzz(
  TARGETS.find(({ name }) => name === target)!,
  plan,
  (index) => {
    Atomics.store(progress, 0, index);
    return Atomics.load(progress, 1) === 0;
  },
);
parentPort!.postMessage(report);
