// Team members as Node worker threads. They get their mail through a port of their own, read synchronously, because
// they never return to their event loop.

import { getCompileCacheDir } from "node:module";
import path from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { abandonRun, teamWords } from "./protocol.ts";
import type { MemberInit } from "./protocol.ts";
import type { MemberHandle, MemberSpawner } from "./team.ts";

// The source tree runs as TypeScript and the package as JavaScript; the compiler does not rewrite a URL.
const WORKER = "./team-worker.node.ts";
const WORKER_URL = new URL(import.meta.url.endsWith(".ts") ? WORKER : WORKER.replace(/ts$/, "js"), import.meta.url);

/**
 * The members that are alive. A thread that is in native code does not end when it is told to, and a process waits for
 * its threads: so runs are failed when the process exits, and members leave them at the next chunk.
 */
const members = new Set<MemberInit>();
process.on("exit", () => {
  for (const { memory, blockBytes, threads } of members) abandonRun(teamWords(memory, blockBytes, threads));
});

/**
 * What a member finds in its environment. Where this process keeps compiled modules (module.enableCompileCache), which
 * threads do not inherit, members keep theirs there, too, and start in a quarter of the time. Node makes a folder of
 * its version in the one that it is given.
 */
function memberEnvironment(): NodeJS.ProcessEnv {
  const folder = getCompileCacheDir();
  return folder === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: path.dirname(folder) };
}

/** Starts a member as a worker thread. It does not keep the process alive. */
export const spawnWorkerThread: MemberSpawner = (init: MemberInit, onExit: (reason: string) => void): MemberHandle => {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(WORKER_URL, {
    name: `fidelity-member-${init.member}`,
    workerData: { init, port: port2 },
    transferList: [port2],
    // Flags of the main thread are not for members: loaders and test reporters would only slow their start.
    execArgv: [],
    env: memberEnvironment(),
  });
  members.add(init);
  let hasEnded = false;
  let reason = "exited";
  worker.on("error", (error) => {
    reason = error instanceof Error ? error.message : String(error);
  });
  worker.on("exit", () => {
    port1.close();
    members.delete(init);
    if (!hasEnded) onExit(reason);
  });
  worker.unref();
  return {
    post: (mail) => port1.postMessage(mail),
    hold: () => worker.ref(),
    release: () => worker.unref(),
    end: async () => {
      hasEnded = true;
      await worker.terminate();
    },
  };
};
