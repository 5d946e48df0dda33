// The sending end of a ring channel: lends the memory of the next message, sends it, and decides what happens when
// there is no room.

import type { Loan, MessageSender } from "./channel.ts";
import {
  ChannelClosedError,
  ChannelFullError,
  ChannelTimeoutError,
  ChannelUseError,
  MessageTooLargeError,
} from "./errors.ts";
import { LaneWriter } from "./lane.ts";
import { DeathWatch } from "./participants.ts";
import type { Place } from "./participants.ts";
import type { RingEnd } from "./ring.ts";
import { Throttle } from "./wait.ts";
import type { AsyncWaitOptions, Bell, WaitOptions } from "./wait.ts";

/**
 * What a sender does when there is no room: wait for it; throw `ChannelFullError`; or drop the oldest message that no
 * consumer has taken yet (and throw `ChannelFullError` where consumers hold what is in the way).
 */
export type WhenFull = "block" | "fail" | "drop-oldest";

/** How a sender behaves. */
export interface SenderOptions {
  /** Default "block". */
  readonly whenFull?: WhenFull;
  /** Wait for room even after every consumer has left, because others will come. Default false. */
  readonly keepOpen?: boolean;
}

// A sender that never waits looks after its consumers once in so many messages.
const MESSAGES_BETWEEN_CHECKS = 1024;

/** The memory of one message that was not sent yet. */
export class Slot implements Loan {
  readonly bytes: Uint8Array;
  readonly #finish: (slot: Slot, sizeBytes: number, tag: number) => void;

  constructor(bytes: Uint8Array, finish: (slot: Slot, sizeBytes: number, tag: number) => void) {
    this.bytes = bytes;
    this.#finish = finish;
  }

  /**
   * Sends the first `sizeBytes` bytes, all by default. `tag` is a number of 32 bits that comes with the message.
   * Throws `ChannelUseError` where the slot was sent or discarded before.
   */
  send(sizeBytes: number = this.bytes.length, tag = 0): void {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > this.bytes.length) {
      throw new ChannelUseError("a slot cannot be sent with this size", {
        expected: `0 to ${this.bytes.length} bytes`,
        got: String(sizeBytes),
      });
    }
    this.#finish(this, sizeBytes, tag);
  }

  /** Gives the memory back without sending anything. */
  discard(): void {
    this.#finish(this, -1, 0);
  }
}

/** A producer of a ring channel. */
export class RingSender implements MessageSender {
  readonly #ring: RingEnd;
  readonly #place: Place;
  readonly #lane: LaneWriter;
  readonly #space: Bell;
  readonly #whenFull: WhenFull;
  readonly #keepOpen: boolean;
  readonly #deaths: DeathWatch;
  readonly #throttle = new Throttle();
  #loan: Slot | undefined;
  #granule = 0;
  #sinceCheck = 0;
  #isClosed = false;

  constructor(ring: RingEnd, { whenFull = "block", keepOpen = false }: SenderOptions = {}) {
    this.#ring = ring;
    this.#whenFull = whenFull;
    this.#keepOpen = keepOpen;
    this.#deaths = new DeathWatch(ring.participants, "consumer", ring.where);
    this.#place = ring.participants.join("producer");
    this.#lane = new LaneWriter(ring.memory, ring.layout, this.#place.slot);
    this.#lane.recover();
    this.#space = ring.spaceBell(this.#place.slot);
    ring.openLane(this.#place.slot);
    ring.dataBell.ring(); // a predecessor may have died between sending and ringing
  }

  /** Number of the lane: what receivers see as `message.lane`. */
  get lane(): number {
    return this.#place.slot;
  }

  /** Messages that were dropped in this lane, ever. */
  get dropped(): number {
    return this.#lane.dropped;
  }

  /**
   * Lends `sizeBytes` bytes of the channel, to be filled in place; one loan at a time. Throws `PeerDeadError` (once for
   * each consumer that dies), `ChannelFullError`, `ChannelTimeoutError`, `ChannelClosedError`, `MessageTooLargeError`.
   */
  loan(sizeBytes: number, { timeoutMs = Infinity }: WaitOptions = {}): Slot {
    const slot = this.tryLoan(sizeBytes);
    if (slot !== undefined) return slot;
    if (!this.#makeRoom(sizeBytes)) {
      const isReady = (): boolean => this.#find(sizeBytes);
      if (!this.#space.wait(isReady, () => this.#checkPeers(), timeoutMs)) throw this.#timedOut(timeoutMs);
    }
    return this.#lend(sizeBytes);
  }

  /** As `loan`, without holding up the event loop. */
  async loanAsync(sizeBytes: number, options: AsyncWaitOptions = {}): Promise<Slot> {
    const slot = this.tryLoan(sizeBytes);
    if (slot !== undefined) return slot;
    if (!this.#makeRoom(sizeBytes)) {
      const isReady = (): boolean => this.#isClosed || this.#find(sizeBytes);
      const hasRoom = await this.#space.waitAsync(isReady, () => this.#checkPeers(), options);
      this.#checkUse(sizeBytes);
      if (!hasRoom) throw this.#timedOut(options.timeoutMs ?? Infinity);
    }
    return this.#lend(sizeBytes);
  }

  /** As `loan`, or undefined where there is no room right now. Nothing is dropped for it. */
  tryLoan(sizeBytes: number): Slot | undefined {
    this.#checkUse(sizeBytes);
    if (++this.#sinceCheck > MESSAGES_BETWEEN_CHECKS) this.#checkInPassing();
    return this.#find(sizeBytes) ? this.#lend(sizeBytes) : undefined;
  }

  /** Sends a copy of the bytes. Throws as `loan` does. */
  send(bytes: Uint8Array, options: WaitOptions & { readonly tag?: number } = {}): void {
    const slot = this.loan(bytes.length, options);
    slot.bytes.set(bytes);
    slot.send(bytes.length, options.tag);
  }

  /** Sends a copy of the bytes if there is room right now. */
  trySend(bytes: Uint8Array, tag = 0): boolean {
    const slot = this.tryLoan(bytes.length);
    if (slot === undefined) return false;
    slot.bytes.set(bytes);
    slot.send(bytes.length, tag);
    return true;
  }

  /** As `send`, without holding up the event loop. */
  async sendAsync(bytes: Uint8Array, options: AsyncWaitOptions & { readonly tag?: number } = {}): Promise<void> {
    const slot = await this.loanAsync(bytes.length, options);
    slot.bytes.set(bytes);
    slot.send(bytes.length, options.tag);
  }

  /** Throws `PeerDeadError` where a consumer died since this was last known. Waiting does this by itself. */
  checkPeers(): void {
    this.#deaths.check();
  }

  /** Leaves the channel. What was sent is still delivered; an open loan is discarded. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#loan = undefined;
    this.#ring.release(this);
    this.#ring.participants.leave("producer", this.#place);
    this.#ring.dataBell.ring();
    this.#space.ring();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #lend(sizeBytes: number): Slot {
    this.#loan = new Slot(this.#lane.bytesAt(this.#granule, sizeBytes), this.#finish);
    return this.#loan;
  }

  readonly #finish = (slot: Slot, sizeBytes: number, tag: number): void => {
    if (this.#loan !== slot) {
      throw new ChannelUseError("a slot was used again", {
        where: this.#ring.where,
        hint: "a slot is sent or discarded once, before the sender is closed",
      });
    }
    this.#loan = undefined;
    if (sizeBytes < 0) return;
    this.#lane.publish(this.#granule, sizeBytes, tag);
    this.#ring.dataBell.ring();
  };

  #find(sizeBytes: number): boolean {
    this.#granule = this.#lane.place(sizeBytes);
    return this.#granule >= 0;
  }

  // What the policy does about a channel that is full; true when there is room now, false to wait.
  #makeRoom(sizeBytes: number): boolean {
    if (this.#whenFull === "block") return false;
    this.#reclaim();
    while (!this.#find(sizeBytes)) {
      if (this.#whenFull === "drop-oldest" && this.#lane.dropOldest()) continue;
      throw new ChannelFullError("the channel is full", {
        where: this.#ring.where,
        got: this.#whenFull === "fail" ? undefined : "messages that consumers hold and that cannot be dropped",
        hint: "send again later, release messages sooner, or create the channel with a larger capacity",
      });
    }
    return true;
  }

  #reclaim(): void {
    this.#lane.reclaim((ticket) => this.#ring.participants.isHolding(ticket));
  }

  #checkPeers(): void {
    if (!this.#throttle.isDue()) return;
    this.#reclaim();
    this.#deaths.check();
    const { participants, where } = this.#ring;
    if (this.#keepOpen || participants.joined("consumer") === 0 || participants.present("consumer") > 0) return;
    throw new ChannelClosedError("every consumer has left the channel, and it is full", {
      where,
      hint: "open a receiver, or pass keepOpen to wait for one",
    });
  }

  #checkInPassing(): void {
    this.#sinceCheck = 0;
    if (this.#throttle.isDue()) this.#deaths.check();
  }

  #checkUse(sizeBytes: number): void {
    const { where, layout } = this.#ring;
    if (this.#isClosed) throw new ChannelClosedError("the sender was closed", { where });
    if (this.#loan !== undefined) {
      throw new ChannelUseError("a second slot was asked for", { where, hint: "send or discard the first one" });
    }
    if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= layout.capacityBytes) return;
    throw new MessageTooLargeError(sizeBytes, layout.capacityBytes, where);
  }

  #timedOut(timeoutMs: number): ChannelTimeoutError {
    return new ChannelTimeoutError("the channel stayed full", { where: this.#ring.where, got: `${timeoutMs} ms` });
  }
}
