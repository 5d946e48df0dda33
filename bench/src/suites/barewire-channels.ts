// Channels beside what Node has: round trips of 64 bytes between two processes and between two threads, what a message
// that is filled in place costs at 64 bytes and at 64 MB, and copying through a channel beside copying in memory; round
// trips and copying once more with a busy process on every processor.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { attachThreadChannel, createThreadChannel } from "@fidelity/barewire";
import type { RingReceiver, RingSender } from "@fidelity/barewire";
import { createChannel } from "@fidelity/barewire/node";
import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { WISH } from "../peers/wish.ts";
import type { EchoThread } from "../peers/wish.ts";
import type { Row, RowPlan } from "../row.ts";
import { quantile } from "../statistics.ts";

const SMALL_BYTES = 64;
const LARGE_BYTES = 2 ** 26;
const BLOCK_BYTES = 2 ** 20;
const TRIPS = { process: 20_000, others: 1000 } as const;
const QUICK_TRIPS = { process: 1000, others: 100 } as const;
const ECHO = fileURLToPath(new URL("../peers/echo.ts", import.meta.url));
const BURN = fileURLToPath(new URL("../peers/burn.ts", import.meta.url));

type Trip = () => void | Promise<void>;

/** Both ends of a pair of rings, as this side holds them. */
interface RingPair {
  readonly sender: RingSender;
  readonly receiver: RingReceiver;
}

/** One way to the other side and back. */
interface Way {
  readonly name: string;
  readonly trip: Trip;
  /** Round trips in a sample. */
  readonly trips: number;
}

/** Measures the channels. Linux only, because channels between processes are. */
export async function barewireChannels(bench: Bench): Promise<void> {
  if (process.platform !== "linux") {
    bench.note("Channels between processes: Linux only, not measured.");
    return;
  }
  await using ends = new AsyncDisposableStack();
  const ring = await ringToProcess(ends);
  const ringOfThread = ringToThread(ends);
  const { socket, child } = await socketToProcess(ends);
  const poster = startThread({ kind: "post" }, ends);
  const post = (bytes: Uint8Array): Promise<unknown> => {
    const answer = once(poster, "message");
    poster.postMessage(bytes, []);
    return answer;
  };
  const { process: many, others: few } = bench.quick ? QUICK_TRIPS : TRIPS;
  const small = new Uint8Array(SMALL_BYTES);
  const ways: Way[] = [
    { name: "ring between processes", trips: many, trip: () => tripOver(ring, small) },
    { name: "Unix socket", trips: few, trip: () => tripOverSocket(socket, small) },
    { name: "Node IPC", trips: few, trip: () => tripOverIpc(child, small) },
    { name: "ring between threads", trips: many, trip: () => tripOver(ringOfThread, small) },
    { name: "postMessage", trips: few, trip: async () => void (await post(small)) },
  ];
  bench.report("Round trips of 64 bytes", await roundTrips(bench, ways, "unloaded"));
  await large(bench, ring);
  const copies = copyingWays(bench, ring, socket, child, post);
  bench.report("Throughput of messages of 1 MiB, copied", await copying(bench, copies, "unloaded"));
  const burners = Array.from({ length: availableParallelism() }, () => spawn(process.execPath, [BURN]));
  try {
    await Promise.all(burners.map((burner) => once(burner, "spawn")));
    const title = "with a busy process on every processor";
    bench.report(`Round trips of 64 bytes ${title}`, await roundTrips(bench, ways, "loaded"));
    bench.report(`Throughput of messages of 1 MiB, copied, ${title}`, await copying(bench, copies, "loaded"));
  } finally {
    for (const burner of burners) burner.kill();
  }
}

/** Median and 99th percentile of each way. Both come from one sample: the one of the median takes it. */
async function roundTrips(bench: Bench, ways: readonly Way[], when: string): Promise<Row[]> {
  const sources: Source[] = [];
  const plans: RowPlan[] = [];
  for (const { name, trips, trip } of ways) {
    let timesUs: number[] = [];
    const sample = async (): Promise<number> => {
      timesUs = await timeTrips(trip, trips);
      return quantile(timesUs, 0.5);
    };
    sources.push({ name: `${name} median`, sample }, { name: `${name} p99`, sample: () => quantile(timesUs, 0.99) });
    const peer = name.endsWith("processes") ? "Unix socket" : name.endsWith("threads") ? "postMessage" : undefined;
    for (const what of ["median", "p99"]) {
      plans.push({
        id: `barewire/channels-round-trip/${when}/${name.toLowerCase().replaceAll(" ", "-")}/${what}`,
        unit: "us",
        source: `${name} ${what}`,
        peer: peer === undefined ? undefined : { source: `${peer} ${what}`, name: peer },
      });
    }
  }
  return measure(sources, plans, bench.settings);
}

async function timeTrips(trip: Trip, count: number): Promise<number[]> {
  const timesUs: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    const going = trip();
    if (going !== undefined) await going;
    timesUs.push((performance.now() - started) * 1000);
  }
  return timesUs;
}

/** A message filled in place by its first and last byte, looked at in place by the other side, and answered. */
async function large(bench: Bench, pair: RingPair): Promise<void> {
  const borrowed = (name: string, sizeBytes: number): Source => {
    const run = (): void => {
      const slot = pair.sender.loan(sizeBytes);
      slot.bytes[0] = slot.bytes[sizeBytes - 1] = 1;
      slot.send(sizeBytes, WISH.look);
      pair.receiver.take().release();
    };
    const { sample } = repeated(name, 1, bench.sampleMs, run);
    return { name, sample: async () => 1e6 / (await sample()) };
  };
  const sources = [borrowed("64 MB", LARGE_BYTES), borrowed("64 B", SMALL_BYTES)];
  const plans: RowPlan[] = [
    {
      id: "barewire/channels-borrowed/64-MB",
      unit: "us",
      source: "64 MB",
      peer: { source: "64 B", name: "64 B, the same way" },
    },
  ];
  const rows = await measure(sources, plans, bench.settings);
  bench.report("Messages filled and read in place, there and a word back", rows);
}

/**
 * Blocks of 1 MiB copied into the channel and taken in place, or copied out as well, beside copying them into plain
 * memory: all over as much as the ring has, and always into the same block, which stays in the caches.
 */
function copyingWays(
  bench: Bench,
  pair: RingPair,
  socket: Socket,
  child: ChildProcess,
  post: (bytes: Uint8Array) => Promise<unknown>,
): Source[] {
  const block = new Uint8Array(BLOCK_BYTES).fill(7);
  const plain = new Uint8Array(LARGE_BYTES).fill(1); // its pages are there, as those of the channel are
  const blocks = 16;
  const through = (wish: number) => (): void => {
    for (let i = 1; i < blocks; i++) pair.sender.send(block, { tag: wish });
    pair.sender.send(block, { tag: WISH.look });
    pair.receiver.take().release();
  };
  const copyInto = (windowBytes: number) => {
    let at = 0;
    return (): void => {
      plain.set(block, at);
      at = (at + BLOCK_BYTES) % windowBytes;
    };
  };
  const rate = (name: string, trip: () => Promise<unknown>): Source => {
    const sample = async (): Promise<number> => {
      const started = performance.now();
      for (let i = 0; i < blocks; i++) await trip();
      return (blocks * BLOCK_BYTES) / ((performance.now() - started) / 1000);
    };
    return { name, sample };
  };
  return [
    repeated("ring", blocks * BLOCK_BYTES, bench.sampleMs, through(WISH.nothing)),
    repeated("ring, copied out", blocks * BLOCK_BYTES, bench.sampleMs, through(WISH.copy)),
    repeated("memcpy", BLOCK_BYTES, bench.sampleMs, copyInto(LARGE_BYTES)),
    repeated("memcpy in cache", BLOCK_BYTES, bench.sampleMs, copyInto(BLOCK_BYTES)),
    rate("Unix socket", () => tripOverSocket(socket, block)),
    rate("Node IPC", () => tripOverIpc(child, block)),
    rate("postMessage", () => post(block)),
  ];
}

async function copying(bench: Bench, sources: readonly Source[], when: string): Promise<Row[]> {
  const plans = sources.map(({ name }): RowPlan => {
    const id = name.toLowerCase().replaceAll(/[ ,]+/g, "-");
    return {
      id: `barewire/channels-copying/${when}/${id}`,
      unit: "GB/s",
      source: name,
      scale: 1e-9,
      peer: name.startsWith("ring") ? { source: "Unix socket", name: "Unix socket" } : undefined,
      ceiling: { source: "memcpy", name: "memcpy", work: 1 },
    };
  });
  return measure(sources, plans, bench.settings);
}

function tripOver({ sender, receiver }: RingPair, bytes: Uint8Array): void {
  sender.send(bytes, ECHO_WISH);
  receiver.take().release();
}
const ECHO_WISH = { tag: WISH.echo } as const;

/** The answer is a word: on a socket, that favours the peer. */
async function tripOverSocket(socket: Socket, bytes: Uint8Array): Promise<void> {
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, bytes.length, true);
  const answer = once(socket, "data");
  socket.cork();
  socket.write(head);
  socket.write(bytes);
  socket.uncork();
  await answer;
}

async function tripOverIpc(child: ChildProcess, bytes: Uint8Array): Promise<void> {
  const answer = once(child, "message");
  child.send(bytes);
  await answer;
}

async function ringToProcess(ends: AsyncDisposableStack): Promise<RingPair> {
  const name = `bench-${process.pid}`;
  const there = ends.use(createChannel(`${name}-there`, { capacityBytes: LARGE_BYTES, messagesMax: 64 }));
  const back = ends.use(createChannel(`${name}-back`));
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ECHO, "ring", name], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  await once(child, "spawn");
  ends.defer(() => void child.kill());
  return { sender: there.sender(), receiver: back.receiver() };
}

function ringToThread(ends: AsyncDisposableStack): RingPair {
  const told = { kind: "ring", there: createThreadChannel(), back: createThreadChannel() } as const;
  startThread(told, ends);
  return { sender: attachThreadChannel(told.there).sender(), receiver: attachThreadChannel(told.back).receiver() };
}

function startThread(told: EchoThread, ends: AsyncDisposableStack): Worker {
  const worker = new Worker(ECHO, { workerData: told });
  ends.defer(async () => void (await worker.terminate()));
  return worker;
}

async function socketToProcess(ends: AsyncDisposableStack): Promise<{ socket: Socket; child: ChildProcess }> {
  const path = join(tmpdir(), `barewire-bench-${process.pid}.sock`);
  ends.defer(() => rmSync(path, { force: true }));
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ECHO, "socket", path], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    serialization: "advanced",
  });
  ends.defer(() => void child.kill());
  await tripOverIpc(child, new Uint8Array(SMALL_BYTES)); // once it answers, it listens
  const socket = connect(path);
  await once(socket, "connect");
  ends.defer(() => void socket.destroy());
  return { socket, child };
}
