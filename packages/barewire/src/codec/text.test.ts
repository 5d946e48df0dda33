// Strings of many lengths, close together and far apart, are read as the reference codec reads them; and what a message
// leaves in memory that its holder can reach.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { BareError, BareReader } from "../bare-io.ts";
import * as bare from "../bare.ts";
import { analyse } from "./analysis.ts";
import { readValue } from "./reference.ts";

const rows = bare.list(bare.struct({ word: bare.str, gap: bare.data, other: bare.str }));
const codec = bare.compile(rows);

const word = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.string({ maxLength: 900 }),
);
const row = fc.record({ word, gap: fc.uint8Array({ maxLength: 90 }), other: word }, { noNullPrototype: true });

test("strings close together and far apart are read as they were written", () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 60 }), (value) => {
      assert.deepEqual(codec.decode(codec.encode(value)), value);
    }),
    { seed: 11, numRuns: 100 },
  );
});

test("a message whose bytes changed is read anew", () => {
  const value = Array.from({ length: 40 }, (_, i) => ({
    word: `word-${i}`,
    gap: new Uint8Array(3),
    other: "after it",
  }));
  const bytes = codec.encode(value).slice();
  assert.equal(codec.decode(bytes)[7].word, "word-7");
  bytes.forEach((byte, at) => {
    if (byte === 0x77) bytes[at] = 0x57; // every w becomes W
  });
  assert.deepEqual(
    codec.decode(bytes).map((one) => one.word),
    value.map((one) => one.word.replace("w", "W")),
  );
});

test("strings are read from shared memory", () => {
  const value = Array.from({ length: 40 }, (_, i) => ({
    word: `word-${i}`,
    gap: new Uint8Array(3),
    other: "\u00e9t\u00e9",
  }));
  const bytes = codec.encode(value);
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + 5), 5);
  shared.set(bytes);
  assert.deepEqual(codec.decode(shared), value);
});

test("strings that are not UTF-8 are refused wherever they stand", () => {
  const value = Array.from({ length: 40 }, (_, i) => ({
    word: `Gen\u00e8ve ${i}`,
    gap: new Uint8Array(0),
    other: "ab",
  }));
  const bytes = codec.encode(value).slice();
  const reads = (): unknown => {
    const reader = new BareReader(bytes);
    const read = readValue(rows, reader, analyse(rows));
    reader.end();
    return read;
  };
  const outcome = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      assert.ok(error instanceof BareError);
      return error.message;
    }
  };
  for (let at = 0; at < bytes.length; at++) {
    const before = bytes[at];
    bytes[at] = 0xa9;
    assert.deepEqual(
      outcome(() => codec.decode(bytes)),
      outcome(reads),
    );
    bytes[at] = before;
  }
});

test("a buffer that a message has for itself holds nothing else", () => {
  const type = bare.struct({ values: bare.list(bare.f32), text: bare.str });
  for (const text of ["", "a".repeat(20_000), "\u00e9".repeat(20_000)]) {
    for (const count of [3000, 5000, 600_000]) {
      const bytes = bare.encode(type, { values: new Float32Array(count), text });
      const rest = new Uint8Array(bytes.buffer, bytes.byteOffset + bytes.length);
      assert.ok(rest.every((byte) => byte === 0));
      assert.equal(bare.decode(type, bytes).text, text);
    }
  }
  const onlyText = bare.encode(bare.str, "\u00e9".repeat(1_500_000));
  assert.ok(new Uint8Array(onlyText.buffer, onlyText.length).every((byte) => byte === 0));
});

test("a large message leaves the small ones around it as they are", () => {
  const type = bare.list(bare.u8);
  const small = [1, 2, 3].map((n) => bare.encode(type, new Uint8Array(100).fill(n)));
  const large = bare.encode(type, new Uint8Array(2 ** 20).fill(9));
  const after = [4, 5].map((n) => bare.encode(type, new Uint8Array(100).fill(n)));
  assert.throws(() => bare.encode(bare.list(bare.str), ["a".repeat(2 ** 17), 3 as never]), BareError);
  const last = bare.encode(type, new Uint8Array(100).fill(6));
  const all = [...small, large, ...after, last].map((bytes) => bare.decode(type, bytes)[50]);
  assert.deepEqual(all, [1, 2, 3, 9, 4, 5, 6]);
});
