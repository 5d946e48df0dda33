import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as bare from "../bare.ts";
import { ChannelFormatError, MessageTooLargeError, TruncatedFrameError } from "./errors.ts";
import {
  FrameReader,
  MESSAGE_HEADER_BYTES_MAX,
  closeFrame,
  helloFrame,
  pingFrame,
  putMessageHeader,
} from "./frames.ts";
import type { Frame } from "./frames.ts";

const hello = bare.struct({ magic: bare.fixedData(4), version: bare.uintSafe, messageBytesMax: bare.uintSafe });
const frame = bare.union({
  hello: [0, hello],
  message: [1, bare.data],
  close: [2, bare.nothing],
  ping: [3, bare.nothing],
});

function messageFrame(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(MESSAGE_HEADER_BYTES_MAX + bytes.length);
  whole.set(bytes, MESSAGE_HEADER_BYTES_MAX);
  return whole.subarray(putMessageHeader(whole, MESSAGE_HEADER_BYTES_MAX, bytes.length));
}

function readAll(stream: Uint8Array, cuts: readonly number[], limit = 1000): Frame[] {
  const reader = new FrameReader(limit, "test");
  const frames: Frame[] = [];
  let at = 0;
  for (const cut of [...cuts, stream.length]) {
    const end = Math.min(stream.length, at + cut);
    reader.push(stream.subarray(at, end), (frame) => frames.push(frame));
    at = end;
  }
  reader.end();
  return frames;
}

test("frames are what the BARE codec makes of their schema", () => {
  const magic = new TextEncoder().encode("BWCH");
  const encode = (value: Parameters<typeof bare.encode<bare.TypeOf<typeof frame>>>[1]) => bare.encode(frame, value);
  const greeting = encode({ kind: "hello", value: { magic, version: 1, messageBytesMax: 2 ** 40 } });
  assert.deepEqual(helloFrame(2 ** 40), greeting);
  assert.deepEqual(closeFrame(), encode({ kind: "close", value: undefined }));
  assert.deepEqual(pingFrame(), encode({ kind: "ping", value: undefined }));
  for (const sizeBytes of [0, 1, 127, 128, 300, 20_000]) {
    const bytes = new Uint8Array(sizeBytes).fill(3);
    assert.deepEqual(new Uint8Array(messageFrame(bytes)), encode({ kind: "message", value: bytes }));
  }
});

test("a stream cut anywhere gives the same frames", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 80 });
  const run = (sent: Uint8Array[], at: number[]): void => {
    const parts = [helloFrame(77), ...sent.map(messageFrame), pingFrame(), closeFrame()];
    const frames = readAll(Uint8Array.from(parts.flatMap((part) => [...part])), at);
    const expected: Frame[] = [
      { kind: "hello", messageBytesMax: 77 },
      ...sent.map((bytes): Frame => ({ kind: "message", bytes: new Uint8Array(bytes) })),
      { kind: "ping" },
      { kind: "close" },
    ];
    assert.deepEqual(frames, expected);
  };
  fc.assert(fc.property(messages, cuts, run), { numRuns: 100, seed: 1 });
});

test("streams that are no channel, cut short or too large are refused by name", () => {
  const start = [...helloFrame(77)];
  const refused = (bytes: number[], error: typeof ChannelFormatError | typeof MessageTooLargeError): void => {
    assert.throws(() => readAll(Uint8Array.from(bytes), []), { name: error.name });
  };
  refused([...new TextEncoder().encode("GET / HTTP/1.1")], ChannelFormatError);
  refused([0, 1], ChannelFormatError);
  refused([1, 0], ChannelFormatError);
  refused([...start.slice(0, 5), 2, 77], ChannelFormatError);
  refused([...start, ...start], ChannelFormatError);
  refused([...start, 9], ChannelFormatError);
  refused([...start, 2, 3], ChannelFormatError);
  refused([...start, 1, 0x80, 0x00], ChannelFormatError);
  refused([...start, 1, ...new Array<number>(10).fill(0xff)], ChannelFormatError);
  refused([...start, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], MessageTooLargeError);
  refused([...start, 1, 5, 1, 2], TruncatedFrameError);
  refused([...start, 1, 0x80], TruncatedFrameError);
  refused(start.slice(0, 3), TruncatedFrameError);
});

test("no bytes make the reader do anything but give frames or refuse by name", () => {
  const run = (bytes: Uint8Array): void => {
    try {
      readAll(Uint8Array.from([...helloFrame(77), ...bytes]), [5]);
    } catch (error) {
      assert.ok(error instanceof ChannelFormatError || error instanceof MessageTooLargeError, String(error));
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), run), { numRuns: 2000, seed: 1 });
});
