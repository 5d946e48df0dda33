// Publish and subscribe where only the latest value counts: one publisher, any number of subscribers that never hold it
// up. The values lie in a few slots written in turn, each with a sequence lock (Boehm, "Can seqlocks get along with
// programming language memory models?", MSPC 2012): a subscriber copies the newest slot out and takes the
// copy only if the slot's mark did not change meanwhile.
//
// Why no torn value is ever seen: the publisher marks a slot by an atomic exchange before it writes into it, and the
// subscriber checks the mark by an atomic read-modify-write after it has copied. These two are ordered. Either the
// check comes later, and sees the mark; or it comes earlier, and everything copied before it was read before anything
// was written. A publisher that is killed while it writes leaves a marked slot that was never announced. Left out:
// values read in place, several publishers at a time.

import {
  ChannelClosedError,
  ChannelFormatError,
  ChannelFullError,
  ChannelTimeoutError,
  MessageTooLargeError,
  PeerDeadError,
} from "./errors.ts";
import { GRANULE_BYTES, LANE_BYTES_MAX, checkCount, roundUp } from "./layout.ts";
import type { ChannelMemory } from "./memory.ts";
import { Bell, Throttle } from "./wait.ts";
import type { AsyncWaitOptions, Parking, WaitOptions } from "./wait.ts";

const MAGIC = 0x564c5742; // "BWLV"
const VERSION = 1;
const HEADER_BYTES = 256;
const SLOT_HEADER_BYTES = 64;
const WORD = { magic: 0, version: 1, slots: 2, valueGranules: 3, latest: 16, bell: 32 } as const;
/** In 64-bit words: who publishes. */
const PUBLISHER = 24;
const SLOT_WORD = { mark: 0, sizeBytes: 1 } as const;
const MARK_WRITING = 0;

/** Limits of a latest value. */
export interface LatestOptions {
  /** The most bytes that a value has, at most 4 GiB. */
  readonly valueBytesMax: number;
  /** Values kept, so that a subscriber has time to copy one while others are written; 2 to 64. Default 4. */
  readonly slots?: number;
}

/** A value as it was when it was copied. */
export interface LatestValue {
  /** The subscriber's own bytes; its next `read` writes over them. */
  readonly bytes: Uint8Array;
  /** Counts the values from 1 and wraps at 2^31; a larger step than 1 means that values were skipped. */
  readonly sequence: number;
}

interface LatestLayout {
  readonly slots: number;
  readonly valueBytes: number;
  readonly slotBytes: number;
  readonly sizeBytes: number;
}

function layOut({ valueBytesMax, slots = 4 }: LatestOptions): LatestLayout {
  checkCount("valueBytesMax", valueBytesMax, LANE_BYTES_MAX - GRANULE_BYTES);
  checkCount("slots", slots, 64);
  const valueBytes = roundUp(valueBytesMax, GRANULE_BYTES);
  const slotBytes = SLOT_HEADER_BYTES + valueBytes;
  return { slots: Math.max(2, slots), valueBytes, slotBytes, sizeBytes: HEADER_BYTES + Math.max(2, slots) * slotBytes };
}

/** Bytes of memory that a latest value with these limits takes. */
export function latestSizeBytes(options: LatestOptions): number {
  return layOut(options).sizeBytes;
}

/** What publisher and subscribers share in one thread. */
class LatestEnd {
  readonly memory: ChannelMemory;
  readonly layout: LatestLayout;
  readonly parking: Parking;
  readonly bell: Bell;
  readonly where: string;
  isClosed = false;

  constructor(memory: ChannelMemory, parking: Parking, where: string) {
    const { words } = memory;
    if (
      memory.sizeBytes < HEADER_BYTES ||
      Atomics.load(words, WORD.magic) !== MAGIC ||
      words[WORD.version] !== VERSION
    ) {
      throw new ChannelFormatError("there is no latest value of this version in this memory", { where });
    }
    const valueBytesMax = (words[WORD.valueGranules] >>> 0) * GRANULE_BYTES;
    this.layout = layOut({ valueBytesMax, slots: words[WORD.slots] });
    if (this.layout.sizeBytes > memory.sizeBytes) {
      throw new ChannelFormatError("the memory is smaller than the latest value that it says it holds", { where });
    }
    this.memory = memory;
    this.parking = parking;
    this.where = where;
    this.bell = new Bell(words, WORD.bell, parking);
  }

  /** Index of the first word of the slot of a value. */
  slot(sequence: number): number {
    return (HEADER_BYTES + (sequence % this.layout.slots) * this.layout.slotBytes) / 4;
  }

  bytes(slot: number, sizeBytes: number): Uint8Array {
    return this.memory.bytes(slot * 4 + SLOT_HEADER_BYTES, sizeBytes);
  }

  latest(): number {
    return Atomics.load(this.memory.words, WORD.latest);
  }

  checkOpen(): void {
    if (this.isClosed) throw new ChannelClosedError("the channel was closed", { where: this.where });
  }
}

/** Sets the value. There is one at a time; a new one takes over from one that died. */
export class Publisher implements Disposable {
  readonly #end: LatestEnd;
  #sequence: number;
  #isClosed = false;

  constructor(end: LatestEnd) {
    this.#end = end;
    this.#join();
    this.#sequence = end.latest();
  }

  /** Publishes a copy of the bytes. */
  publish(bytes: Uint8Array): void {
    this.publishWith(bytes.length, (target) => target.set(bytes));
  }

  /** Publishes what `fill` writes, in place. Where `fill` throws, nothing is published. */
  publishWith(sizeBytes: number, fill: (bytes: Uint8Array) => void): void {
    const { memory, layout, where } = this.#end;
    this.#end.checkOpen();
    if (this.#isClosed) throw new ChannelClosedError("the publisher was closed", { where });
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > layout.valueBytes) {
      throw new MessageTooLargeError(sizeBytes, layout.valueBytes, where);
    }
    const sequence = nextSequence(this.#sequence, layout.slots);
    const slot = this.#end.slot(sequence);
    Atomics.exchange(memory.words, slot + SLOT_WORD.mark, MARK_WRITING);
    memory.words[slot + SLOT_WORD.sizeBytes] = sizeBytes;
    fill(this.#end.bytes(slot, sizeBytes));
    Atomics.store(memory.words, slot + SLOT_WORD.mark, sequence);
    Atomics.store(memory.words, WORD.latest, sequence);
    this.#sequence = sequence;
    this.#end.bell.ring();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#end.isClosed) return;
    Atomics.store(this.#end.memory.longs, PUBLISHER, 0n);
    this.#end.bell.ring();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #join(): void {
    const { memory, parking, where } = this.#end;
    for (;;) {
      const present = Atomics.load(memory.longs, PUBLISHER);
      if (present !== 0n && parking.isAlive(present)) {
        throw new ChannelFullError("there is a publisher already", { where, got: parking.describe(present) });
      }
      if (Atomics.compareExchange(memory.longs, PUBLISHER, present, parking.identity(1)) === present) return;
    }
  }
}

/** Reads the value. */
export class Subscriber {
  readonly #end: LatestEnd;
  readonly #throttle = new Throttle();
  #scratch = new Uint8Array(0);
  #seen = 0;
  #deadToldOf = 0n;

  constructor(end: LatestEnd) {
    this.#end = end;
  }

  /** The latest value, seen before or not; undefined as long as none was published. Never waits for the publisher. */
  read(): LatestValue | undefined {
    this.#end.checkOpen();
    for (;;) {
      const sequence = this.#end.latest();
      if (sequence === 0) return undefined;
      const value = this.#copy(sequence);
      if (value === undefined) continue; // newer values were written over it: there is a newer one to read
      this.#seen = sequence;
      return value;
    }
  }

  /** Waits for a value newer than the last one read. Throws `ChannelTimeoutError`, and `PeerDeadError` once a death. */
  next({ timeoutMs = Infinity }: WaitOptions = {}): LatestValue {
    this.#end.checkOpen();
    if (!this.#end.bell.wait(this.#hasNewer, this.#check, timeoutMs)) throw this.#timedOut(timeoutMs);
    return this.read()!;
  }

  /** As `next`, without holding up the event loop. */
  async nextAsync(options: AsyncWaitOptions = {}): Promise<LatestValue> {
    this.#end.checkOpen();
    const isReady = (): boolean => this.#end.isClosed || this.#hasNewer();
    if (!(await this.#end.bell.waitAsync(isReady, this.#check, options))) throw this.#timedOut(options.timeoutMs!);
    return this.read()!;
  }

  #copy(sequence: number): LatestValue | undefined {
    const { words } = this.#end.memory;
    const slot = this.#end.slot(sequence);
    if (Atomics.load(words, slot + SLOT_WORD.mark) !== sequence) return undefined;
    const sizeBytes = Math.min(words[slot + SLOT_WORD.sizeBytes] >>> 0, this.#end.layout.valueBytes);
    if (this.#scratch.length < sizeBytes) this.#scratch = new Uint8Array(sizeBytes);
    this.#scratch.set(this.#end.bytes(slot, sizeBytes));
    if (Atomics.or(words, slot + SLOT_WORD.mark, 0) !== sequence) return undefined;
    return { bytes: this.#scratch.subarray(0, sizeBytes), sequence };
  }

  readonly #hasNewer = (): boolean => this.#end.latest() !== this.#seen;

  readonly #check = (): void => {
    if (!this.#throttle.isDue()) return;
    const { memory, parking, where } = this.#end;
    const publisher = Atomics.load(memory.longs, PUBLISHER);
    if (publisher === 0n || publisher === this.#deadToldOf || parking.isAlive(publisher)) return;
    this.#deadToldOf = publisher;
    throw new PeerDeadError("publisher", where, { got: parking.describe(publisher) });
  };

  #timedOut(timeoutMs: number): ChannelTimeoutError {
    return new ChannelTimeoutError("no newer value came", { where: this.#end.where, got: `${timeoutMs} ms` });
  }
}

/** A latest value over shared memory, as one thread sees it. */
export class LatestChannel implements Disposable {
  readonly #end: LatestEnd;
  readonly #onClose: () => void;
  #publisher: Publisher | undefined;

  /** Attaches to what lies in the memory. Throws `ChannelFormatError`. */
  constructor(memory: ChannelMemory, parking: Parking, where: string, onClose: () => void = () => {}) {
    this.#end = new LatestEnd(memory, parking, where);
    this.#onClose = onClose;
  }

  /** Makes a latest value in memory that is all zeros. */
  static format({ words }: ChannelMemory, options: LatestOptions): void {
    const { slots, valueBytes } = layOut(options);
    words[WORD.version] = VERSION;
    words[WORD.slots] = slots;
    words[WORD.valueGranules] = valueBytes / GRANULE_BYTES;
    Atomics.store(words, WORD.magic, MAGIC);
  }

  /** Becomes the publisher. Throws `ChannelFullError` where there is one that lives. */
  publisher(): Publisher {
    this.#end.checkOpen();
    this.#publisher = new Publisher(this.#end);
    return this.#publisher;
  }

  subscriber(): Subscriber {
    this.#end.checkOpen();
    return new Subscriber(this.#end);
  }

  /** Makes room for another publisher where the present one is a thread that was terminated. */
  evictPublisher(): void {
    this.#end.checkOpen();
    Atomics.store(this.#end.memory.longs, PUBLISHER, 0n);
  }

  close(): void {
    if (this.#end.isClosed) return;
    this.#publisher?.close();
    this.#end.isClosed = true;
    this.#onClose();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

// The last number is a multiple of the count of slots, so that the first one after it has another slot.
function nextSequence(sequence: number, slots: number): number {
  return sequence >= 0x7fff_ffff - (0x7fff_ffff % slots) ? 1 : sequence + 1;
}
