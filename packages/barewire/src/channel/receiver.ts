// The receiving end of a ring channel: takes messages in place from all lanes in turn.

import { untilClosed } from "./channel.ts";
import type { Message, MessageReceiver } from "./channel.ts";
import { ChannelClosedError, ChannelTimeoutError, ChannelUseError } from "./errors.ts";
import { LaneReader, releaseTaken } from "./lane.ts";
import type { Taken } from "./lane.ts";
import { DeathWatch } from "./participants.ts";
import type { Place } from "./participants.ts";
import type { RingEnd } from "./ring.ts";
import { Throttle } from "./wait.ts";
import type { AsyncWaitOptions, WaitOptions } from "./wait.ts";

/** How a receiver behaves. */
export interface ReceiverOptions {
  /** Wait for messages even after every producer has left, because others will come. Default false. */
  readonly keepOpen?: boolean;
}

// A receiver that never waits looks after its producers once in so many messages.
const MESSAGES_BETWEEN_CHECKS = 1024;

/** A message in the channel's memory. */
export class RingMessage implements Message {
  /** The number that its sender gave it. */
  readonly tag: number;
  /** The lane, and so the producer, that it came from. */
  readonly lane: number;
  readonly #stateIndex: number;
  readonly #release: (stateIndex: number, lane: number) => void;
  #bytes: Uint8Array | undefined;

  constructor(taken: Taken, release: (stateIndex: number, lane: number) => void) {
    this.#bytes = taken.bytes;
    this.tag = taken.tag;
    this.lane = taken.lane;
    this.#stateIndex = taken.stateIndex;
    this.#release = release;
  }

  /** The bytes, in place. Throws `ChannelUseError` after the message was released. */
  get bytes(): Uint8Array {
    if (this.#bytes === undefined) throw new ChannelUseError("a message was used after it was released");
    return this.#bytes;
  }

  /** Gives the bytes back to the producer; views of them must not be used any more. */
  release(): void {
    if (this.#bytes === undefined) throw new ChannelUseError("a message was released twice");
    this.#bytes = undefined;
    this.#release(this.#stateIndex, this.lane);
  }

  [Symbol.dispose](): void {
    if (this.#bytes !== undefined) this.release();
  }
}

/** A consumer of a ring channel. */
export class RingReceiver implements MessageReceiver {
  readonly #ring: RingEnd;
  readonly #place: Place;
  readonly #lanes: LaneReader[] = [];
  readonly #keepOpen: boolean;
  readonly #deaths: DeathWatch;
  readonly #throttle = new Throttle();
  #next = 0;
  #sinceCheck = 0;
  #found: Taken | undefined;
  #isClosed = false;

  constructor(ring: RingEnd, { keepOpen = false }: ReceiverOptions = {}) {
    this.#ring = ring;
    this.#keepOpen = keepOpen;
    this.#deaths = new DeathWatch(ring.participants, "producer", ring.where);
    this.#place = ring.participants.join("consumer");
  }

  /**
   * The next message, in place. Throws `PeerDeadError` (once for each producer that dies, after what it had sent was
   * taken), `ChannelTimeoutError`, and `ChannelClosedError` when every producer has left and nothing is left to take.
   */
  take({ timeoutMs = Infinity }: WaitOptions = {}): RingMessage {
    const message = this.tryTake();
    if (message !== undefined) return message;
    if (!this.#ring.dataBell.wait(this.#find, this.#checkPeers, timeoutMs)) throw this.#timedOut(timeoutMs);
    return this.#give();
  }

  /** As `take`, or undefined where there is nothing right now. */
  tryTake(): RingMessage | undefined {
    this.#checkOpen();
    if (++this.#sinceCheck > MESSAGES_BETWEEN_CHECKS) this.#checkInPassing();
    return this.#find() ? this.#give() : undefined;
  }

  /** As `take`, without holding up the event loop. */
  async takeAsync(options: AsyncWaitOptions = {}): Promise<RingMessage> {
    const message = this.tryTake();
    if (message !== undefined) return message;
    const isReady = (): boolean => this.#isClosed || this.#find();
    const hasOne = await this.#ring.dataBell.waitAsync(isReady, this.#checkPeers, options);
    this.#checkOpen();
    if (!hasOne) throw this.#timedOut(options.timeoutMs ?? Infinity);
    return this.#give();
  }

  /** Messages until every producer has left; each must be released. */
  [Symbol.asyncIterator](): AsyncGenerator<RingMessage> {
    return untilClosed(() => this.takeAsync());
  }

  /** Throws `PeerDeadError` where a producer died since this was last known. Waiting does this by itself. */
  checkPeers(): void {
    this.#deaths.check();
  }

  /** Leaves the channel. Messages that were taken and not released are lost. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ring.release(this);
    this.#ring.participants.leave("consumer", this.#place);
    this.#ring.dataBell.ring();
    for (let lane = 0; lane < this.#ring.lanesUsed(); lane++) this.#ring.spaceBell(lane).ring();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // Lanes are asked in turn, beginning after the one that gave the last message, so that none waits for ever.
  readonly #find = (): boolean => {
    if (this.#found !== undefined) return true;
    const lanes = this.#lanes;
    const used = this.#ring.lanesUsed();
    while (lanes.length < used) lanes.push(new LaneReader(this.#ring.memory, this.#ring.layout, lanes.length));
    for (let i = 0; i < used; i++) {
      const lane = this.#next < used ? this.#next : 0;
      this.#next = lane + 1;
      this.#found = lanes[lane].take(this.#place.ticket);
      if (this.#found !== undefined) return true;
    }
    return false;
  };

  #give(): RingMessage {
    const taken = this.#found!;
    this.#found = undefined;
    return new RingMessage(taken, this.#release);
  }

  readonly #release = (stateIndex: number, lane: number): void => {
    if (this.#isClosed) return; // the producer takes back what a consumer that has left still holds
    if (!releaseTaken(this.#ring.memory.words, stateIndex, this.#place.ticket)) {
      throw new ChannelUseError("a message was taken back while it was held", {
        where: this.#ring.where,
        hint: "this consumer was evicted as dead: open another receiver",
      });
    }
    this.#ring.spaceBell(lane).ring();
  };

  readonly #checkPeers = (): void => {
    if (!this.#throttle.isDue()) return;
    this.#deaths.check();
    const { participants, where } = this.#ring;
    if (this.#keepOpen || participants.joined("producer") === 0 || participants.present("producer") > 0) return;
    if (this.#find()) return; // sent between the last look and the leaving
    throw new ChannelClosedError("every producer has left the channel, and nothing is left to take", {
      where,
      hint: "open a sender, or pass keepOpen to wait for one",
    });
  };

  #checkInPassing(): void {
    this.#sinceCheck = 0;
    if (this.#throttle.isDue()) this.#deaths.check();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new ChannelClosedError("the receiver was closed", { where: this.#ring.where });
  }

  #timedOut(timeoutMs: number): ChannelTimeoutError {
    return new ChannelTimeoutError("no message came", { where: this.#ring.where, got: `${timeoutMs} ms` });
  }
}
