// The compiled codec against the reference codec, which walks the type: the same bytes, the same values, the same
// refusals.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { BARE_LIMITS, BareError, BareReader, BareWriter } from "../bare-io.ts";
import * as bare from "../bare.ts";
import type { BareType } from "../schema/ast.ts";
import { SchemaError } from "../schema/errors.ts";
import { analyse } from "./analysis.ts";
import { arrayKind } from "./arrays.ts";
import { readValue, writeValue } from "./reference.ts";

function encodeSlowly(type: BareType, value: unknown, limits = BARE_LIMITS): Uint8Array {
  const writer = new BareWriter(limits);
  writeValue(type, writer, value, analyse(type));
  return writer.finish();
}

function decodeSlowly(type: BareType, bytes: Uint8Array, limits = BARE_LIMITS): unknown {
  const reader = new BareReader(bytes, limits);
  const value = readValue(type, reader, analyse(type));
  reader.end();
  return value;
}

// What came of it: the value, or the text of the error. Anything but a BareError is a failure of the test.
function outcome(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    if (error instanceof BareError) return error.message;
    throw error;
  }
}

interface Sample {
  readonly type: BareType;
  readonly value: fc.Arbitrary<unknown>;
}

const leaf = (type: BareType, value: fc.Arbitrary<unknown>): fc.Arbitrary<Sample> => fc.constant({ type, value });
const text = fc.oneof(fc.string({ unit: "grapheme", maxLength: 60 }), fc.string({ unit: "binary", maxLength: 200 }));
const uint64 = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 300n }));
const int64 = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.bigInt({ min: -300n, max: 300n }));

// The first is what is taken where the depth ends; a list of it is no typed array, or the filter below would not end.
const scalars: fc.Arbitrary<Sample>[] = [
  leaf(bare.str, text),
  leaf(bare.u8, fc.integer({ min: 0, max: 0xff })),
  leaf(bare.i8, fc.integer({ min: -0x80, max: 0x7f })),
  leaf(bare.u16, fc.integer({ min: 0, max: 0xffff })),
  leaf(bare.i16, fc.integer({ min: -0x8000, max: 0x7fff })),
  leaf(bare.u32, fc.integer({ min: 0, max: 0xffffffff })),
  leaf(bare.i32, fc.integer({ min: -0x80000000, max: 0x7fffffff })),
  leaf(bare.u64, uint64),
  leaf(bare.i64, int64),
  leaf(bare.uint, uint64),
  leaf(bare.int, int64),
  leaf(bare.uintSafe, fc.maxSafeNat()),
  leaf(bare.u64Safe, fc.maxSafeNat()),
  leaf(bare.intSafe, fc.oneof(fc.maxSafeInteger(), fc.integer())),
  leaf(bare.i64Safe, fc.maxSafeInteger()),
  leaf(bare.f32, fc.float()),
  leaf(bare.f64, fc.double()),
  leaf(bare.bool, fc.boolean()),
  leaf(bare.data, fc.uint8Array({ maxLength: 100 })),
  leaf(bare.fixedData(5), fc.uint8Array({ minLength: 5, maxLength: 5 })),
  leaf(bare.enumeration({ A: 0, B: 3, C: 500 }), fc.constantFrom("A", "B", "C")),
  leaf(bare.list(bare.f32), fc.float32Array({ maxLength: 40 })),
  leaf(bare.list(bare.u8), fc.uint8Array({ maxLength: 100 })),
  leaf(bare.list(bare.u64), fc.bigUint64Array({ maxLength: 12 })),
  leaf(bare.fixedList(bare.i16, 3), fc.int16Array({ minLength: 3, maxLength: 3 })),
];

function structOf(fields: readonly Sample[]): Sample {
  return {
    type: bare.struct(Object.fromEntries(fields.map(({ type }, i) => [`f${i}`, type]))),
    value: fc
      .tuple(...fields.map(({ value }) => value))
      .map((values) => Object.fromEntries(values.map((value, i) => [`f${i}`, value]))),
  };
}

const { sample } = fc.letrec<{ sample: Sample }>((tie) => {
  const inner = tie("sample");
  return {
    sample: fc.oneof(
      { maxDepth: 3, withCrossShrink: true },
      ...scalars,
      inner.map(({ type, value }) => ({ type: bare.optional(type), value: fc.option(value, { nil: undefined }) })),
      inner
        .filter(({ type }) => arrayKind(type) === undefined)
        .map(({ type, value }) => ({ type: bare.list(type), value: fc.array(value, { maxLength: 4 }) })),
      inner.map(({ type, value }) => ({
        type: bare.map(bare.data, type),
        value: fc
          .uniqueArray(fc.tuple(fc.uint8Array({ maxLength: 3 }), value), {
            maxLength: 3,
            selector: ([key]) => key.join(),
          })
          .map((entries) => new Map(entries)),
      })),
      inner.map(({ type, value }) => ({
        type: bare.map(bare.int, type),
        value: fc.array(fc.tuple(int64, value), { maxLength: 3 }).map((entries) => new Map(entries)),
      })),
      fc.array(inner, { minLength: 1, maxLength: 3 }).map(structOf),
      fc.array(fc.oneof(...scalars), { minLength: 1, maxLength: 20 }).map(structOf),
      fc.tuple(inner, inner).map(([a, b]) => ({
        type: bare.union({ a: [1, a.type], none: [7, bare.nothing], b: [200, b.type] }),
        value: fc.oneof(
          a.value.map((value) => ({ kind: "a", value })),
          b.value.map((value) => ({ kind: "b", value })),
          fc.constant({ kind: "none", value: undefined }),
        ),
      })),
    ),
  };
});

const samples = sample.chain(({ type, value }) => fc.tuple(fc.constant(type), value));

test("random types and values: the bytes and the value are those of the reference", () => {
  const property = fc.property(samples, ([type, value]) => {
    const bytes = bare.encode(type, value);
    assert.deepEqual(bytes, encodeSlowly(type, value));
    const decoded = bare.decode(type, bytes);
    assert.deepStrictEqual(decoded, value);
    assert.deepStrictEqual(decoded, decodeSlowly(type, bytes));
  });
  fc.assert(property, { numRuns: 1500 });
});

test("damaged messages: what one codec refuses the other refuses, for the same reason", () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 });
  const property = fc.property(samples, damage, fc.nat(3), ([type, value], flips, cut) => {
    const bytes = bare.encode(type, value).slice();
    for (const [at, byte] of flips) if (bytes.length > 0) bytes[at % bytes.length] = byte;
    const damaged = bytes.subarray(0, Math.max(0, bytes.length - cut));
    const fast = outcome(() => bare.decode(type, damaged));
    assert.deepStrictEqual(
      fast,
      outcome(() => decodeSlowly(type, damaged)),
    );
  });
  fc.assert(property, { numRuns: 1500 });
});

test("values of other types: what one codec refuses the other refuses, for the same reason", () => {
  const other = fc.oneof(
    samples.map(([, value]) => value),
    fc.anything(),
  );
  const property = fc.property(samples, other, ([type], value) => {
    const fast = outcome(() => bare.encode(type, value));
    assert.deepEqual(
      fast,
      outcome(() => encodeSlowly(type, value)),
    );
  });
  fc.assert(property, { numRuns: 1500 });
});

test("text of every width is written and read, and malformed UTF-8 refused", () => {
  const points = [0, 0x41, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x1f600, 0x10ffff];
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for (const a of points) {
    for (const b of points) {
      for (const length of [1, 7, 30]) {
        const value = String.fromCodePoint(a, b).repeat(length);
        assert.equal(bare.decode(bare.str, bare.encode(bare.str, value)), value);
      }
    }
  }
  const bytes = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff];
  for (const a of bytes) {
    for (const b of bytes) {
      for (const c of bytes) {
        const message = Uint8Array.of(4, a, b, c, 0x80);
        let expected: unknown;
        try {
          expected = decoder.decode(message.subarray(1));
        } catch {
          expected = undefined;
        }
        const got = outcome(() => bare.decode(bare.str, message));
        if (expected === undefined) assert.match(String(got), /UTF-8/);
        else assert.equal(got, expected);
      }
    }
  }
});

test("messages share a buffer and never bytes", () => {
  const codec = bare.compile(bare.list(bare.str));
  const messages = Array.from({ length: 2000 }, (_, i) => codec.encode(["x".repeat(i % 300), String(i)]));
  for (const [i, message] of messages.entries())
    assert.deepEqual(codec.decode(message), ["x".repeat(i % 300), String(i)]);
  const large = codec.encode(["y".repeat(50_000)]);
  codec.encode(["z".repeat(60_000)]);
  assert.deepEqual(codec.decode(large), ["y".repeat(50_000)]);
});

test("large messages share a buffer and never bytes, whatever becomes of it", () => {
  const codec = bare.compile(bare.struct({ id: bare.u32, values: bare.list(bare.f32), more: bare.list(bare.f32) }));
  const values = (id: number) => new Float32Array(2 ** (13 + (id % 6)) + id).map((_, i) => i - id);
  const value = (id: number) => ({ id, values: values(id), more: values(id >> 1) });
  const messages = Array.from({ length: 40 }, (_, id) => codec.encode(value(id)));
  for (const [id, message] of messages.entries()) assert.deepEqual(codec.decode(message), value(id));
  structuredClone(undefined, { transfer: [messages.at(-1)!.buffer] });
  assert.equal(messages.at(-1)!.length, 0);
  const later = [40, 41].map((id) => codec.encode(value(id)));
  for (const [i, message] of later.entries()) assert.deepEqual(codec.decode(message), value(40 + i));
});

test("a message is written into bytes that are given", () => {
  const codec = bare.compile(bare.struct({ id: bare.u16, values: bare.list(bare.f64) }));
  const value = { id: 7, values: Float64Array.from({ length: 20 }, (_, i) => i / 2) };
  const target = new Uint8Array(200);
  const size = codec.encodeInto(value, target.subarray(8));
  assert.deepEqual(target.slice(8, 8 + size), codec.encode(value));
  assert.throws(() => codec.encodeInto(value, new Uint8Array(size - 1)), /too large/);
  assert.equal(codec.encodeInto(value, new Uint8Array(size)), size);
});

test("text that just fits is written, whatever its letters", () => {
  for (const letter of ["a", "\u00e9", "\u20ac", "\u{1f600}"]) {
    for (const count of [1, 2, 5, 10, 11, 20, 42, 43, 100, 127, 128, 5000]) {
      const text = letter.repeat(count);
      const codec = bare.compile(bare.str);
      const bytes = codec.encode(text);
      const target = new Uint8Array(bytes.length);
      assert.equal(codec.encodeInto(text, target), bytes.length);
      assert.deepEqual(target, bytes);
      assert.throws(() => codec.encodeInto(text, target.subarray(1)), BareError);
      const limits = { ...BARE_LIMITS, sizeBytesMax: bytes.length };
      // Often enough to meet the end of the memory that messages share.
      for (let i = 0; i < Math.min(1000, 40_000 / bytes.length); i++)
        assert.deepEqual(codec.encode(text, limits), bytes);
    }
  }
});

test("a getter may encode while it is encoded", () => {
  const codec = bare.compile(bare.struct({ a: bare.str, b: bare.str }));
  const outer = {
    a: "outer",
    get b(): string {
      return String(codec.encode({ a: "in", b: "ner" }).length);
    },
  };
  assert.deepEqual(codec.decode(codec.encode(outer)), { a: "outer", b: "7" });
});

test("more structs than there are places for are read and written all the same", () => {
  for (let n = 0; n < 40; n++) {
    const names = Array.from({ length: 1 + (n % 19) }, (_, i) => `field${n}_${i}`);
    const type = bare.struct(Object.fromEntries(names.map((name) => [name, bare.uintSafe])));
    const value = Object.fromEntries(names.map((name, i) => [name, i * n]));
    const decoded = bare.decode(type, bare.encode(type, value));
    assert.deepStrictEqual(decoded, value);
    assert.deepEqual(Object.keys(decoded), names);
  }
});

test("lists of numbers are typed arrays; other arrays are taken for them, and checked", () => {
  const type = bare.list(bare.u16);
  assert.deepEqual(bare.decode(type, bare.encode(type, Uint16Array.of(1, 65535))), Uint16Array.of(1, 65535));
  const plain: unknown = [1, 65535];
  assert.deepEqual(bare.encode<unknown>(type, plain), bare.encode(type, Uint16Array.of(1, 65535)));
  assert.throws(() => bare.encode<unknown>(type, [1, 65536]), /in \[1\]/);
  assert.throws(
    () =>
      bare.encode<unknown>(
        type,
        Float32Array.from({ length: 40 }, () => 0.5),
      ),
    /in \[0\]/,
  );
  const weights = bare.list(bare.named("Weight", bare.f32));
  const typed: Float32Array = bare.decode(weights, bare.encode(weights, new Float32Array(100)));
  assert.equal(typed.length, 100);
});

test("keys of a map that are bytes are told apart by their content", () => {
  const type = bare.map(bare.data, bare.u8);
  const twice = new Map([
    [Uint8Array.of(1), 1],
    [Uint8Array.of(1), 2],
  ]);
  assert.throws(() => bare.encode(type, twice), /key twice/);
  assert.throws(() => bare.decode(type, Uint8Array.of(2, 1, 5, 0, 1, 5, 0)), /key twice/);
});

test("a lying length allocates nothing", () => {
  const huge = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3);
  const types = [bare.list(bare.u8), bare.list(bare.f64), bare.list(bare.str), bare.data, bare.str];
  for (const type of types) assert.throws(() => bare.decode<unknown>(type, huge), BareError);
  const fixed = bare.fixedList(bare.fixedList(bare.str, 2 ** 32 - 1), 2 ** 32 - 1);
  assert.throws(() => bare.decode(fixed, huge), /ends too early/);
});

test("types that no message can have are refused when they are compiled", () => {
  const endless: bare.Schema<unknown> = bare.struct({ next: bare.lazy(() => endless) });
  assert.throws(() => bare.compile(endless), SchemaError);
  let deep: bare.Schema<unknown> = bare.u8;
  for (let i = 0; i < 300; i++) deep = bare.optional(deep);
  assert.throws(() => bare.compile(deep), /nested too deeply/);
  assert.throws(() => bare.compile(bare.list(bare.named("Nothing", bare.nothing))), /void/);
  assert.throws(() => bare.struct({ "1": bare.u8 }), SchemaError);
});

test("mutual recursion is counted against the limit of depth", () => {
  interface Even {
    readonly odd: Odd | undefined;
  }
  interface Odd {
    readonly even: Even | undefined;
  }
  const even: bare.Schema<Even> = bare.struct({ odd: bare.optional(bare.lazy(() => odd)) });
  const odd: bare.Schema<Odd> = bare.struct({ even: bare.optional(bare.lazy(() => even)) });
  assert.deepEqual(bare.decode(even, Uint8Array.of(1, 1, 0)), { odd: { even: { odd: undefined } } });
  assert.throws(() => bare.decode(even, new Uint8Array(100).fill(1)), /nested too deeply/);
  const limits = { ...BARE_LIMITS, depthMax: 2 ** 30 };
  assert.throws(() => bare.decode(even, new Uint8Array(1_000_000).fill(1), limits), /too deeply for the stack/);
});

test("a struct of very many fields is written and read", () => {
  const names = Array.from({ length: 120_000 }, (_, i) => `f${i}`);
  const type = bare.struct(Object.fromEntries(names.map((name) => [name, bare.u8])));
  const value = Object.fromEntries(names.map((name, i) => [name, i & 0xff]));
  const codec = bare.compile(type);
  const bytes = codec.encode(value);
  assert.equal(bytes.length, names.length);
  const decoded = codec.decode(bytes);
  assert.ok(names.every((name, i) => decoded[name] === (i & 0xff)));
});

test("depth counts the same in both codecs, by whatever name a type comes back to itself", () => {
  type List = { readonly next: List | undefined };
  const nested = (levels: number): List => ({ next: levels === 0 ? undefined : nested(levels - 1) });
  const named: bare.Schema<List> = bare.named("List", bare.struct({ next: bare.optional(bare.lazy(() => named)) }));
  const plain: bare.Schema<List> = bare.struct({ next: bare.optional(bare.lazy(() => plain)) });
  const lazy: bare.Schema<List> = bare.lazy(() => bare.struct({ next: bare.optional(lazy) }));
  const limits = { ...BARE_LIMITS, depthMax: 8 };
  for (const type of [named, plain, lazy]) {
    for (let levels = 0; levels < 8; levels++) {
      const bytes = bare.encode(type, nested(levels));
      assert.deepStrictEqual(
        outcome(() => bare.decode(type, bytes, limits)),
        outcome(() => decodeSlowly(type, bytes, limits)),
      );
      const written = outcome(() => bare.encode(type, nested(levels), limits));
      assert.deepEqual(
        written,
        outcome(() => encodeSlowly(type, nested(levels), limits)),
      );
      assert.equal(typeof written === "string", levels >= 4, `${levels}`);
    }
  }
  const self: bare.Schema<unknown> = bare.lazy(() => bare.optional(self));
  assert.equal(bare.decode(self, bare.encode(self, undefined)), undefined);
});
