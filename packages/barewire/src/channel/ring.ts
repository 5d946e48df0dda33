// A ring channel in shared memory: its ends are senders (producers) and receivers (consumers), as many as its limits
// allow, in any threads or processes that see the memory. What happens in it is told in lane.ts (messages), wait.ts
// (sleeping) and participants.ts (who lives).

import { ChannelClosedError } from "./errors.ts";
import { LANE, HEADER, formatRing, lanePosition, layOutRing, readRingLayout } from "./layout.ts";
import type { RingLayout, RingOptions } from "./layout.ts";
import type { ChannelMemory } from "./memory.ts";
import { Participants } from "./participants.ts";
import type { Role } from "./participants.ts";
import { RingReceiver } from "./receiver.ts";
import type { ReceiverOptions } from "./receiver.ts";
import { RingSender } from "./sender.ts";
import type { SenderOptions } from "./sender.ts";
import { Bell } from "./wait.ts";
import type { Parking } from "./wait.ts";

/** What the ends of a ring share in one thread. */
export class RingEnd {
  readonly memory: ChannelMemory;
  readonly layout: RingLayout;
  readonly participants: Participants;
  readonly dataBell: Bell;
  /** For messages of errors: the channel's name. */
  readonly where: string;
  readonly #bells: Bell[];
  readonly #ends = new Set<Disposable>();

  constructor(memory: ChannelMemory, parking: Parking, where: string) {
    this.memory = memory;
    this.layout = readRingLayout(memory.words, where);
    this.where = where;
    this.participants = new Participants(memory, this.layout, parking, where);
    this.dataBell = new Bell(memory.words, HEADER.dataBell, parking);
    this.#bells = Array.from({ length: this.layout.producersMax }, (_, lane) => {
      return new Bell(memory.words, lanePosition(this.layout, lane).header / 4 + LANE.spaceBell, parking);
    });
  }

  /** The bell that the producer of a lane sleeps on. */
  spaceBell(lane: number): Bell {
    return this.#bells[lane];
  }

  /** Lanes that receivers must look at: those that ever had a producer. */
  lanesUsed(): number {
    return Atomics.load(this.memory.words, HEADER.lanesUsed);
  }

  openLane(lane: number): void {
    for (;;) {
      const used = this.lanesUsed();
      if (used > lane || Atomics.compareExchange(this.memory.words, HEADER.lanesUsed, used, lane + 1) === used) return;
    }
  }

  keep<T extends Disposable>(end: T): T {
    this.#ends.add(end);
    return end;
  }

  release(end: Disposable): void {
    this.#ends.delete(end);
  }

  /** Closes every end that this thread has opened. */
  closeAll(): void {
    for (const end of [...this.#ends]) end[Symbol.dispose]();
  }
}

/** Bytes of memory that a channel with these limits takes. */
export function channelSizeBytes(options?: RingOptions): number {
  return layOutRing(options).sizeBytes;
}

/** A channel over shared memory, as one thread sees it. */
export class RingChannel implements Disposable {
  readonly #end: RingEnd;
  readonly #onClose: () => void;
  #isClosed = false;

  /** Attaches to a channel that lies in the memory. Throws `ChannelFormatError`. */
  constructor(memory: ChannelMemory, parking: Parking, where: string, onClose: () => void = () => {}) {
    this.#end = new RingEnd(memory, parking, where);
    this.#onClose = onClose;
  }

  /** Makes a channel in memory that is all zeros. Throws `ChannelError` on limits that cannot be. */
  static format(memory: ChannelMemory, options?: RingOptions): void {
    formatRing(memory.words, layOutRing(options));
  }

  /** The limits it was made with. */
  get layout(): RingLayout {
    return this.#end.layout;
  }

  /** Joins as a producer. Throws `ChannelFullError` where there are as many as the channel takes. */
  sender(options?: SenderOptions): RingSender {
    this.#checkOpen();
    return this.#end.keep(new RingSender(this.#end, options));
  }

  /** Joins as a consumer. Throws `ChannelFullError` where there are as many as the channel takes. */
  receiver(options?: ReceiverOptions): RingReceiver {
    this.#checkOpen();
    return this.#end.keep(new RingReceiver(this.#end, options));
  }

  /** How many producers or consumers there are now. */
  count(role: Role): number {
    this.#checkOpen();
    return this.#end.participants.present(role);
  }

  /**
   * Gives up a participant that cannot do so itself: a worker thread that was terminated, which only Node on Linux
   * tells from one that is busy. Slot is the lane of a producer. It must not run any more.
   */
  evict(role: Role, slot: number): void {
    this.#checkOpen();
    this.#end.participants.evict(role, slot);
    this.#end.dataBell.ring();
    for (let lane = 0; lane < this.#end.lanesUsed(); lane++) this.#end.spaceBell(lane).ring();
  }

  /** Closes the ends that were opened here, then lets the memory go. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#end.closeAll();
    this.#onClose();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new ChannelClosedError("the channel was closed", { where: this.#end.where });
  }
}
