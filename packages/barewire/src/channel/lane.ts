// A lane: the messages of one producer, written by it alone, taken by any consumer of the channel. A channel for
// several producers is several lanes, so that no producer ever waits for, or is left with a hole by, another one.
//
// A lane is a ring of descriptors and a ring of payload. A descriptor's state goes
//
//   FREE --producer: bytes, size and offset are written--> READY --consumer: compare-and-exchange--> HELD by its ticket
//   HELD --consumer: release--> DONE --producer: retire--> FREE
//
// Why no torn and no repeated message is ever seen, whoever is killed at whatever moment:
// 1. READY is one atomic store after everything else of the message is written. Killed before it, the producer leaves
//    a descriptor that is FREE: the message never was, and the next producer of the lane writes over it. Killed after
//    it, the message is whole. `head` is stored later and is a hint only: `recover` finds a READY that it misses.
// 2. Only the compare-and-exchange from READY to HELD gives a message out, and nothing turns a descriptor READY again
//    but the next message in it. So a message is given out at most once, and a consumer reads size and offset only
//    after it holds them: even one that was stopped for a whole lap of the ring takes whole what it takes.
// 3. The bytes of a message are written over only after its descriptor was DONE. DONE is stored by its holder, by the
//    producer when it drops a message that is still READY (the same compare-and-exchange, so that one of them wins), or
//    by the producer once its ticket belongs to no living consumer; no ticket is given twice (within 2^29 of them).
// 4. What a killed consumer held is lost with it, and nothing else: it may have acted on it, so it is not given again.
//
// A message lies in one piece: where the end of the payload is too short, the rest of it is skipped. Large messages go
// back to the start of the payload as soon as there is room, because memory that was just read is still in the caches:
// copying through 64 MB of payload in turn runs at the speed of the main memory, going to and fro between two places
// at that of the caches. What such a return leaves unused behind is used when the start is full: the lane then goes on
// behind the oldest messages, and returns once they are gone.
//
// Order is kept within a lane for a single consumer. Left out: order between lanes, messages that survive a restart of
// the machine.

import { ChannelFormatError } from "./errors.ts";
import { DESCRIPTOR, DESCRIPTOR_WORDS, GRANULE_BYTES, LANE, lanePosition } from "./layout.ts";
import type { RingLayout } from "./layout.ts";
import type { ChannelMemory } from "./memory.ts";

const FREE = 0;
const READY = 1;
const HELD = 2; // in the two low bits; the ticket of the holder above them
const DONE = 3;

/** From this size on (16 KiB), looking for room at the start costs little beside the copying that it makes faster. */
const LARGE_GRANULES = 256;

/** A message where it lies. */
export interface Taken {
  readonly bytes: Uint8Array;
  readonly tag: number;
  readonly lane: number;
  /** Index of the descriptor's state. */
  readonly stateIndex: number;
}

/** What both sides know of a lane. */
class LaneEnd {
  protected readonly memory: ChannelMemory;
  protected readonly words: Int32Array;
  protected readonly header: number;
  protected readonly descriptors: number;
  protected readonly payloadByte: number;
  protected readonly mask: number;
  protected readonly capacityGranules: number;

  constructor(memory: ChannelMemory, layout: RingLayout, lane: number) {
    const { header, descriptors, payload } = lanePosition(layout, lane);
    this.memory = memory;
    this.words = memory.words;
    this.header = header / 4;
    this.descriptors = descriptors / 4;
    this.payloadByte = payload;
    this.mask = layout.messagesMax - 1;
    this.capacityGranules = layout.capacityBytes / GRANULE_BYTES;
  }

  protected descriptor(position: number): number {
    return this.descriptors + (position & this.mask) * DESCRIPTOR_WORDS;
  }
}

/** The producer's side. Positions count messages and wrap at 2^32. */
export class LaneWriter extends LaneEnd {
  #head = 0;
  #tail = 0;
  // Granules of the payload. The oldest message that is kept begins at `from`, the newest one ends at `to`. Kept are
  //   from < to: the messages in [from, to), and those in [0, low), which are younger than the one at `from`;
  //   to <= from: the messages from `from` on, then those in [0, to); from `high` on there is room.
  #to = 0;
  #from = 0;
  #low = 0;
  #high = 0;

  /** Takes the lane over as its last producer left it, dead or alive. */
  recover(): void {
    this.#tail = Atomics.load(this.words, this.header + LANE.tail);
    this.#head = Atomics.load(this.words, this.header + LANE.head);
    const isFull = this.#underWay() > this.mask;
    if (!isFull && Atomics.load(this.words, this.descriptor(this.#head)) !== FREE) this.#advanceHead();
    this.retire();
    this.#low = 0;
    this.#high = this.capacityGranules;
    for (let position = this.#tail; position !== this.#head; position = (position + 1) | 0) {
      const at = this.descriptor(position);
      const begin = this.words[at + DESCRIPTOR.offset];
      this.#to = begin + granulesOf(this.words[at + DESCRIPTOR.sizeBytes] >>> 0);
      if (begin < this.#from) this.#low = Math.max(this.#low, this.#to);
    }
  }

  /** The granule where a message of this size can be written now, or -1. */
  place(sizeBytes: number): number {
    const need = granulesOf(sizeBytes);
    const isLarge = need >= LARGE_GRANULES;
    if (isLarge) this.retire();
    const at = this.#fit(need, isLarge);
    if (at >= 0 || isLarge) return at;
    this.retire();
    return this.#fit(need, false);
  }

  /** The bytes at a granule that `place` gave. */
  bytesAt(granule: number, sizeBytes: number): Uint8Array {
    return this.memory.bytes(this.payloadByte + granule * GRANULE_BYTES, sizeBytes);
  }

  /** Gives out what was written at `granule`. */
  publish(granule: number, sizeBytes: number, tag: number): void {
    const at = this.descriptor(this.#head);
    this.words[at + DESCRIPTOR.sizeBytes] = sizeBytes;
    this.words[at + DESCRIPTOR.offset] = granule;
    this.words[at + DESCRIPTOR.tag] = tag;
    Atomics.store(this.words, at, READY);
    this.#advanceHead();
    if (granule < this.#from && this.#from < this.#to) this.#high = this.#isSparse() ? this.#to : this.capacityGranules;
    if (granule > this.#from && this.#to <= this.#from) this.#low = this.#to;
    this.#to = granule + granulesOf(sizeBytes);
  }

  /** Takes back what consumers are done with, from the oldest message on. */
  retire(): void {
    while (this.#tail !== this.#head) {
      const at = this.descriptor(this.#tail);
      const state = Atomics.load(this.words, at);
      // FREE here was left by a producer that was killed between the two stores below.
      if (state !== DONE && state !== FREE) break;
      if (this.words[at + DESCRIPTOR.offset] < this.#low) this.#low = 0; // those at the start are the oldest by now
      Atomics.store(this.words, at, FREE);
      this.#tail = (this.#tail + 1) | 0;
      Atomics.store(this.words, this.header + LANE.tail, this.#tail);
    }
    if (this.#tail === this.#head) {
      this.#from = this.#to = this.#low = 0;
      return;
    }
    this.#from = this.words[this.descriptor(this.#tail) + DESCRIPTOR.offset];
  }

  /** Takes messages back from consumers that are gone. */
  reclaim(isHolding: (ticket: number) => boolean): void {
    for (let position = this.#tail; position !== this.#head; position = (position + 1) | 0) {
      const at = this.descriptor(position);
      const state = Atomics.load(this.words, at);
      if ((state & 3) === HELD && !isHolding(state >>> 2)) Atomics.compareExchange(this.words, at, state, DONE);
    }
  }

  /** Drops the oldest message, unless a consumer holds it. */
  dropOldest(): boolean {
    if (this.#tail === this.#head) return false;
    const at = this.descriptor(this.#tail);
    if (Atomics.compareExchange(this.words, at, READY, DONE) !== READY) return Atomics.load(this.words, at) === DONE;
    Atomics.add(this.words, this.header + LANE.dropped, 1);
    return true;
  }

  /** How many messages were dropped, ever. */
  get dropped(): number {
    return Atomics.load(this.words, this.header + LANE.dropped) >>> 0;
  }

  #underWay(): number {
    return (this.#head - this.#tail) >>> 0;
  }

  #advanceHead(): void {
    this.#head = (this.#head + 1) | 0;
    Atomics.store(this.words, this.header + LANE.head, this.#head);
  }

  // Whether so little is under way that going back to the start costs little room: while the lane goes on at `high`,
  // what becomes free before it is not used.
  #isSparse(): boolean {
    return this.#to - this.#from <= this.capacityGranules >> 3;
  }

  #fit(need: number, atStart: boolean): number {
    const count = this.#underWay();
    if (count > this.mask) return -1;
    if (count === 0) return need <= this.capacityGranules ? 0 : -1;
    if (this.#to <= this.#from) {
      if (this.#from - this.#to >= need) return this.#to;
      return this.capacityGranules - this.#high >= need ? this.#high : -1;
    }
    const hasStart = this.#low === 0 && this.#from >= need;
    if (atStart && hasStart && this.#isSparse()) return 0;
    if (this.capacityGranules - this.#to >= need) return this.#to;
    return hasStart ? 0 : -1;
  }
}

/** A consumer's side. It keeps its own position in the lane, which others may have left behind. */
export class LaneReader extends LaneEnd {
  readonly #lane: number;
  #position: number;

  constructor(memory: ChannelMemory, layout: RingLayout, lane: number) {
    super(memory, layout, lane);
    this.#lane = lane;
    this.#position = Atomics.load(this.words, this.header + LANE.tail);
  }

  /** Takes the next message for the holder of `ticket`, or gives undefined where there is none. */
  take(ticket: number): Taken | undefined {
    for (;;) {
      // `head` first: a message that it counts was READY before its state is read below.
      const at = this.descriptor(this.#position);
      if (Atomics.load(this.words, at) !== READY && !this.#seek()) return undefined;
      const found = this.descriptor(this.#position);
      if (Atomics.compareExchange(this.words, found, READY, (ticket << 2) | HELD) !== READY) continue;
      this.#position = (this.#position + 1) | 0;
      return this.#taken(found);
    }
  }

  // Moves on to the next message that is READY; false where there is none. `head` is read before the states: a message
  // that it counts was READY then, so that one which is not READY now belongs to someone else and can be passed over.
  #seek(): boolean {
    const head = Atomics.load(this.words, this.header + LANE.head);
    const tail = Atomics.load(this.words, this.header + LANE.tail);
    const behind = (this.#position - tail) | 0;
    const ahead = (this.#position - head) | 0;
    // One ahead of `head` is right after a producer that was killed between its two stores.
    if (behind < 0 || ahead > 1) this.#position = tail;
    for (; ((head - this.#position) | 0) > 0; this.#position = (this.#position + 1) | 0) {
      if (Atomics.load(this.words, this.descriptor(this.#position)) === READY) return true;
    }
    return this.#position === head && Atomics.load(this.words, this.descriptor(head)) === READY;
  }

  #taken(at: number): Taken {
    const sizeBytes = this.words[at + DESCRIPTOR.sizeBytes] >>> 0;
    const granule = this.words[at + DESCRIPTOR.offset];
    if (granule < 0 || granule + granulesOf(sizeBytes) > this.capacityGranules) {
      throw new ChannelFormatError("a message lies outside its channel", {
        got: `${sizeBytes} bytes at ${granule * GRANULE_BYTES} of ${this.capacityGranules * GRANULE_BYTES}`,
        hint: "another program wrote into the channel's memory: create the channel again",
      });
    }
    const bytes = this.memory.bytes(this.payloadByte + granule * GRANULE_BYTES, sizeBytes);
    return { bytes, tag: this.words[at + DESCRIPTOR.tag], lane: this.#lane, stateIndex: at };
  }
}

/** Gives a held message back; false where it was taken back because its holder was declared gone. */
export function releaseTaken(words: Int32Array, stateIndex: number, ticket: number): boolean {
  const held = (ticket << 2) | HELD;
  return Atomics.compareExchange(words, stateIndex, held, DONE) === held;
}

// A message without bytes takes a granule as well, so that two messages never begin at the same place.
function granulesOf(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / GRANULE_BYTES));
}
