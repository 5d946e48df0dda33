// Channels between real threads that end without leaving: by `terminate`, by an error, by `process.exit`. Those who wait
// hold their thread up meanwhile, so that no event of Node can tell them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { ChannelTimeoutError, PeerDeadError } from "./errors.ts";
import { createChannel } from "./process.node.ts";
import {
  attachThreadChannel,
  attachThreadLatest,
  attachThreadService,
  createThreadChannel,
  createThreadLatest,
  createThreadService,
} from "./thread.ts";

const skip = process.platform === "linux" ? false : "threads are told apart on Linux only";
const THREAD = new URL("./thread.ts", import.meta.url).href;
const PROCESS = new URL("./process.node.ts", import.meta.url).href;

/** A thread that runs `code`, in which `channels` is the module and `given` what is handed over; it posts when ready. */
async function start(code: string, given: unknown, module = THREAD): Promise<Worker> {
  const source = `
    const { parentPort, workerData: given } = require("node:worker_threads");
    const ready = () => parentPort.postMessage("ready");
    import(${JSON.stringify(module)}).then((channels) => { ${code} });`;
  const worker = new Worker(source, { eval: true, workerData: given, execArgv: [] });
  await once(worker, "message");
  worker.on("error", () => {}); // some of them are told to end by one
  return worker;
}

test("a consumer gets what a terminated producer has sent, then its death by name", { skip }, async () => {
  const handle = createThreadChannel();
  using channel = attachThreadChannel(handle);
  using receiver = channel.receiver({ keepOpen: true });
  const produce = `
    const sender = channels.attachThreadChannel(given).sender();
    sender.send(Uint8Array.of(1));
    sender.loan(100).bytes.fill(255);
    ready();
    for (;;);`;
  const worker = await start(produce, handle);
  void worker.terminate();
  assert.equal(receiver.take().bytes[0], 1);
  assert.throws(() => receiver.take(), PeerDeadError);
  await start(`channels.attachThreadChannel(given).sender().send(Uint8Array.of(2)); ready();`, handle);
  assert.equal(receiver.take({ timeoutMs: 10_000 }).bytes[0], 2);
});

test("a producer that waits for room is told of a consumer that ended by an error", { skip }, async () => {
  const handle = createThreadChannel({ messagesMax: 2 });
  using channel = attachThreadChannel(handle);
  using sender = channel.sender({ keepOpen: true });
  sender.send(Uint8Array.of(0));
  sender.send(Uint8Array.of(1));
  const consume = `
    channels.attachThreadChannel(given).receiver().take();
    parentPort.on("message", () => { throw new Error("as meant"); });
    ready();`;
  const worker = await start(consume, handle);
  worker.postMessage("end");
  assert.throws(() => sender.send(Uint8Array.of(2)), PeerDeadError);
  sender.send(Uint8Array.of(2));
  assert.equal(channel.receiver().take().bytes[0], 1);
});

test("a thread that waits without end is not taken for dead", { skip }, async () => {
  const handle = createThreadChannel();
  using channel = attachThreadChannel(handle);
  using receiver = channel.receiver();
  const worker = await start(`const s = channels.attachThreadChannel(given).sender(); ready(); for (;;);`, handle);
  assert.throws(() => receiver.take({ timeoutMs: 500 }), ChannelTimeoutError);
  await worker.terminate();
  await assert.rejects(receiver.takeAsync(), PeerDeadError);
});

test("the death of a server and of a publisher", { skip }, async () => {
  const given = { service: createThreadService(), latest: createThreadLatest({ valueBytesMax: 8 }) };
  using service = attachThreadService(given.service);
  using latest = attachThreadLatest(given.latest);
  const serve = `
    channels.attachThreadLatest(given.latest).publisher().publish(Uint8Array.of(3));
    const server = channels.attachThreadService(given.service).server();
    ready();
    server.take();
    process.exit();`;
  await start(serve, given);
  const subscriber = latest.subscriber();
  assert.equal(subscriber.next().bytes[0], 3);
  assert.throws(() => service.client().call(Uint8Array.of(1)), PeerDeadError);
  assert.throws(() => subscriber.next(), PeerDeadError);
  latest.publisher().publish(Uint8Array.of(4));
  assert.equal(subscriber.next().bytes[0], 4);
});

test("a terminated thread of a process that lives leaves its channel between processes", { skip }, async () => {
  const name = `thread-test-${process.pid}`;
  const channel = createChannel(name);
  using receiver = channel.receiver();
  const produce = `globalThis.sender = channels.openChannel(given).sender(); ready(); setInterval(() => {}, 1000);`;
  const worker = await start(produce, name, PROCESS);
  void worker.terminate();
  assert.throws(() => receiver.take(), PeerDeadError);
  channel.close();
  assert.ok(!existsSync(`/dev/shm/barewire-${name}`), "who is gone holds no name");
});
