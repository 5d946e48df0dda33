// The other side of the measurements of channels, in a process or a thread of its own: it gives back what it is sent,
// and takes large messages in and tells when it has them. `node echo.ts ring NAME` over channels between processes,
// `node echo.ts socket PATH` over a Unix socket and over Node's IPC, as a worker over a channel between threads or
// postMessage.

import { createServer } from "node:net";
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { ChannelClosedError, attachThreadChannel } from "@fidelity/barewire";
import type { RingReceiver, RingSender } from "@fidelity/barewire";
import { openChannel } from "@fidelity/barewire/node";
import { WISH } from "./wish.ts";
import type { EchoThread } from "./wish.ts";

const WORD = new Uint8Array(8);
let copied = new Uint8Array(0);

if (isMainThread) {
  const [kind, name] = process.argv.slice(2);
  if (kind === "ring") {
    using there = openChannel(`${name}-there`);
    using back = openChannel(`${name}-back`);
    echoRing(there.receiver(), back.sender());
  } else {
    echoSocket(name);
    process.on("message", (message: Uint8Array) => {
      process.send!(message.length > WORD.length * 8 ? WORD : message);
    });
  }
} else {
  const told: EchoThread = workerData;
  if (told.kind === "ring") {
    echoRing(attachThreadChannel(told.there).receiver(), attachThreadChannel(told.back).sender());
  } else {
    parentPort!.on("message", (message: Uint8Array) => {
      parentPort!.postMessage(message.length > WORD.length * 8 ? WORD : message, []);
    });
  }
}

function echoRing(receiver: RingReceiver, sender: RingSender): void {
  try {
    for (;;) {
      const message = receiver.take();
      const { bytes, tag } = message;
      if (tag === WISH.echo) sender.send(bytes);
      if (tag === WISH.copy) copyOut(bytes);
      if (tag === WISH.look) {
        WORD[0] = bytes[0] + bytes[bytes.length - 1];
        sender.send(WORD);
      }
      message.release();
    }
  } catch (error) {
    if (!(error instanceof ChannelClosedError)) throw error;
  }
}

function copyOut(bytes: Uint8Array): void {
  if (copied.length < bytes.length) copied = new Uint8Array(bytes.length);
  copied.set(bytes);
}

/** Frames of a length (u32) and as many bytes: small ones go back, large ones are answered by a word. */
function echoSocket(path: string): void {
  const server = createServer((socket) => {
    let leftBytes = 0;
    socket.on("data", (piece: Buffer) => {
      for (let at = 0; at < piece.length;) {
        if (leftBytes === 0) {
          leftBytes = piece.readUInt32LE(at);
          at += 4;
        }
        const count = Math.min(leftBytes, piece.length - at);
        leftBytes -= count;
        at += count;
        if (leftBytes === 0) socket.write(WORD);
      }
    });
    socket.on("close", () => server.close());
  });
  server.listen(path);
}
