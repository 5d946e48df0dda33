// What every channel offers, whatever carries it: a sender that lends memory to be filled in place and a receiver that
// gives messages out in place. Rings in shared memory have a waiting (synchronous) side as well; TCP has this one only.

import { ChannelClosedError } from "./errors.ts";
import type { AsyncWaitOptions } from "./wait.ts";

/** A message as it came. Its bytes are valid until it is released, and belong to the channel. */
export interface Message extends Disposable {
  readonly bytes: Uint8Array;
  /** Gives the bytes back. A message is released once; `using` does it at the end of the block. */
  release(): void;
}

/** Memory lent for one message: fill `bytes`, then `send` it or `discard` it. */
export interface Loan {
  readonly bytes: Uint8Array;
  /** Sends the first `sizeBytes` bytes, all by default. */
  send(sizeBytes?: number): void;
  discard(): void;
}

/** The sending end. */
export interface MessageSender extends Disposable {
  /** Lends memory for one message, when there is room for it. */
  loanAsync(sizeBytes: number, options?: AsyncWaitOptions): Promise<Loan>;
  /** Sends a copy of the bytes, when there is room for it. */
  sendAsync(bytes: Uint8Array, options?: AsyncWaitOptions): Promise<void>;
  /** Leaves the channel; what was sent is still delivered. */
  close(): void;
}

/** The receiving end. Iterating ends when the other side has left and everything was taken. */
export interface MessageReceiver extends Disposable, AsyncIterable<Message> {
  /** The next message. */
  takeAsync(options?: AsyncWaitOptions): Promise<Message>;
  close(): void;
}

/** What `take` gives, until it says that the channel has ended; other errors are thrown. */
export async function* untilClosed<T>(take: () => Promise<T>): AsyncGenerator<T> {
  for (;;) {
    try {
      yield await take();
    } catch (error) {
      if (error instanceof ChannelClosedError) return;
      throw error;
    }
  }
}
