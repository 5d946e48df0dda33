import assert from "node:assert/strict";
import { test } from "node:test";
import * as bare from "../bare.ts";
import {
  ChannelClosedError,
  ChannelFormatError,
  ChannelFullError,
  ChannelTimeoutError,
  ChannelUseError,
  PeerDeadError,
} from "./errors.ts";
import { attachThreadChannel, attachThreadService, createThreadChannel, createThreadService } from "./thread.ts";
import { TypedReceiver, TypedSender } from "./typed.ts";

test("requests of several clients are answered, in any order", async () => {
  using service = attachThreadService(createThreadService({ clientsMax: 2 }));
  const clients = [service.client(), service.client()];
  assert.throws(() => service.client(), ChannelFullError);
  const server = service.server();
  assert.throws(() => service.server(), ChannelFullError);
  const calls = [0, 1, 2, 3, 4, 5].map((i) => clients[i % 2].callAsync(Uint8Array.of(i)));
  const requests = [];
  for (let i = 0; i < calls.length; i++) requests.push(await server.takeAsync());
  for (const request of requests.reverse()) request.reply(Uint8Array.of(request.bytes[0] + 100));
  const answers = await Promise.all(calls);
  assert.deepEqual(
    answers.map(({ bytes }) => bytes[0]),
    [100, 101, 102, 103, 104, 105],
  );
  for (const answer of answers) answer.release();
});

test("an answer that comes too late is dropped, and is not taken for the next one's", async () => {
  using service = attachThreadService(createThreadService());
  const client = service.client();
  const server = service.server();
  await assert.rejects(client.callAsync(Uint8Array.of(1), { timeoutMs: 1 }), ChannelTimeoutError);
  assert.throws(() => client.call(Uint8Array.of(2), { timeoutMs: 1 }), ChannelTimeoutError);
  const late = [server.take(), server.take()];
  for (const request of late) request.reply(Uint8Array.of(0));
  const call = client.callAsync(Uint8Array.of(3));
  const request = await server.takeAsync();
  const loan = request.loanReply(2);
  loan.bytes.set([3, 3]);
  loan.send();
  using answer = await call;
  assert.deepEqual([...answer.bytes], [3, 3]);
  const abort = new AbortController();
  const aborted = client.callAsync(Uint8Array.of(4), { signal: abort.signal });
  abort.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
});

test("a client's place is free after it closes; a failed fill sends nothing", () => {
  using service = attachThreadService(createThreadService({ clientsMax: 1 }));
  const server = service.server();
  for (let i = 0; i < 3; i++) {
    using client = service.client();
    const fail = (): void => {
      throw new Error("no");
    };
    assert.throws(() => client.callWith(8, fail), /no/);
  }
  assert.equal(server.tryTake(), undefined);
  service.close();
  assert.throws(() => service.client(), ChannelClosedError);
  const blank = { buffer: new SharedArrayBuffer(8192), byteOffset: 0, sizeBytes: 8192 };
  assert.throws(() => attachThreadService(blank), ChannelFormatError);
});

test("a terminated server or client is evicted: the other side is told, and another one takes the place", async () => {
  using service = attachThreadService(createThreadService({ clientsMax: 1 }));
  const client = service.client();
  service.server();
  const call = client.callAsync(Uint8Array.of(1));
  service.evictServer();
  await assert.rejects(call, PeerDeadError);
  service.evictServer(); // it is gone: nothing more happens
  const server = service.server();
  using abandoned = server.take(); // the request of a call that has failed
  await abandoned.replyAsync(Uint8Array.of(1));
  assert.throws(() => service.client(), ChannelFullError);
  service.evictClient(client.place);
  assert.throws(() => server.take({ timeoutMs: 1000 }), PeerDeadError);
  assert.throws(() => service.evictClient(1), ChannelUseError);
  const next = service.client();
  const answer = next.callAsync(Uint8Array.of(2));
  const request = await server.takeAsync();
  await request.replyAsync(Uint8Array.of(20));
  assert.deepEqual([...(await answer).bytes], [20]);
});

test("values of a schema go through a channel; what does not fit is refused", async () => {
  const reading = bare.struct({ sensor: bare.str, values: bare.list(bare.str) });
  using channel = attachThreadChannel(createThreadChannel());
  const raw = channel.sender();
  const sender = new TypedSender(reading, raw);
  const receiver = new TypedReceiver(reading, channel.receiver());
  sender.send({ sensor: "roof", values: ["a", "b"] });
  assert.deepEqual(receiver.take(), { sensor: "roof", values: ["a", "b"] });
  raw.send(Uint8Array.of(200));
  assert.throws(() => receiver.take(), { name: "BareError" });
  await sender.sendAsync({ sensor: "cellar", values: [] });
  raw.close();
  const seen: bare.TypeOf<typeof reading>[] = [];
  for await (const value of receiver) seen.push(value);
  assert.deepEqual(seen, [{ sensor: "cellar", values: [] }]);
});
