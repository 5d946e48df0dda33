import assert from "node:assert/strict";
import { test } from "node:test";

import { layoutOf } from "../layout/layout.ts";
import type { BareType } from "../schema/ast.ts";
import { checkView } from "./check.ts";
import { build } from "./write.ts";

const bytesAndText: BareType = {
  kind: "struct",
  fields: [
    { name: "text", type: { kind: "str" } },
    { name: "list", type: { kind: "list", type: { kind: "u32" } } },
    { name: "is", type: { kind: "bool" } },
  ],
};

test("each way in which slots and values can be wrong has a message with path and byte", () => {
  const layout = layoutOf(bytesAndText);
  const value = { text: "ab", list: Uint32Array.of(1, 2), is: true };
  const refused = (change: (words: Uint32Array, bytes: Uint8Array) => void, message: RegExp): void => {
    const bytes = build(layout, value); // text slot 0, list slot 8, bool 16, text at 20, list at 24
    change(new Uint32Array(bytes.buffer, 0, bytes.length >> 2), bytes);
    assert.throws(() => checkView(layout, bytes), message);
  };
  refused((words) => (words[1] = 100), /outside the buffer[\s\S]*path text, byte 0/);
  refused((words) => (words[0] = 2 ** 32 - 1), /outside the buffer/);
  refused((words) => (words[0] = 0), /outside the buffer/);
  refused((words) => (words[3] = 2 ** 31), /outside the buffer[\s\S]*path list, byte 8/);
  refused((words) => (words[2] -= 1), /not aligned/);
  refused((words) => (words[2] -= 4), /contents overlap/);
  refused((words) => (words[1] = 0), /empty slot leads somewhere/);
  refused((_, bytes) => (bytes[16] = 2), /neither 0 nor 1[\s\S]*path is, byte 16/);
  refused((_, bytes) => (bytes[20] = 0xff), /not UTF-8[\s\S]*path text, byte 20/);
  assert.throws(() => checkView(layout, new Uint8Array(16)), /too small for its layout/);
  assert.throws(() => checkView(layout, build(layout, value), { sizeBytes: 8, depth: 1, contents: 1 }), /too large/);
});

test("slots that share their contents cannot make the check take exponential time", () => {
  interface Pair {
    kind: "struct";
    fields: { name: string; type: BareType }[];
  }
  const pair: Pair = { kind: "struct", fields: [] };
  pair.fields.push({ name: "next", type: { kind: "list", type: { kind: "alias", name: "Pair", target: () => pair } } });
  const layout = layoutOf(pair);
  const levels = 50;
  const words = new Uint32Array(4 * levels);
  // Two entries a level, and both of them lead to the same two entries of the next.
  for (let i = 0; i + 1 < levels; i++) words.set([16, 2, 8, 2], 4 * i);
  words.set([8, 2], 0);
  assert.throws(() => checkView(layout, new Uint8Array(words.buffer)), /overlap/);
});
