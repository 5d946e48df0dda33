// Channels of values: a BARE schema on top of any channel. Values are encoded when they are sent and decoded when they
// are taken, strictly, so that what does not fit the schema is refused with its place. Left out: values that are read
// in place (views do that, over the bytes of an untyped message).

import { decode, encode } from "../bare.ts";
import type { Schema } from "../bare.ts";
import { untilClosed } from "./channel.ts";
import type { MessageReceiver, MessageSender } from "./channel.ts";
import type { RingReceiver } from "./receiver.ts";
import type { RingSender } from "./sender.ts";
import type { AsyncWaitOptions, WaitOptions } from "./wait.ts";

/** Sends values of a schema through any channel. */
export class TypedSender<T, S extends MessageSender = MessageSender> implements Disposable {
  readonly #schema: Schema<T>;
  readonly #sender: S;

  constructor(schema: Schema<T>, sender: S) {
    this.#schema = schema;
    this.#sender = sender;
  }

  /** Sends a value and waits while there is no room. Throws `BareError` and what the sender throws. */
  send(this: TypedSender<T, RingSender>, value: T, options?: WaitOptions): void {
    this.#sender.send(encode(this.#schema, value), options);
  }

  /** As `send`, without holding up the event loop. */
  async sendAsync(value: T, options?: AsyncWaitOptions): Promise<void> {
    await this.#sender.sendAsync(encode(this.#schema, value), options);
  }

  [Symbol.dispose](): void {
    this.#sender.close();
  }
}

/** Takes values of a schema from any channel. */
export class TypedReceiver<T, R extends MessageReceiver = MessageReceiver> implements Disposable {
  readonly #schema: Schema<T>;
  readonly #receiver: R;

  constructor(schema: Schema<T>, receiver: R) {
    this.#schema = schema;
    this.#receiver = receiver;
  }

  /** The next value. Throws `BareError` (the message is gone then) and what the receiver throws. */
  take(this: TypedReceiver<T, RingReceiver>, options?: WaitOptions): T {
    using message = this.#receiver.take(options);
    return decode(this.#schema, message.bytes);
  }

  /** As `take`, without holding up the event loop. */
  async takeAsync(options?: AsyncWaitOptions): Promise<T> {
    using message = await this.#receiver.takeAsync(options);
    return decode(this.#schema, message.bytes);
  }

  /** Values until the other side has left. */
  [Symbol.asyncIterator](): AsyncGenerator<T> {
    return untilClosed(() => this.takeAsync());
  }

  [Symbol.dispose](): void {
    this.#receiver.close();
  }
}
