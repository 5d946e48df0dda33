import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import {
  ChannelClosedError,
  ChannelError,
  ChannelFormatError,
  ChannelFullError,
  ChannelTimeoutError,
  MessageTooLargeError,
} from "./errors.ts";
import { attachThreadLatest, createThreadLatest } from "./thread.ts";

test("subscribers see the latest value, and wait for a newer one", async () => {
  const handle = createThreadLatest({ valueBytesMax: 100 });
  using channel = attachThreadLatest(handle);
  const subscriber = channel.subscriber();
  assert.equal(subscriber.read(), undefined);
  const publisher = channel.publisher();
  const coming = subscriber.nextAsync();
  for (let i = 1; i <= 9; i++) publisher.publish(new Uint8Array(i).fill(i));
  assert.equal((await coming).sequence, 9);
  assert.deepEqual(subscriber.read(), { bytes: new Uint8Array(9).fill(9), sequence: 9 });
  assert.throws(() => subscriber.next({ timeoutMs: 1 }), ChannelTimeoutError);
  publisher.publish(new Uint8Array(0));
  assert.deepEqual(subscriber.next(), { bytes: new Uint8Array(0), sequence: 10 });
});

test("a value whose writing fails is never seen", () => {
  using channel = attachThreadLatest(createThreadLatest({ valueBytesMax: 8, slots: 2 }));
  const publisher = channel.publisher();
  const subscriber = channel.subscriber();
  publisher.publish(Uint8Array.of(1));
  const fail = (bytes: Uint8Array): void => {
    bytes.fill(0xff);
    throw new Error("half way");
  };
  for (let i = 0; i < 3; i++) assert.throws(() => publisher.publishWith(8, fail), /half way/);
  assert.deepEqual(subscriber.read()?.bytes, Uint8Array.of(1));
  publisher.publish(Uint8Array.of(2));
  assert.deepEqual(subscriber.read(), { bytes: Uint8Array.of(2), sequence: 2 });
});

test("no value is torn while another thread publishes as fast as it can", async () => {
  const handle = createThreadLatest({ valueBytesMax: 4096, slots: 2 });
  const source = `
    const { workerData } = require("node:worker_threads");
    import(workerData.module).then(({ attachThreadLatest }) => {
      const publisher = attachThreadLatest(workerData.handle).publisher();
      for (let i = 1; i <= 20000; i++) publisher.publishWith(4096, (bytes) => bytes.fill(i & 0xff));
      publisher.publish(Uint8Array.of(0));
    });`;
  const module = new URL("./thread.ts", import.meta.url).href;
  const worker = new Worker(source, { eval: true, workerData: { handle, module }, execArgv: [] });
  using channel = attachThreadLatest(handle);
  const subscriber = channel.subscriber();
  let last = 0;
  for (;;) {
    const { bytes, sequence } = subscriber.next({ timeoutMs: 30_000 });
    assert.ok(sequence > last);
    last = sequence;
    if (bytes.length === 1) break;
    assert.ok(bytes.every((byte) => byte === (sequence & 0xff)));
  }
  await worker.terminate();
});

test("one publisher at a time, and what cannot be is refused by name", () => {
  using channel = attachThreadLatest(createThreadLatest({ valueBytesMax: 64 }));
  const publisher = channel.publisher();
  assert.throws(() => channel.publisher(), ChannelFullError);
  assert.throws(() => publisher.publish(new Uint8Array(65)), MessageTooLargeError);
  publisher.close();
  assert.throws(() => publisher.publish(new Uint8Array(1)), ChannelClosedError);
  channel.publisher();
  channel.evictPublisher();
  channel.publisher().publish(Uint8Array.of(1));
  assert.throws(() => createThreadLatest({ valueBytesMax: 0 }), ChannelError);
  const blank = { buffer: new SharedArrayBuffer(4096), byteOffset: 0, sizeBytes: 4096 };
  assert.throws(() => attachThreadLatest(blank), ChannelFormatError);
});
