// Channels in every place: between the thread that runs the suite and its workers, and between two workers. This thread
// may be the main thread of a page, which must not sleep, so that it waits by the asynchronous side only.

import { SharedArena } from "../arena.ts";
import {
  ChannelFullError,
  ChannelTimeoutError,
  ChannelUseError,
  MessageTooLargeError,
  PeerDeadError,
} from "../channel/errors.ts";
import {
  attachThreadChannel,
  attachThreadLatest,
  attachThreadService,
  createThreadChannel,
  createThreadLatest,
  createThreadService,
} from "../channel/thread.ts";
import type { ThreadHandle } from "../channel/thread.ts";
import { TypedReceiver, TypedSender } from "../channel/typed.ts";
import { answer, checkMessage, fillMessage, messageSizeBytes, question } from "./roles.ts";
import { holds, refused, same } from "./suite.ts";
import type { Place, Suite } from "./suite.ts";

const TIMEOUT_MS = 20_000;
const within = { timeoutMs: TIMEOUT_MS };

export const channels: Suite = {
  name: "channels",
  sharesMemory: true,
  cases: {
    "values of a schema go to a worker and back": askEcho,
    "slots are filled in place for a worker, and held up while the channel is full": sendToWorker,
    "a worker that is held up sends all, in order and whole": takeFromWorker,
    "two workers send to a third one": betweenWorkers,
    "a channel lies in an arena": inArena,
    "a full channel is waited for, or refused by name": whenFull,
    "the latest value of a worker is seen, never torn": watchWorker,
    "a worker sees the latest value": publishToWorker,
    "requests to a worker are answered, several under way": askWorker,
    "requests of workers are answered": serveWorkers,
    "a terminated worker is evicted: what it had sent comes, then its death, and another one takes its place": death,
    "a terminated server is evicted, and its calls fail by name": deathOfServer,
    "waiting is broken off": brokenOff,
    "only threads that may sleep do": sleeping,
  },
};

async function askEcho({ crew }: Place): Promise<void> {
  const handles = { questions: createThreadChannel(), answers: createThreadChannel() };
  const job = crew.start("echo", handles);
  using sender = new TypedSender(question, attachThreadChannel(handles.questions).sender());
  using receiver = new TypedReceiver(answer, attachThreadChannel(handles.answers).receiver());
  for (let id = 0; id < 60; id++) {
    const numbers = Float32Array.from({ length: id }, (_, i) => i);
    const isText = id % 2 === 0;
    await sender.sendAsync({
      id,
      body: isText ? { kind: "text", value: "é".repeat(id) } : { kind: "numbers", value: numbers },
    });
    same(await receiver.takeAsync(within), { id, length: id, sum: isText ? 0 : (id * (id - 1)) / 2 });
  }
  sender[Symbol.dispose]();
  await job.result;
}

async function sendToWorker({ crew }: Place): Promise<void> {
  const handle = createThreadChannel({ messagesMax: 4, capacityBytes: 1024 });
  const job = crew.start("consume", { channel: handle, producers: 1 });
  await sendAll(handle, 400);
  same(await job.result, 400);
}

// Sends what `consume` expects; an empty message ends it.
async function sendAll(handle: ThreadHandle, count: number): Promise<void> {
  using sender = attachThreadChannel(handle).sender({ keepOpen: true });
  for (let index = 0; index < count; index++) {
    const slot = await sender.loanAsync(messageSizeBytes(index), within);
    holds(slot.bytes.buffer === handle.buffer, "the slot lies in the channel");
    fillMessage(slot.bytes, index, sender.lane);
    slot.send(slot.bytes.length, index);
  }
  (await sender.loanAsync(0, within)).send();
}

async function takeFromWorker({ crew }: Place): Promise<void> {
  const handle = createThreadChannel({ messagesMax: 4, capacityBytes: 1024 });
  using receiver = attachThreadChannel(handle).receiver();
  const job = crew.start("produce", { channel: handle, count: 400, marksEnd: false });
  let count = 0;
  for await (const message of receiver) {
    holds(message.bytes.buffer === handle.buffer, "the message lies in the channel");
    same(message.tag, count++, "number of a message");
    checkMessage(message.bytes, message.tag, message.lane);
    message.release();
  }
  same(count, 400);
  await job.result;
}

async function betweenWorkers({ crew }: Place): Promise<void> {
  const channel = createThreadChannel({ messagesMax: 8, capacityBytes: 4096, producersMax: 2 });
  const consumer = crew.start("consume", { channel, producers: 2 });
  const producers = [1, 2].map(() => crew.start("produce", { channel, count: 300, marksEnd: true }));
  for (const producer of producers) await producer.result;
  same(await consumer.result, 600);
}

async function inArena({ crew }: Place): Promise<void> {
  using arena = SharedArena.create({ initialBytes: 2 ** 20, maximumBytes: 2 ** 24 });
  using place = arena.alloc(2 ** 16);
  const channel = createThreadChannel({ messagesMax: 4, capacityBytes: 4096 }, place);
  same(channel.byteOffset, Number(place.byteOffset));
  const job = crew.start("consume", { channel, producers: 1 });
  await sendAll(channel, 50);
  same(await job.result, 50);
}

async function whenFull({ crew }: Place): Promise<void> {
  const handle = createThreadChannel({ messagesMax: 2, capacityBytes: 1024 });
  using channel = attachThreadChannel(handle);
  const sender = channel.sender({ keepOpen: true });
  await refused(() => sender.loanAsync(1025), MessageTooLargeError);
  for (let index = 0; index < 2; index++) await sendNumbered(sender, index);
  await refused(() => sender.loanAsync(1, { timeoutMs: 5 }), ChannelTimeoutError);
  same(sender.tryLoan(1), undefined);
  const waiting = sendNumbered(sender, 2); // no one takes anything yet
  const job = crew.start("consume", { channel: handle, producers: 1 });
  await waiting;
  await sender.sendAsync(new Uint8Array(0), within);
  same(await job.result, 3);
  sender.close();
  using failing = channel.sender({ whenFull: "fail" });
  for (let i = 0; i < 2; i++) await failing.sendAsync(Uint8Array.of(i));
  await refused(() => failing.sendAsync(Uint8Array.of(2)), ChannelFullError);
}

type Sender = ReturnType<ReturnType<typeof attachThreadChannel>["sender"]>;

async function sendNumbered(sender: Sender, index: number): Promise<void> {
  const slot = await sender.loanAsync(messageSizeBytes(index), within);
  fillMessage(slot.bytes, index, sender.lane);
  slot.send(slot.bytes.length, index);
}

async function watchWorker({ crew }: Place): Promise<void> {
  const latest = createThreadLatest({ valueBytesMax: 1024, slots: 2 });
  using channel = attachThreadLatest(latest);
  const subscriber = channel.subscriber();
  const job = crew.start("publish", { latest, count: 2000 });
  let last = 0;
  for (;;) {
    const { bytes, sequence } = await subscriber.nextAsync(within);
    holds(sequence > last, "values get newer");
    last = sequence;
    if (bytes.length === 1) break;
    holds(
      bytes.every((byte) => byte === (sequence & 0xff)),
      "the value is whole",
    );
  }
  same(last, 2001);
  await job.result;
}

async function publishToWorker({ crew }: Place): Promise<void> {
  const latest = createThreadLatest({ valueBytesMax: 1024, slots: 2 });
  using channel = attachThreadLatest(latest);
  const publisher = channel.publisher();
  const job = crew.start("watch", { latest });
  for (let i = 1; i <= 500; i++) publisher.publishWith(1024, (bytes) => bytes.fill(i));
  publisher.publish(Uint8Array.of(0));
  holds((await job.result) >= 1, "the last value was seen");
}

async function askWorker({ crew }: Place): Promise<void> {
  const handle = createThreadService();
  using service = attachThreadService(handle);
  const job = crew.start("serve", { service: handle });
  using client = service.client();
  const calls = Array.from({ length: 40 }, (_, i) => client.callAsync(Uint8Array.of(i), within));
  for (const [i, call] of calls.entries()) {
    using response = await call;
    same([...response.bytes], [2 * i], `answer ${i}`);
  }
  (await client.callAsync(new Uint8Array(0), within)).release();
  await job.result;
}

async function serveWorkers({ crew }: Place): Promise<void> {
  const handle = createThreadService({ clientsMax: 2 });
  using service = attachThreadService(handle);
  using server = service.server();
  const jobs = [crew.start("ask", { service: handle, count: 50 }), crew.start("ask", { service: handle, count: 50 })];
  for (let i = 0; i < 100; i++) {
    const request = await server.takeAsync(within);
    await request.replyAsync(
      request.bytes.map((byte) => 2 * byte),
      within,
    );
  }
  for (const job of jobs) await job.result;
}

/** Words in which a worker says that it has done its part. */
function makeReady(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(8));
}

async function whenReady(ready: Int32Array<SharedArrayBuffer>): Promise<void> {
  const wait = Atomics.waitAsync(ready, 0, 0, TIMEOUT_MS);
  same(wait.async ? await wait.value : "ok", "ok", "what a worker says before it is terminated");
}

async function death({ crew }: Place): Promise<void> {
  const [from, to] = [createThreadChannel({ messagesMax: 2 }), createThreadChannel()];
  using outward = attachThreadChannel(from);
  using inward = attachThreadChannel(to);
  using sender = outward.sender({ keepOpen: true });
  using receiver = inward.receiver({ keepOpen: true });
  const ready = makeReady();
  const job = crew.start("hold", { from, to, ready });
  await sender.sendAsync(Uint8Array.of(0));
  await whenReady(ready);
  await job.terminate();
  outward.evict("consumer", 0);
  inward.evict("producer", 0);
  const last = await receiver.takeAsync(within);
  same([...last.bytes], [1, 2, 3]);
  last.release();
  await refused(() => receiver.takeAsync(within), PeerDeadError);
  // What it held comes back to the sender, which is told when it looks; then both channels are as new.
  await refused(() => sender.checkPeers(), PeerDeadError);
  const heirs = [
    crew.start("consume", { channel: from, producers: 1 }),
    crew.start("produce", { channel: to, count: 10, marksEnd: false }),
  ] as const;
  for (let index = 0; index < 10; index++) {
    using message = await receiver.takeAsync(within);
    checkMessage(message.bytes, index, 0);
    await sendNumbered(sender, index);
  }
  await sender.sendAsync(new Uint8Array(0), within);
  same(await heirs[0].result, 10);
  await heirs[1].result;
}

async function deathOfServer({ crew }: Place): Promise<void> {
  const handle = createThreadService();
  using service = attachThreadService(handle);
  using client = service.client();
  const ready = makeReady();
  const job = crew.start("neglect", { service: handle, ready });
  const call = refused(() => client.callAsync(Uint8Array.of(1), within), PeerDeadError);
  await whenReady(ready);
  await refused(() => service.server(), ChannelFullError);
  await job.terminate();
  service.evictServer();
  await call;
  const heir = crew.start("serve", { service: handle });
  using response = await client.callAsync(Uint8Array.of(21), within);
  same([...response.bytes], [42]);
  (await client.callAsync(new Uint8Array(0), within)).release();
  await heir.result;
}

async function brokenOff(): Promise<void> {
  using channel = attachThreadChannel(createThreadChannel());
  using receiver = channel.receiver();
  await refused(() => receiver.takeAsync({ timeoutMs: 5 }), ChannelTimeoutError);
  const abort = new AbortController();
  const taking = receiver.takeAsync({ signal: abort.signal });
  abort.abort(new RangeError("enough"));
  same(await refused(() => taking, RangeError), "enough");
}

async function sleeping({ name }: Place): Promise<void> {
  using channel = attachThreadChannel(createThreadChannel({ messagesMax: 1 }));
  using sender = channel.sender();
  using receiver = channel.receiver();
  // A page is refused at once, so that it needs no short time.
  const [refusal, options] = name === "page" ? [ChannelUseError, within] : [ChannelTimeoutError, { timeoutMs: 5 }];
  await refused(() => receiver.take(options), refusal);
  sender.send(Uint8Array.of(1)); // there is room: nothing is waited for
  await refused(() => sender.send(Uint8Array.of(2), options), refusal);
  receiver.take().release();
}
