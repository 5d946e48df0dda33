import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import {
  ChannelClosedError,
  ChannelError,
  ChannelFormatError,
  ChannelTimeoutError,
  ChannelUseError,
  MessageTooLargeError,
  PeerDeadError,
  TruncatedFrameError,
} from "./errors.ts";
import { helloFrame } from "./frames.ts";
import { connectTcp, listenTcp } from "./tcp.node.ts";
import type { TcpChannel, TcpOptions } from "./tcp.node.ts";

async function pair(options?: TcpOptions): Promise<{ near: TcpChannel; far: TcpChannel }> {
  using listener = await listenTcp({}, options);
  const [near, far] = await Promise.all([connectTcp({ host: "127.0.0.1", port: listener.port }), listener.accept()]);
  return { near, far };
}

/** A server that does with its connection what a test says. */
async function stranger(act: (socket: Socket) => void): Promise<{ port: number; close: () => void }> {
  const server = createServer(act);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

test("messages go both ways, in order, and closing ends the iteration", async () => {
  const { near, far } = await pair();
  const sent = [0, 1, 100_000, 3].map((sizeBytes, i) => new Uint8Array(sizeBytes).fill(i));
  for (const bytes of sent) await near.sender.sendAsync(bytes);
  near.close();
  const seen: Uint8Array[] = [];
  for await (const message of far.receiver) {
    seen.push(message.bytes);
    message.release();
    assert.throws(() => message.bytes, ChannelUseError);
  }
  assert.deepEqual(seen, sent);
  await assert.rejects(far.sender.sendAsync(Uint8Array.of(1)), ChannelClosedError);
  await assert.rejects(near.receiver.takeAsync(), ChannelClosedError);
});

test("a sender waits for a receiver that does not follow, and limits are kept", async () => {
  const { near, far } = await pair({ messageBytesMax: 2 ** 20, capacityBytes: 2 ** 16 });
  await assert.rejects(near.sender.loanAsync(2 ** 20 + 1), MessageTooLargeError);
  const block = new Uint8Array(2 ** 20);
  const outcome = await (async () => {
    for (let i = 0; i < 200; i++) await near.sender.sendAsync(block, { timeoutMs: 100 });
  })().catch((error: unknown) => error);
  assert.ok(outcome instanceof ChannelTimeoutError, "200 MB fit nowhere on the way");
  let taken = 0;
  near.close();
  for await (const message of far.receiver) {
    message.release();
    taken++;
  }
  assert.ok(taken > 0 && taken < 200);
});

test("waiting is given up by time and by signal, and loses no message", async () => {
  const { near, far } = await pair();
  await assert.rejects(far.receiver.takeAsync({ timeoutMs: 1 }), ChannelTimeoutError);
  const abort = new AbortController();
  const aborted = far.receiver.takeAsync({ signal: abort.signal });
  abort.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
  const takes = [far.receiver.takeAsync(), far.receiver.takeAsync()];
  for (const i of [1, 2]) await near.sender.sendAsync(Uint8Array.of(i));
  const taken = await Promise.all(takes);
  assert.deepEqual(
    taken.map(({ bytes }) => bytes[0]),
    [1, 2],
  );
  near.close();
  far.close();
});

test("a peer that goes without a word is dead, in the middle of a frame it is a truncated one", async () => {
  for (const [rest, error] of [
    [[], PeerDeadError],
    [[1, 10, 1, 2, 3], TruncatedFrameError],
    [[9], ChannelFormatError],
    [[1, 0xff, 0xff, 0xff, 0xff, 0x7f], MessageTooLargeError],
  ] as const) {
    const server = await stranger((socket) => socket.end(Uint8Array.from([...helloFrame(100), ...rest])));
    const channel = await connectTcp({ host: "127.0.0.1", port: server.port });
    await assert.rejects(channel.receiver.takeAsync(), { name: error.name });
    await assert.rejects(channel.sender.sendAsync(Uint8Array.of(1)), { name: error.name });
    server.close();
  }
});

test("a peer of which nothing is heard is dead", async () => {
  const sockets: Socket[] = [];
  const server = await stranger((socket) => {
    sockets.push(socket);
    socket.write(helloFrame(100));
    socket.resume();
  });
  const channel = await connectTcp({ host: "127.0.0.1", port: server.port }, { silenceMs: 20 });
  await assert.rejects(channel.receiver.takeAsync({ timeoutMs: 60_000 }), PeerDeadError);
  for (const socket of sockets) socket.destroy();
  server.close();
});

test("pings keep a connection on which nothing is sent", async () => {
  const { near, far } = await pair({ silenceMs: 2000 });
  await assert.rejects(far.receiver.takeAsync({ timeoutMs: 100 }), ChannelTimeoutError);
  near.close();
  await assert.rejects(far.receiver.takeAsync(), ChannelClosedError);
});

test("no listener, no channel, a listener that closes: told by name", async () => {
  const server = await stranger((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  await assert.rejects(connectTcp({ host: "127.0.0.1", port: server.port }), ChannelFormatError);
  server.close();
  await assert.rejects(connectTcp({ host: "127.0.0.1", port: server.port }), ChannelError);
  const listener = await listenTcp();
  await assert.rejects(listenTcp({ port: listener.port }), ChannelError);
  const socket = connect(listener.port, "127.0.0.1");
  socket.write("GET / HTTP/1.1\r\n\r\n");
  socket.resume();
  await once(socket, "close");
  const waiting = listener.accept();
  listener.close();
  await assert.rejects(waiting, ChannelClosedError);
  await assert.rejects(listener.accept(), ChannelClosedError);
});
