// The other end of the channels. A worker may sleep, so that it takes messages one by one and waits in between.

import { ChannelClosedError, TypedReceiver, TypedSender, attachThreadChannel } from "@fidelity/barewire";

import { PROBE_BYTES, ROUND_TRIPS, answer, question } from "./protocol.ts";
import type { Task } from "./protocol.ts";

addEventListener("message", ({ data: task }: MessageEvent<Task | Uint8Array>) => {
  if (task instanceof Uint8Array) postMessage(task); // the way without a channel, for comparison
  else if (task.kind === "measure") postMessage(measure(task));
  else untilClosed(task);
});

function untilClosed(task: Task): void {
  try {
    if (task.kind === "answer") reply(task);
    else echo(task);
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error; // the page has left
  }
}

function reply({ incoming, outgoing }: Task): void {
  using receiver = new TypedReceiver(question, attachThreadChannel(incoming).receiver());
  using sender = new TypedSender(answer, attachThreadChannel(outgoing).sender());
  for (;;) {
    const { id, text } = receiver.take();
    sender.send({ id, text: `“${text}” backwards is “${[...text].reverse().join("")}”.` });
  }
}

function echo({ incoming, outgoing }: Task): void {
  using receiver = attachThreadChannel(incoming).receiver();
  using sender = attachThreadChannel(outgoing).sender();
  for (;;) {
    using message = receiver.take();
    const slot = sender.loan(message.bytes.length);
    slot.bytes.set(message.bytes);
    slot.send();
  }
}

// Milliseconds for all round trips.
function measure({ incoming, outgoing }: Task): number {
  using sender = attachThreadChannel(outgoing).sender();
  using receiver = attachThreadChannel(incoming).receiver();
  const probe = new Uint8Array(PROBE_BYTES);
  const roundTrip = (): void => {
    sender.send(probe);
    receiver.take().release();
  };
  roundTrip(); // the other side has started
  const start = performance.now();
  for (let i = 0; i < ROUND_TRIPS; i++) roundTrip();
  return performance.now() - start;
}
