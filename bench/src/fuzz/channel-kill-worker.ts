// One producer or consumer of the kill test, to be killed at any moment:
// `node channel-kill-worker.ts <role> <channel> <ledger>`. It works as fast as it can until the ledger says stop.
// The role "holder" makes the channel and waits to be killed, "starter" makes it and ends.

import { ChannelClosedError, PeerDeadError } from "@fidelity/barewire";
import type { RingReceiver, RingSender } from "@fidelity/barewire";
import { createChannel, openChannel } from "@fidelity/barewire/node";
import { HEAD_WORDS, Ledger, fillMessage, isWhole, makeRandom } from "./channel-kill-ledger.ts";
import type { Role } from "./channel-kill-ledger.ts";

const WORDS_MAX = 400;
const WORDS_MAX_LARGE = 4000;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

const [role, channelName, ledgerName] = process.argv.slice(2) as [Role | "holder" | "starter", string, string];
if (role === "holder") {
  createChannel(channelName);
  setInterval(() => {}, 1000);
} else if (role === "starter") {
  createChannel(channelName).close();
} else {
  work(role);
}

function work(role: Role): void {
  using ledger = Ledger.open(ledgerName);
  using channel = openChannel(channelName);
  if (role === "producer") {
    using sender = channel.sender({ keepOpen: true });
    produce(sender, ledger);
  } else {
    using receiver = channel.receiver();
    consume(receiver, ledger);
  }
}

function produce(sender: RingSender, ledger: Ledger): void {
  const me = ledger.add("nextProcess");
  const random = makeRandom(me);
  ledger.add("started");
  for (let index = 0; ledger.get("stop") === 0; index++) {
    while (ledger.get("nextNumber") >= ledger.get("limit") && ledger.get("stop") === 0) {
      noticing(ledger, "consumerDeaths", () => sender.checkPeers());
      Atomics.wait(PAUSE, 0, 0, 10);
    }
    const number = ledger.add("nextNumber");
    if (number >= ledger.messagesMax) return;
    const most = random() < 0.05 ? WORDS_MAX_LARGE : WORDS_MAX;
    const sizeBytes = 4 * (HEAD_WORDS + Math.floor(random() * most));
    const slot = noticing(ledger, "consumerDeaths", () => sender.loan(sizeBytes));
    fillMessage(wordsOf(slot.bytes), number, me, index);
    slot.send();
  }
}

function consume(receiver: RingReceiver, ledger: Ledger): void {
  const lastIndex = new Map<number, number>();
  ledger.add("started");
  for (;;) {
    try {
      using message = noticing(ledger, "producerDeaths", () => receiver.take());
      check(ledger, wordsOf(message.bytes), lastIndex);
    } catch (error) {
      if (error instanceof ChannelClosedError) return;
      throw error;
    }
  }
}

function check(ledger: Ledger, words: Int32Array, lastIndex: Map<number, number>): void {
  if (!isWhole(words)) {
    ledger.add("torn");
    return;
  }
  const [number, producer, index] = words;
  if (ledger.see(number) > 0) ledger.add("repeated");
  if (index <= (lastIndex.get(producer) ?? -1)) ledger.add("disordered");
  lastIndex.set(producer, index);
  ledger.add("seenTotal");
}

/** Does it again after each death on the other side, which it notes down. */
function noticing<T>(ledger: Ledger, field: "producerDeaths" | "consumerDeaths", action: () => T): T {
  for (;;) {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof PeerDeadError)) throw error;
      ledger.add(field);
    }
  }
}

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
