import assert from "node:assert/strict";
import { test } from "node:test";

import { diffSchemas } from "./diff.ts";
import { readSchema } from "./read.ts";

// The change, the part, what is said of it, and whom it breaks: new readers of old messages, old readers of new ones.
const CHANGES: readonly (readonly [before: string, after: string, path: string, what: RegExp, breaks: string])[] = [
  ["type A struct { a: u8 }", "type A struct { a: u8 b: u8 }", "A.b", /added, at the end/, "new old"],
  ["type A struct { a: u8 }", "type A struct { b: u8 a: u8 }", "A.b", /added, and all that follows moved/, "new old"],
  ["type A struct { a: u8 b: u8 }", "type A struct { b: u8 }", "A.a", /removed/, "new old"],
  ["type A struct { a: u8 b: u8 }", "type A struct { b: u8 a: u8 }", "A", /order: a, b/, "new old"],
  ["type A struct { a: u8 b: u8 }", "type A struct { a: u8 c: u8 }", "A.b", /renamed to c/, ""],
  ["type A u8", "type A u16", "A", /width changed from u8 to u16/, "new old"],
  ["type A i32", "type A u32", "A", /sign changed from i32 to u32/, "new old"],
  ["type A u8", "type A str", "A", /type changed from u8 to str/, "new old"],
  ["type A u8", "type A optional<u8>", "A", /became optional/, "new old"],
  ["type A optional<u8>", "type A u8", "A", /no longer optional/, "new old"],
  ["type A list<u8>", "type A list<u8>[4]", "A", /any number to exactly 4 of entries/, "new old"],
  ["type A data[8]", "type A data[4]", "A", /exactly 8 to exactly 4 of bytes/, "new old"],
  ["type A list<list<u8>>", "type A list<list<i8>>", "A[][]", /sign/, "new old"],
  ["type A map<str><u8>", "type A map<str><u16>", "A<value>", /width/, "new old"],
  ["type A map<u8><u8>", "type A map<u16><u8>", "A<key>", /width/, "new old"],
  ["type A enum { X }", "type A enum { X Y }", "A.Y", /added: old programs refuse its tag 1/, "old"],
  ["type A enum { X Y }", "type A enum { X }", "A.Y", /removed: new programs refuse its tag 1/, "new"],
  ["type A enum { X }", "type A enum { X = 4 }", "A.X", /tag changed from 0 to 4/, "new old"],
  ["type A enum { X }", "type A enum { Y }", "A.X", /renamed to Y/, ""],
  ["type A union { u8 }", "type A union { u8 | str }", "A.str", /added/, "old"],
  ["type A union { u8 | str }", "type A union { u8 }", "A.str", /removed/, "new"],
  ["type A union { u8 | str }", "type A union { u8 | list<u8> }", "A.str", /from str to list<u8>/, "new old"],
  ["type A u8", "type A u8 type B u8", "B", /type was added/, "old"],
  ["type A u8 type B u8", "type A u8", "B", /type was removed/, "new"],
];

test("each kind of change is told, and whom it breaks", () => {
  for (const [before, after, path, what, breaks] of CHANGES) {
    const changes = diffSchemas(readSchema(before), readSchema(after));
    const [change] = changes;
    assert.equal(changes.length, 1, `${before} -> ${after}: ${JSON.stringify(changes)}`);
    assert.equal(change.path, path);
    assert.match(change.what, what);
    const broken = [change.breaksNewReaders && "new", change.breaksOldReaders && "old"].filter(Boolean).join(" ");
    assert.equal(broken, breaks, after);
  }
});

test("a change behind a name is told once, under the name", () => {
  const schema = (width: string): string =>
    `type P struct { x: ${width} } type A struct { a: P b: list<P> } type B union { P | A }`;
  assert.deepEqual(
    diffSchemas(readSchema(schema("u8")), readSchema(schema("u16"))).map(({ path }) => path),
    ["P.x"],
  );
});

test("a name put before a type, and recursion, change nothing", () => {
  const flat = readSchema("type A struct { a: list<str> }");
  assert.deepEqual(diffSchemas(flat, readSchema("type Name str type A struct { a: list<Name> }")).length, 1);
  const tree = "type T struct { children: list<T> }";
  assert.deepEqual(diffSchemas(readSchema(tree, { legacy: true }), readSchema(tree, { legacy: true })), []);
});
