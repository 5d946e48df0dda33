// Channels between real processes: deaths by SIGKILL, and waiting without holding up the event
// loop. Deaths at random moments, in numbers, are the kill test's matter (bench/src/fuzz/channel-kill.ts).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { after, test } from "node:test";
import { SharedMemoryMissingError } from "../shm/errors.ts";
import { SharedSegment } from "../shm/segment.node.ts";
import { ChannelClosedError, ChannelFormatError, ChannelTimeoutError, PeerDeadError } from "./errors.ts";
import { createChannel, createLatest, createService, openChannel, openLatest, openService } from "./process.node.ts";

const skip = process.platform === "linux" ? false : "memory is shared by name on Linux only";
const BASE = `process-test-${process.pid}`;
const MODULE = new URL("./process.node.ts", import.meta.url).href;
const children = new Set<ChildProcess>();

after(() => {
  for (const child of children) child.kill("SIGKILL");
});

/** A process that runs `code`, in which `channels` is the module under test; it prints a line when it is ready. */
async function start(code: string): Promise<ChildProcess> {
  const source = `import * as channels from ${JSON.stringify(MODULE)};\n${code}`;
  const flags = ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", source];
  const child = spawn(process.execPath, flags, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  await once(child.stdout!, "data");
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

function namesLeft(): string[] {
  return readdirSync("/dev/shm").filter((name) => name.startsWith(`barewire-${BASE}`));
}

test("a consumer gets all that a killed producer has sent, then its death by name", { skip }, async () => {
  using channel = createChannel(`${BASE}-producer`);
  using receiver = channel.receiver();
  const child = await start(`
    const sender = channels.openChannel("${BASE}-producer").sender();
    for (let i = 0; i < 5; i++) sender.send(Uint8Array.of(i));
    sender.loan(100).bytes.fill(255);
    console.log("ready");
    setInterval(() => {}, 1000);`);
  await kill(child);
  for (let i = 0; i < 5; i++) {
    using message = receiver.take({ timeoutMs: 5000 });
    assert.equal(message.bytes[0], i);
  }
  assert.throws(() => receiver.take({ timeoutMs: 5000 }), PeerDeadError);
  await assert.rejects(receiver.takeAsync({ timeoutMs: 1 }), ChannelTimeoutError);
  using next = channel.sender();
  next.send(Uint8Array.of(9));
  assert.equal(receiver.take().bytes[0], 9);
});

test(
  "a producer that waits is told of the death of its consumer, and goes on with the next one",
  { skip },
  async () => {
    using channel = createChannel(`${BASE}-consumer`, { messagesMax: 2 });
    using sender = channel.sender();
    sender.send(Uint8Array.of(0));
    sender.send(Uint8Array.of(1));
    const child = await start(`
    const receiver = channels.openChannel("${BASE}-consumer").receiver();
    receiver.take();
    console.log("ready");
    setInterval(() => {}, 1000);`);
    const waiting = sender.sendAsync(Uint8Array.of(2), { timeoutMs: 20_000 });
    await kill(child);
    await assert.rejects(waiting, PeerDeadError);
    await sender.sendAsync(Uint8Array.of(2), { timeoutMs: 20_000 });
    using receiver = channel.receiver();
    assert.deepEqual([receiver.take().bytes[0], receiver.take().bytes[0]], [1, 2]);
  },
);

test("waiting without holding up the event loop is ended by a message of another process", { skip }, async () => {
  using channel = createChannel(`${BASE}-async`);
  using receiver = channel.receiver();
  const coming = receiver.takeAsync({ timeoutMs: 20_000 });
  const child = await start(`
    using channel = channels.openChannel("${BASE}-async", { waitMs: 1000 });
    channel.sender().send(Uint8Array.of(7));
    console.log("ready");`);
  assert.equal((await coming).bytes[0], 7);
  await assert.rejects(receiver.takeAsync({ timeoutMs: 20_000 }), ChannelClosedError);
  if (child.exitCode === null) await once(child, "exit");
});

test("a service and a latest value between processes", { skip }, async () => {
  using service = createService(`${BASE}-service`);
  using latest = createLatest(`${BASE}-latest`, { valueBytesMax: 64 });
  const child = await start(`
    const server = channels.openService("${BASE}-service").server();
    const publisher = channels.openLatest("${BASE}-latest").publisher();
    publisher.publish(Uint8Array.of(1, 2, 3));
    console.log("ready");
    using request = server.take();
    request.reply(request.bytes.map((byte) => byte + 1));
    server.take();`);
  const client = service.client();
  const subscriber = latest.subscriber();
  assert.deepEqual([...subscriber.next().bytes], [1, 2, 3]);
  {
    using answer = client.call(Uint8Array.of(10, 20));
    assert.deepEqual([...answer.bytes], [11, 21]);
  }
  await kill(child);
  await assert.rejects(client.callAsync(Uint8Array.of(1)), PeerDeadError);
  assert.throws(() => subscriber.next({ timeoutMs: 5000 }), PeerDeadError);
  assert.deepEqual([...latest.subscriber().read()!.bytes], [1, 2, 3], "the last value stays");
  latest.publisher().publish(Uint8Array.of(4));
  assert.deepEqual([...subscriber.next().bytes], [4]);
});

test("names: opened by who comes later, refused as another kind, gone after the last one", { skip }, async () => {
  assert.throws(() => openChannel(`${BASE}-names`), SharedMemoryMissingError);
  assert.throws(() => openService(`${BASE}-names`, { waitMs: 1 }), SharedMemoryMissingError);
  const channel = createChannel(`${BASE}-names`);
  assert.throws(() => openLatest(`${BASE}-names`), ChannelFormatError);
  const again = openChannel(`${BASE}-names`);
  const sender = again.sender();
  channel.close();
  sender.send(Uint8Array.of(1));
  again.close();
  assert.throws(() => sender.send(Uint8Array.of(1)), ChannelClosedError);
  const child = await start(`
    channels.createChannel("${BASE}-forgotten");
    console.log("ready");`);
  if (child.exitCode === null) await once(child, "exit");
  assert.deepEqual(namesLeft(), [], "a process that ends without closing removes its names as well");
});

test("what a process sees of memory that another one wrote is the same", { skip }, async () => {
  using segment = SharedSegment.create(`${BASE}-memory`, 2 ** 20);
  segment.region().u8().fill(3);
  const shm = new URL("../shm/segment.node.ts", import.meta.url).href;
  const child = await start(`
    const { SharedSegment } = await import(${JSON.stringify(shm)});
    using segment = SharedSegment.open("${BASE}-memory");
    const bytes = segment.region().u8();
    console.log(bytes.every((byte) => byte === 3));
    bytes.fill(4);
    `);
  if (child.exitCode === null) await once(child, "exit");
  assert.ok(
    segment
      .region()
      .u8()
      .every((byte) => byte === 4),
  );
  assert.ok(existsSync(`/dev/shm/barewire-${BASE}-memory`), "the other process was not the last one");
});
