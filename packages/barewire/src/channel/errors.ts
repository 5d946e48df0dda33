// What can go wrong in a channel, by name. Every class says what to try; none of them leaves the channel broken for the
// other participants.

import { FidelityError } from "@fidelity/units";

/** The root of what channels raise on purpose. */
export class ChannelError extends FidelityError {}

/** A participant died (its process is gone) without leaving the channel. What it had sent whole is still delivered. */
export class PeerDeadError extends ChannelError {
  /** The part that died: "producer", "consumer", "publisher" or "peer". */
  readonly role: string;

  constructor(role: string, where: string, details: { got?: string; hint?: string } = {}) {
    const hint = details.hint ?? "start it again: the channel stays usable, and a new participant takes the place over";
    super(`a ${role} of the channel died`, { where, got: details.got, hint });
    this.role = role;
  }
}

/** This end was closed, or everyone on the other side has left for good and nothing is left to take. */
export class ChannelClosedError extends ChannelError {}

/** No room: for a message (policies "fail" and "drop-oldest"), or for one more participant. */
export class ChannelFullError extends ChannelError {}

/** What was waited for did not come in the time that was given. */
export class ChannelTimeoutError extends ChannelError {}

/** A message is larger than the channel can ever carry, or than the other side says that it takes. */
export class MessageTooLargeError extends ChannelError {
  readonly sizeBytes: number;
  readonly limitBytes: number;

  constructor(sizeBytes: number, limitBytes: number, where: string) {
    super("a message does not fit into its channel", {
      where,
      expected: `at most ${limitBytes} bytes`,
      got: `${sizeBytes} bytes`,
      hint: "send it in parts, or create the channel with a larger capacity",
    });
    this.sizeBytes = sizeBytes;
    this.limitBytes = limitBytes;
  }
}

/** The memory or the stream does not hold what a channel writes there: another program, another version, damage. */
export class ChannelFormatError extends ChannelError {}

/** A stream ended in the middle of a frame. */
export class TruncatedFrameError extends ChannelFormatError {}

/** A slot or a message was used against its rules: twice, after it was sent or released, or beside another loan. */
export class ChannelUseError extends ChannelError {}
