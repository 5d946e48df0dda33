import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ChannelClosedError,
  ChannelError,
  ChannelFormatError,
  ChannelFullError,
  ChannelTimeoutError,
  ChannelUseError,
  MessageTooLargeError,
  PeerDeadError,
} from "./errors.ts";
import { DESCRIPTOR, HEADER, LANE, lanePosition } from "./layout.ts";
import type { RingOptions } from "./layout.ts";
import { ChannelMemory } from "./memory.ts";
import type { RingMessage } from "./receiver.ts";
import { RingChannel, channelSizeBytes } from "./ring.ts";
import { attachThreadChannel, createThreadChannel, threadParking } from "./thread.ts";
import type { Parking } from "./wait.ts";

function make(options?: RingOptions): RingChannel {
  return attachThreadChannel(createThreadChannel(options));
}

// Participants of which a test can say that they died.
class Mortals {
  readonly dead = new Set<bigint>();
  readonly memory: ChannelMemory;
  readonly parking: Parking = {
    ...threadParking,
    identity: (ticket) => BigInt(ticket),
    isAlive: (identity) => !this.dead.has(identity),
  };

  constructor(options?: RingOptions) {
    this.memory = new ChannelMemory(new SharedArrayBuffer(channelSizeBytes(options)));
    RingChannel.format(this.memory, options);
  }

  attach(): RingChannel {
    return new RingChannel(this.memory, this.parking, "test");
  }

  // The identity is the ticket, and tickets count from 1.
  kill(ticket: number): void {
    this.dead.add(BigInt(ticket));
  }
}

function messageOf(seed: number, sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, i) => (seed * 31 + i) & 0xff);
}

test("any mix of sends and takes gives the messages of a queue, whole and in order", () => {
  const step = fc.record({ sizeBytes: fc.integer({ min: 0, max: 700 }), takes: fc.integer({ min: 0, max: 3 }) });
  const run = (steps: { sizeBytes: number; takes: number }[], messagesMax: number): void => {
    using channel = make({ capacityBytes: 1024, messagesMax });
    using sender = channel.sender();
    using receiver = channel.receiver();
    const expected: Uint8Array[] = [];
    for (const [seed, { sizeBytes, takes }] of steps.entries()) {
      const message = messageOf(seed, sizeBytes);
      if (sender.trySend(message, seed)) expected.push(message);
      for (let take = 0; take < takes; take++) {
        using taken = receiver.tryTake();
        assert.deepEqual(taken && new Uint8Array(taken.bytes), expected.shift());
      }
      if (expected.length === 0) assert.ok(sender.tryLoan(1024)?.discard() === undefined);
    }
  };
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(1, 2, 8), run), { numRuns: 200, seed: 1 });
});

test("large messages never lie over others that are under way, whoever holds them and takes the lane over", () => {
  const step = fc.record({
    granules: fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 250, max: 900 })),
    release: fc.option(fc.nat(), { freq: 2 }),
    isReplaced: fc.boolean(),
  });
  const run = (steps: readonly { granules: number; release: number | null; isReplaced: boolean }[]): void => {
    using channel = make({ capacityBytes: 64 * 2048, messagesMax: 16 });
    using receiver = channel.receiver({ keepOpen: true });
    let sender = channel.sender();
    const underWay: { number: number; begin: number; end: number }[] = [];
    const held: { number: number; message: RingMessage }[] = [];
    for (const [number, { granules, release, isReplaced }] of steps.entries()) {
      if (isReplaced && number % 3 === 0) {
        sender.close();
        sender = channel.sender();
      }
      const slot = sender.tryLoan(64 * granules + 4);
      if (slot !== undefined) {
        const begin = slot.bytes.byteOffset;
        const end = begin + slot.bytes.length;
        for (const other of underWay) assert.ok(end <= other.begin || begin >= other.end);
        slot.bytes[0] = slot.bytes[slot.bytes.length - 1] = number;
        slot.send(slot.bytes.length, number);
        underWay.push({ number, begin, end });
      }
      if (release === null) continue;
      const message = receiver.tryTake();
      if (message !== undefined) held.push({ number: message.tag, message });
      if (held.length === 0) continue;
      const [done] = held.splice(release % held.length, 1);
      assert.equal(done.message.bytes[0], done.number & 0xff);
      assert.equal(done.message.bytes.at(-1), done.number & 0xff);
      done.message.release();
      underWay.splice(
        underWay.findIndex((other) => other.number === done.number),
        1,
      );
    }
  };
  fc.assert(fc.property(fc.array(step, { maxLength: 80 }), run), { numRuns: 200, seed: 2 });
});

test("large messages go to and fro between two places while they are taken, and all room is there when not", () => {
  const sizeBytes = 2 ** 15;
  for (let leadIn = 1; leadIn < 9; leadIn++) {
    using channel = make({ capacityBytes: 32 * sizeBytes, messagesMax: 64 });
    using receiver = channel.receiver();
    let sender = channel.sender();
    const places = new Set<number>();
    const send = (): boolean => {
      const slot = sender.tryLoan(sizeBytes);
      if (slot === undefined) return false;
      places.add(slot.bytes.byteOffset);
      slot.send();
      return true;
    };
    send();
    for (let i = 0; i < leadIn; i++) {
      send();
      receiver.take().release();
    }
    assert.equal(places.size, 2);
    let count = 1;
    while (send()) count++;
    assert.equal(count, 32);
    sender.close();
    sender = channel.sender(); // which finds out where there is room, and where not
    assert.ok(!send());
    for (let i = 0; i < 40; i++) {
      receiver.take().release();
      if (i > 0) assert.ok(send());
    }
  }
});

test("an empty channel takes a message as large as its capacity, wherever it stands", () => {
  using channel = make({ capacityBytes: 640 });
  using sender = channel.sender();
  using receiver = channel.receiver();
  for (let sizeBytes = 1; sizeBytes < 640; sizeBytes += 61) {
    assert.ok(sender.trySend(messageOf(1, sizeBytes)));
    receiver.take().release();
    assert.ok(sender.trySend(messageOf(2, 640)));
    assert.ok(!sender.trySend(messageOf(3, 0)));
    receiver.take().release();
  }
});

test("a loan is filled and taken in place", () => {
  const handle = createThreadChannel();
  using channel = attachThreadChannel(handle);
  using sender = channel.sender();
  using receiver = channel.receiver();
  const slot = sender.loan(100);
  assert.equal(slot.bytes.buffer, handle.buffer);
  slot.bytes.fill(7);
  slot.send(3, 42);
  using message = receiver.take();
  assert.equal(message.bytes.buffer, handle.buffer);
  assert.equal(message.bytes.byteOffset, slot.bytes.byteOffset);
  assert.deepEqual([...message.bytes], [7, 7, 7]);
  assert.equal(message.tag, 42);
});

test("slots and messages are used once", () => {
  using channel = make();
  using sender = channel.sender();
  using receiver = channel.receiver();
  const slot = sender.loan(4);
  assert.throws(() => sender.loan(4), ChannelUseError);
  assert.throws(() => slot.send(5), ChannelUseError);
  slot.send();
  assert.throws(() => slot.send(), ChannelUseError);
  assert.throws(() => slot.discard(), ChannelUseError);
  sender.loan(4).discard();
  const message = receiver.take();
  message.release();
  assert.throws(() => message.bytes, ChannelUseError);
  assert.throws(() => message.release(), ChannelUseError);
  assert.equal(receiver.tryTake(), undefined);
});

test("what a full channel does is the sender's policy", () => {
  const fill = { capacityBytes: 256, messagesMax: 4, producersMax: 3 };
  using channel = make(fill);
  using receiver = channel.receiver();
  using failing = channel.sender({ whenFull: "fail" });
  for (let i = 0; i < 4; i++) failing.send(Uint8Array.of(i));
  assert.throws(() => failing.send(Uint8Array.of(4)), ChannelFullError);
  for (let i = 0; i < 4; i++) receiver.take().release();

  using blocking = channel.sender();
  for (let i = 0; i < 4; i++) blocking.send(Uint8Array.of(i));
  assert.throws(() => blocking.send(Uint8Array.of(4), { timeoutMs: 1 }), ChannelTimeoutError);
  for (let i = 0; i < 4; i++) receiver.take().release();

  using dropping = channel.sender({ whenFull: "drop-oldest" });
  for (let i = 0; i < 10; i++) dropping.send(Uint8Array.of(i));
  assert.equal(dropping.dropped, 6);
  const left = Array.from({ length: 4 }, () => receiver.take());
  assert.deepEqual(
    left.map(({ bytes }) => bytes[0]),
    [6, 7, 8, 9],
  );
  assert.throws(() => dropping.send(Uint8Array.of(10)), ChannelFullError, "what a consumer holds is not dropped");
  for (const message of left) message.release();
});

test("several producers: each one's order is kept, and none is passed over", () => {
  using channel = make({ producersMax: 3 });
  using receiver = channel.receiver();
  const senders = [channel.sender(), channel.sender(), channel.sender()];
  assert.throws(() => channel.sender(), ChannelFullError);
  for (let i = 0; i < 30; i++) senders[i % 3].send(Uint8Array.of(i));
  const next = [0, 1, 2];
  const lanes: number[] = [];
  for (let i = 0; i < 30; i++) {
    using message = receiver.take();
    assert.equal(message.bytes[0], next[message.lane]);
    next[message.lane] += 3;
    lanes.push(message.lane);
  }
  assert.deepEqual(lanes.slice(0, 6), [0, 1, 2, 0, 1, 2]);
});

test("several consumers: each message goes to one of them", () => {
  using channel = make({ consumersMax: 2, messagesMax: 4 });
  using sender = channel.sender();
  const receivers = [channel.receiver(), channel.receiver()];
  const seen: number[] = [];
  for (let i = 0; i < 100; i++) {
    sender.send(Uint8Array.of(i));
    using message = receivers[((i * 7) % 3) & 1].take();
    seen.push(message.bytes[0]);
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, i) => i),
  );
  assert.equal(receivers[0].tryTake(), undefined);
  assert.equal(receivers[1].tryTake(), undefined);
});

test("a message that is held keeps its bytes while others come and go", () => {
  using channel = make({ capacityBytes: 1024, messagesMax: 8 });
  using sender = channel.sender();
  using receiver = channel.receiver();
  sender.send(messageOf(1, 200));
  const held = receiver.take();
  for (let i = 0; i < 4; i++) {
    if (!sender.trySend(messageOf(i, 150))) break;
    receiver.take().release();
  }
  assert.deepEqual(new Uint8Array(held.bytes), messageOf(1, 200));
  held.release();
  assert.ok(sender.trySend(messageOf(9, 1024)), "everything is free again");
});

test("the end of a channel is told by name, after what was sent", async () => {
  using channel = make();
  const receiver = channel.receiver();
  assert.throws(() => receiver.take({ timeoutMs: 1 }), ChannelTimeoutError);
  const sender = channel.sender();
  sender.send(Uint8Array.of(1));
  sender.close();
  assert.throws(() => sender.send(Uint8Array.of(2)), ChannelClosedError);
  const seen: number[] = [];
  for await (const message of receiver) {
    seen.push(message.bytes[0]);
    message.release();
  }
  assert.deepEqual(seen, [1]);
  assert.throws(() => receiver.take(), ChannelClosedError);
  receiver.close();
  assert.throws(() => receiver.tryTake(), ChannelClosedError);
  channel.close();
  assert.throws(() => channel.sender(), ChannelClosedError);
});

test("without holding up the event loop: waiting, sending into a full channel, giving up", async () => {
  using channel = make({ messagesMax: 1 });
  using sender = channel.sender();
  const receiver = channel.receiver();
  const first = receiver.takeAsync();
  await sender.sendAsync(Uint8Array.of(1));
  const message = await first;
  const second = sender.sendAsync(Uint8Array.of(2));
  message.release();
  await second;
  (await receiver.takeAsync()).release();
  await assert.rejects(receiver.takeAsync({ timeoutMs: 1 }), ChannelTimeoutError);
  const abort = new AbortController();
  const aborted = receiver.takeAsync({ signal: abort.signal });
  abort.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
  const closed = receiver.takeAsync();
  receiver.close();
  await assert.rejects(closed, ChannelClosedError);
});

test("a consumer is told once that a producer died, after its messages, and another one takes the lane over", () => {
  const world = new Mortals();
  using channel = world.attach();
  using receiver = channel.receiver({ keepOpen: true }); // ticket 1
  const sender = channel.sender(); // ticket 2
  sender.send(Uint8Array.of(1));
  sender.loan(100).bytes.fill(9); // it dies with a loan that it never sends
  world.kill(2);
  assert.equal(receiver.take().bytes[0], 1);
  assert.throws(() => receiver.take({ timeoutMs: 1 }), PeerDeadError);
  assert.throws(() => receiver.checkPeers() ?? receiver.take({ timeoutMs: 1 }), ChannelTimeoutError);
  using next = channel.sender(); // ticket 3
  assert.equal(next.lane, 0);
  next.send(Uint8Array.of(2));
  assert.equal(receiver.take().bytes[0], 2);
  receiver.checkPeers();
});

test("who dies and is replaced between two looks is told of as well", () => {
  const world = new Mortals();
  using channel = world.attach();
  using receiver = channel.receiver(); // ticket 1
  channel.sender(); // ticket 2
  receiver.checkPeers();
  world.kill(2);
  using next = channel.sender();
  assert.throws(() => receiver.checkPeers(), PeerDeadError);
  receiver.checkPeers();
  next.send(Uint8Array.of(1));
});

test("a producer takes back what a dead consumer held, and is told", () => {
  const world = new Mortals({ messagesMax: 2 });
  using channel = world.attach();
  using sender = channel.sender(); // ticket 1
  const receiver = channel.receiver(); // ticket 2
  sender.send(Uint8Array.of(1));
  sender.send(Uint8Array.of(2));
  assert.equal(receiver.take().bytes[0], 1);
  world.kill(2);
  assert.throws(() => sender.send(Uint8Array.of(3)), PeerDeadError);
  sender.send(Uint8Array.of(3), { timeoutMs: 1000 });
  using next = channel.receiver(); // ticket 3
  assert.equal(next.take().bytes[0], 2, "the message that the dead one held is not given again");
  assert.equal(next.take().bytes[0], 3);
});

test("a producer that died at any store leaves a lane that its successor can use", () => {
  const options = { messagesMax: 4, capacityBytes: 1024 };
  const { header, descriptors } = lanePosition(make(options).layout, 0);
  const state = (index: number): number => descriptors / 4 + index * 16 + DESCRIPTOR.state;
  // Between READY and `head`: the message is whole and is given out, before the successor comes or after it.
  for (const isTakenFirst of [true, false]) {
    const world = new Mortals(options);
    using channel = world.attach();
    using receiver = channel.receiver({ keepOpen: true }); // ticket 1
    const sender = channel.sender(); // ticket 2
    sender.send(Uint8Array.of(1));
    sender.send(Uint8Array.of(2));
    Atomics.sub(world.memory.words, header / 4 + LANE.head, 1);
    world.kill(2);
    const seen: number[] = [];
    const takeAll = (): void => {
      for (let next = receiver.tryTake(); next !== undefined; next = receiver.tryTake()) {
        seen.push(next.bytes[0]);
        next.release();
      }
    };
    if (isTakenFirst) takeAll();
    using next = channel.sender();
    for (let i = 3; i <= 9; i++) {
      next.send(Uint8Array.of(i));
      takeAll();
    }
    assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  }
  // Between FREE and `tail`.
  const world = new Mortals(options);
  using channel = world.attach();
  using receiver = channel.receiver(); // ticket 1
  const sender = channel.sender(); // ticket 2
  for (let i = 0; i < 4; i++) sender.send(Uint8Array.of(i));
  receiver.take().release();
  Atomics.store(world.memory.words, state(0), 0);
  world.kill(2);
  using next = channel.sender();
  assert.ok(next.trySend(Uint8Array.of(4)));
  assert.ok(!next.trySend(Uint8Array.of(5)));
  for (let i = 1; i <= 4; i++) {
    using message = receiver.take();
    assert.equal(message.bytes[0], i);
  }
});

test("a consumer that was stopped for laps of the ring takes whole what it takes", () => {
  using channel = make({ messagesMax: 2, consumersMax: 2 });
  using sender = channel.sender();
  using slow = channel.receiver();
  using quick = channel.receiver();
  sender.send(Uint8Array.of(0));
  slow.take().release();
  for (let i = 1; i < 8; i++) {
    sender.send(Uint8Array.of(i, i));
    quick.take().release();
  }
  sender.send(Uint8Array.of(8, 8));
  assert.deepEqual([...slow.take().bytes], [8, 8]);
  sender.send(Uint8Array.of(9, 9));
  assert.deepEqual([...slow.take().bytes], [9, 9]);
  assert.equal(quick.tryTake(), undefined);
});

test("a terminated thread is evicted, and its place is free", () => {
  using channel = make();
  channel.sender();
  using receiver = channel.receiver();
  assert.throws(() => channel.sender(), ChannelFullError);
  channel.evict("producer", 0);
  assert.throws(() => receiver.checkPeers(), PeerDeadError);
  channel.sender().send(Uint8Array.of(5));
  assert.equal(receiver.take().bytes[0], 5);
});

test("impossible limits, foreign memory and damage are refused by name", () => {
  assert.throws(() => make({ capacityBytes: 0 }), ChannelError);
  assert.throws(() => make({ messagesMax: 3 }), ChannelError);
  assert.throws(() => make({ producersMax: 65 }), ChannelError);
  assert.throws(() => make({ capacityBytes: 100 }).sender().loan(129), MessageTooLargeError);
  assert.throws(() => make().sender().loan(-1), MessageTooLargeError);
  assert.throws(() => make().sender().loan(Number.NaN), MessageTooLargeError);
  const blank = { buffer: new SharedArrayBuffer(8192), byteOffset: 0, sizeBytes: 8192 };
  assert.throws(() => attachThreadChannel(blank), ChannelFormatError);
  const damage = (word: number, value: number): void => {
    const handle = createThreadChannel();
    new Int32Array(handle.buffer)[word] = value;
    assert.throws(() => attachThreadChannel(handle), ChannelError);
  };
  damage(HEADER.version, 99);
  damage(HEADER.capacityGranules, -1);
  damage(HEADER.messagesMax, 2 ** 20);
  damage(HEADER.producersMax, 64);
  const handle = createThreadChannel();
  using channel = attachThreadChannel(handle);
  channel.sender().send(Uint8Array.of(1));
  const { descriptors } = lanePosition(channel.layout, 0);
  new Int32Array(handle.buffer)[descriptors / 4 + DESCRIPTOR.sizeBytes] = 2 ** 30;
  assert.throws(() => channel.receiver().take(), ChannelFormatError);
});

test("a channel lies in a part of a shared wasm memory", () => {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
  const place = { buffer: memory.buffer, byteOffset: 65536, sizeBytes: 2 ** 21 };
  const handle = createThreadChannel({}, place);
  using channel = attachThreadChannel(handle);
  using sender = channel.sender();
  sender.send(Uint8Array.of(3));
  assert.equal(channel.receiver().take().bytes[0], 3);
  assert.throws(() => createThreadChannel({ capacityBytes: 2 ** 22 }, place), ChannelUseError);
});
