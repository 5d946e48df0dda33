// A channel between two processes: this program starts itself a second time, sends it numbers that it writes straight
// into shared memory, and gets their sums back. Run it: `node packages/barewire/examples/channel-process.ts`.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { ChannelClosedError, PeerDeadError } from "@fidelity/barewire";
import { createChannel, openChannel } from "@fidelity/barewire/node";

const [name] = process.argv.slice(2);
if (name === undefined) await parent(`example-${process.pid}`);
else child(name);

/** Makes both channels, starts the other process and talks to it. */
async function parent(name: string): Promise<void> {
  using numbers = createChannel(`${name}-numbers`, { capacityBytes: 2 ** 20 });
  using sums = createChannel(`${name}-sums`);
  const other = spawn(process.execPath, [fileURLToPath(import.meta.url), name], { stdio: "inherit" });
  const ended = once(other, "exit");
  const sender = numbers.sender();
  const receiver = sums.receiver();

  for (const count of [10, 1000, 100_000]) {
    const slot = sender.loan(8 * count); // memory of the channel: what is written here is not copied again
    new Float64Array(slot.bytes.buffer, slot.bytes.byteOffset, count).forEach((_, i, values) => (values[i] = i));
    slot.send();
    using answer = await receiver.takeAsync(); // the event loop goes on meanwhile
    const sum = new DataView(answer.bytes.buffer, answer.bytes.byteOffset).getFloat64(0, true);
    console.log(`the sum of ${count} numbers is ${sum}`);
  }
  sender.close(); // the other process sees the end of the channel, and ends
  await ended;
}

/** The other process: sums up until the channel ends. It may wait by sleeping, because it has nothing else to do. */
function child(name: string): void {
  using numbers = openChannel(`${name}-numbers`);
  using sums = openChannel(`${name}-sums`);
  const receiver = numbers.receiver();
  const sender = sums.sender();
  try {
    for (;;) {
      using message = receiver.take();
      const values = new Float64Array(message.bytes.buffer, message.bytes.byteOffset, message.bytes.length / 8);
      const slot = sender.loan(8);
      const sum = values.reduce((total, value) => total + value, 0);
      new DataView(slot.bytes.buffer, slot.bytes.byteOffset).setFloat64(0, sum, true);
      slot.send();
    }
  } catch (error) {
    if (error instanceof PeerDeadError) console.error(error.message);
    else if (!(error instanceof ChannelClosedError)) throw error;
  }
}

// Output:
// the sum of 10 numbers is 45
// the sum of 1000 numbers is 499500
// the sum of 100000 numbers is 4999950000
