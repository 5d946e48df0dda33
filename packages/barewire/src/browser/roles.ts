// What workers of the suites do at the other end of a channel. They wait by sleeping, as worker threads may.

import * as bare from "../bare.ts";
import { ChannelClosedError } from "../channel/errors.ts";
import { attachThreadChannel, attachThreadLatest, attachThreadService } from "../channel/thread.ts";
import type { ThreadHandle } from "../channel/thread.ts";
import { TypedReceiver, TypedSender } from "../channel/typed.ts";
import type { Order, Reply } from "./crew.ts";
import { CheckError, same } from "./suite.ts";

/** What is sent to `echo`. */
export const question = bare.struct({
  id: bare.u32,
  body: bare.union({ text: [0, bare.str], numbers: [1, bare.list(bare.f32)] }),
});

/** What it answers. */
export const answer = bare.struct({ id: bare.u32, length: bare.u32, sum: bare.f64 });

/** Nothing that is waited for takes so long. */
const TIMEOUT_MS = 20_000;

/** Message number `index` of producer `lane`: its size and its bytes follow from both. */
export function messageSizeBytes(index: number): number {
  return 1 + ((index * 37) % 500);
}

export function fillMessage(bytes: Uint8Array, index: number, lane: number): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = index * 31 + lane * 7 + i;
}

/** Throws unless the message is whole. */
export function checkMessage(bytes: Uint8Array, index: number, lane: number): void {
  same(bytes.length, messageSizeBytes(index), `size of message ${index}`);
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === ((index * 31 + lane * 7 + i) & 0xff)) continue;
    throw new CheckError("a message is torn", { where: `byte ${i} of message ${index} of lane ${lane}` });
  }
}

/** Calls `step` until the other side has left. */
function untilClosed(step: () => void): void {
  try {
    for (;;) step();
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error;
  }
}

const ROLES = {
  /** Adds to a number in an arena's memory. */
  count({ memory, byteOffset, times }: { memory: WebAssembly.Memory; byteOffset: number; times: number }): void {
    const words = new Int32Array(memory.buffer, byteOffset, 1);
    for (let i = 0; i < times; i++) Atomics.add(words, 0, 1);
  },

  /** Answers typed questions. */
  echo({ questions, answers }: { questions: ThreadHandle; answers: ThreadHandle }): void {
    using receiver = new TypedReceiver(question, attachThreadChannel(questions).receiver());
    using sender = new TypedSender(answer, attachThreadChannel(answers).sender());
    untilClosed(() => {
      const { id, body } = receiver.take({ timeoutMs: TIMEOUT_MS });
      const sum = body.kind === "numbers" ? body.value.reduce((total, number) => total + number, 0) : 0;
      sender.send({ id, length: body.value.length, sum });
    });
  },

  /** Sends messages, each filled in its slot, and at the end an empty one if it is asked to. */
  produce({ channel, count, marksEnd }: { channel: ThreadHandle; count: number; marksEnd: boolean }): void {
    using sender = attachThreadChannel(channel).sender();
    for (let index = 0; index < count; index++) {
      const slot = sender.loan(messageSizeBytes(index), { timeoutMs: TIMEOUT_MS });
      fillMessage(slot.bytes, index, sender.lane);
      slot.send(slot.bytes.length, index);
    }
    if (marksEnd) sender.send(new Uint8Array(0), { timeoutMs: TIMEOUT_MS });
  },

  /** Takes messages until every producer has sent an empty one. Each is whole, and each lane's are in order. */
  consume({ channel, producers }: { channel: ThreadHandle; producers: number }): number {
    using receiver = attachThreadChannel(channel).receiver({ keepOpen: true });
    const next = new Map<number, number>();
    let count = 0;
    for (let ended = 0; ended < producers;) {
      using message = receiver.take({ timeoutMs: TIMEOUT_MS });
      const { bytes, tag, lane } = message;
      if (bytes.length === 0) {
        ended++;
        next.delete(lane); // another producer may have the lane next
        continue;
      }
      same(tag, next.get(lane) ?? 0, `number of a message of lane ${lane}`);
      checkMessage(bytes, tag, lane);
      next.set(lane, tag + 1);
      count++;
    }
    return count;
  },

  /** Publishes values, the last one of a single byte. */
  publish({ latest, count }: { latest: ThreadHandle; count: number }): void {
    using publisher = attachThreadLatest(latest).publisher();
    for (let i = 1; i <= count; i++) publisher.publishWith(1024, (bytes) => bytes.fill(i));
    publisher.publish(Uint8Array.of(0));
  },

  /** Reads values until one of a single byte; gives how many. */
  watch({ latest }: { latest: ThreadHandle }): number {
    const subscriber = attachThreadLatest(latest).subscriber();
    for (let count = 1, last = 0; ; count++) {
      const { bytes, sequence } = subscriber.next({ timeoutMs: TIMEOUT_MS });
      if (sequence <= last) throw new CheckError("an older value came after a newer one");
      last = sequence;
      if (bytes.length === 1) return count;
      if (bytes.some((byte) => byte !== bytes[0])) throw new CheckError("a value is torn");
    }
  },

  /** Answers requests with each byte doubled, until one is empty. */
  serve({ service }: { service: ThreadHandle }): void {
    using server = attachThreadService(service).server();
    for (;;) {
      using request = server.take({ timeoutMs: TIMEOUT_MS });
      const isLast = request.bytes.length === 0;
      request.reply(request.bytes.map((byte) => 2 * byte));
      if (isLast) return;
    }
  },

  /** Asks for bytes doubled. */
  ask({ service, count }: { service: ThreadHandle; count: number }): void {
    using client = attachThreadService(service).client();
    for (let i = 0; i < count; i++) {
      using response = client.call(Uint8Array.of(i, 1), { timeoutMs: TIMEOUT_MS });
      same([...response.bytes], [(2 * i) & 0xff, 2], `answer ${i}`);
    }
  },

  /** Takes a request and holds it for ever: to be terminated in the middle of its work. */
  neglect({ service, ready }: { service: ThreadHandle; ready: Int32Array<SharedArrayBuffer> }): void {
    const server = attachThreadService(service).server();
    server.take({ timeoutMs: TIMEOUT_MS });
    sleepForEver(ready);
  },

  /** Holds a message of one channel and a half-written slot of another for ever: to be terminated. */
  hold({ from, to, ready }: { from: ThreadHandle; to: ThreadHandle; ready: Int32Array<SharedArrayBuffer> }): void {
    const receiver = attachThreadChannel(from).receiver();
    const sender = attachThreadChannel(to).sender();
    receiver.take({ timeoutMs: TIMEOUT_MS });
    sender.send(Uint8Array.of(1, 2, 3));
    sender.loan(100).bytes.fill(9, 0, 50);
    sleepForEver(ready);
  },
};

/** The roles by name. */
export type Roles = typeof ROLES;

/** Plays a role and says what came of it. */
export async function play({ role, args }: Order): Promise<Reply> {
  try {
    const act = ROLES[role] as (args: unknown) => unknown;
    return { result: await act(args) };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

function sleepForEver(ready: Int32Array<SharedArrayBuffer>): void {
  Atomics.store(ready, 0, 1);
  Atomics.notify(ready, 0);
  Atomics.wait(ready, 1, 0);
}
