// A process of the generation suite: opens a model file as for the first time and writes a token after a prompt, reads
// the prompt once more, and prints the time of both, the most memory that it had, less what it had before, and the
// plan.

import { readFileSync } from "node:fs";
import type { BenchTarget } from "../options.ts";
import { OwnModel } from "./generation-own.ts";

export interface FirstTokenJob {
  readonly path: string;
  readonly target: BenchTarget;
  readonly threads: number;
  readonly promptTokens: number;
}

export interface FirstTokenUse {
  /** Opening device and file, from there to the first token, and to the same token of a session that has read it. */
  readonly openMs: number;
  readonly firstMs: number;
  readonly warmMs: number;
  readonly peakBytes: number;
  /** What the device has given out: weights, state, and the arena of what lies between. */
  readonly plannedBytes: number;
}

function resident(name: "VmRSS" | "VmHWM"): number {
  const [, kibibytes] = new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/self/status", "utf8"))!;
  return Number(kibibytes) * 1024;
}

async function run({ path, target, threads, promptTokens }: FirstTokenJob): Promise<FirstTokenUse> {
  const tokens = Array.from({ length: promptTokens }, (_, i) => i % 256);
  const before = resident("VmRSS");
  const started = performance.now();
  const own = await OwnModel.open(path, { target, threads, capacity: promptTokens });
  await own.session.prefill(tokens);
  const { openMs } = own;
  const firstMs = performance.now() - started - openMs;
  const warmMs = (1000 * promptTokens) / (await own.prefill(tokens));
  const peakBytes = resident("VmHWM") - before;
  const use = { openMs, firstMs, warmMs, peakBytes, plannedBytes: own.device.arena.liveBytes };
  await own.close();
  return use;
}

process.stdout.write(JSON.stringify(await run(JSON.parse(process.argv[2]) as FirstTokenJob)));
