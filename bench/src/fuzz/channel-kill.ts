// Kills producers and consumers of a channel between processes by SIGKILL at random moments, and checks what the
// survivors see: no message torn, none twice, none out of its producer's order, each death told by name within a
// second, no more messages lost than were in the hands of the dead, and no name left behind after the next start.
//
//   node bench/src/fuzz/channel-kill.ts [--kills 200] [--messages 1000000] [--seed 1]

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createChannel, sweepSharedMemory } from "@fidelity/barewire/node";
import { Ledger, makeRandom } from "./channel-kill-ledger.ts";
import type { Role } from "./channel-kill-ledger.ts";

const WORKER = fileURLToPath(new URL("./channel-kill-worker.ts", import.meta.url));
const NOTICE_MS_MAX = 1000;
const STUCK_MS = 30_000;

/** One run: how many of each role, how often to kill, how many messages at least. */
export interface KillPlan {
  readonly producers: number;
  readonly consumers: number;
  readonly kills: number;
  readonly messages: number;
  readonly seed: number;
}

/** What was seen. */
export interface KillReport {
  readonly consumers: number;
  readonly kills: number;
  readonly seen: number;
  readonly lost: number;
  readonly torn: number;
  readonly repeated: number;
  /** Counted for any number of consumers; promised for one. */
  readonly disordered: number;
  /** Time until a survivor was told of a death: the longest, and the middle one. */
  readonly noticeMsMax: number;
  readonly noticeMsMedian: number;
}

/** Runs a plan. Throws where a process fails by itself or nothing goes on. */
export async function runKills(plan: KillPlan): Promise<KillReport> {
  const base = `kill-${process.pid}-${plan.producers}x${plan.consumers}`;
  const crew = new Crew(base, plan);
  const noticesMs: number[] = [];
  try {
    const random = makeRandom(plan.seed);
    await crew.fill();
    for (let kill = 0; kill < plan.kills; kill++) {
      // The messages are spread over the kills, and the moment itself is any.
      const goal = Math.floor((plan.messages * (kill + 1)) / (plan.kills + 1));
      crew.letSend(Math.max(20_000, (2 * plan.messages) / plan.kills));
      await crew.until(() => crew.ledger.get("seenTotal") >= goal);
      await sleep(random() * 30);
      noticesMs.push(await crew.kill(random() < 0.5 ? "producer" : "consumer", random));
      await crew.fill();
    }
    crew.letSend(plan.messages);
    await crew.until(() => crew.ledger.get("seenTotal") >= plan.messages);
    await crew.end();
    return crew.report(noticesMs);
  } finally {
    crew.close();
    sweepSharedMemory();
  }
}

// The processes of one run.
class Crew {
  readonly ledger: Ledger;
  readonly #base: string;
  readonly #plan: KillPlan;
  readonly #channel: Disposable;
  readonly #alive: Record<Role, ChildProcess[]> = { producer: [], consumer: [] };
  #started = 0;
  #failure: Error | undefined;

  constructor(base: string, plan: KillPlan) {
    this.#base = base;
    this.#plan = plan;
    this.ledger = Ledger.create(`${base}-ledger`, plan.messages * 8 + plan.kills * 20_000);
    const limits = { producersMax: plan.producers, consumersMax: plan.consumers };
    this.#channel = createChannel(base, { ...limits, capacityBytes: 2 ** 16, messagesMax: 64 });
  }

  /** Lets the producers send so many messages more. */
  letSend(count: number): void {
    const { ledger } = this;
    ledger.add("limit", Math.ceil(ledger.get("nextNumber") + count - ledger.get("limit")));
  }

  /** Starts who is missing, and waits until all are at work. */
  async fill(): Promise<void> {
    for (const [role, count] of [
      ["consumer", this.#plan.consumers],
      ["producer", this.#plan.producers],
    ] as const) {
      while (this.#alive[role].length < count) this.#start(role);
    }
    await this.until(() => this.ledger.get("started") >= this.#started);
  }

  /** Kills one of the role and gives the time until a survivor of the other role was told, in ms. */
  async kill(role: Role, random: () => number): Promise<number> {
    const field = role === "producer" ? "producerDeaths" : "consumerDeaths";
    const before = this.ledger.get(field);
    const [victim] = this.#alive[role].splice(Math.floor(random() * this.#alive[role].length), 1);
    victim.kill("SIGKILL");
    const killed = performance.now();
    await this.until(() => this.ledger.get(field) > before);
    return performance.now() - killed;
  }

  async end(): Promise<void> {
    this.ledger.add("stop");
    const children = [...this.#alive.producer, ...this.#alive.consumer];
    await this.until(() => children.every((child) => child.exitCode !== null));
  }

  async until(isDone: () => boolean): Promise<void> {
    const deadline = performance.now() + STUCK_MS;
    while (!isDone()) {
      if (this.#failure !== undefined) throw this.#failure;
      if (performance.now() > deadline) throw new Error(`nothing goes on: ${JSON.stringify(this.report([]))}`);
      await sleep(5);
    }
  }

  report(noticesMs: number[]): KillReport {
    const { ledger } = this;
    const sorted = noticesMs.toSorted((a, b) => a - b);
    return {
      consumers: this.#plan.consumers,
      kills: noticesMs.length,
      seen: ledger.get("seenTotal"),
      lost: ledger.lost(),
      torn: ledger.get("torn"),
      repeated: ledger.get("repeated"),
      disordered: ledger.get("disordered"),
      noticeMsMax: sorted.at(-1) ?? 0,
      noticeMsMedian: sorted[sorted.length >> 1] ?? 0,
    };
  }

  close(): void {
    for (const child of [...this.#alive.producer, ...this.#alive.consumer]) child.kill("SIGKILL");
    this.#channel[Symbol.dispose]();
    this.ledger[Symbol.dispose]();
  }

  #start(role: Role): void {
    const child = startWorker([role, this.#base, `${this.#base}-ledger`]);
    child.on("exit", (code, signal) => {
      if (code !== 0 && signal !== "SIGKILL") this.#failure = new Error(`a ${role} ended with ${signal ?? code}`);
    });
    this.#alive[role].push(child);
    this.#started++;
  }
}

/**
 * What is wrong with a report, in words; nothing if all is as promised. On a machine that is busy with other things,
 * being told takes as long as getting a processor does: there, `noticeMsMax` is more than the promised second.
 */
export function judge(report: KillReport, noticeMsMax = NOTICE_MS_MAX): string[] {
  const wrong: string[] = [];
  if (report.torn > 0) wrong.push(`${report.torn} torn messages`);
  if (report.repeated > 0) wrong.push(`${report.repeated} repeated messages`);
  if (report.disordered > 0 && report.consumers === 1) wrong.push(`${report.disordered} messages out of order`);
  if (report.noticeMsMax > noticeMsMax) wrong.push(`a death noticed after ${Math.round(report.noticeMsMax)} ms`);
  if (report.lost > report.kills) wrong.push(`${report.lost} messages lost by ${report.kills} kills`);
  return wrong;
}

/**
 * Kills a process that has made a channel, and starts another one that makes one of another name. Gives the names that
 * it held, those left after the kill (by then any other process that starts may have removed them), and those left
 * after the start.
 */
export async function leaveNames(): Promise<{
  readonly held: string[];
  readonly killed: string[];
  readonly restarted: string[];
}> {
  const base = `left-${process.pid}`;
  const holder = startWorker(["holder", base]);
  let held: string[] = [];
  try {
    const deadline = performance.now() + STUCK_MS;
    while (held.length === 0 && performance.now() < deadline) {
      await sleep(5);
      held = namesOf(base);
    }
  } finally {
    holder.kill("SIGKILL");
  }
  await ended(holder);
  const killed = namesOf(base);
  await ended(startWorker(["starter", `${base}-next`]));
  return { held, killed, restarted: namesOf(base) };
}

function startWorker(args: readonly string[]): ChildProcess {
  const flags = ["--disable-warning=ExperimentalWarning", WORKER];
  return spawn(process.execPath, [...flags, ...args], { stdio: ["ignore", "ignore", "inherit"] });
}

function namesOf(base: string): string[] {
  return readdirSync("/dev/shm").filter((name) => name.startsWith(`barewire-${base}`));
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: "string", default: "200" },
      messages: { type: "string", default: "1000000" },
      seed: { type: "string", default: "1" },
    },
  });
  const [kills, messages, seed] = [values.kills, values.messages, values.seed].map(Number);
  for (const count of [1, 2]) {
    const plan = { producers: count, consumers: count, kills: kills >> 1, messages: messages >> 1, seed: seed + count };
    const report = await runKills(plan);
    const wrong = judge(report);
    console.log(
      `${count} x ${count}: ${JSON.stringify(report)} ${wrong.length === 0 ? "as promised" : wrong.join("; ")}`,
    );
    if (wrong.length > 0) process.exitCode = 1;
  }
  const { killed, restarted } = await leaveNames();
  console.log(`names left by a kill: ${killed.join(", ")}; after the next start: ${restarted.join(", ") || "none"}`);
  if (restarted.length > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
