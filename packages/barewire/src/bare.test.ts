import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { BareError } from "./bare-io.ts";
import * as bare from "./bare.ts";
import { arrayKind } from "./codec/arrays.ts";
import { SchemaError } from "./bare.ts";

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function toHex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function checkVectors<T>(schema: bare.Schema<T>, vectors: readonly (readonly [T, string])[]): void {
  for (const [value, hex] of vectors) {
    assert.equal(toHex(bare.encode(schema, value)), hex);
    assert.deepEqual(bare.decode(schema, fromHex(hex)), value);
  }
}

test("the published vectors hold", () => {
  // From the tests of bare-ts/lib.
  checkVectors(bare.uint, [
    [0n, "00"],
    [127n, "7f"],
    [0x1337n, "b726"],
    [2n ** 64n - 1n, "ffffffffffffffffff01"],
  ]);
  checkVectors(bare.uintSafe, [
    [0, "00"],
    [0x1337, "b726"],
    [Number.MAX_SAFE_INTEGER, "ffffffffffffff0f"],
  ]);
  checkVectors(bare.int, [
    [42n, "54"],
    [-1337n, "f114"],
    [-(2n ** 63n), "ffffffffffffffffff01"],
    [2n ** 63n - 1n, "feffffffffffffffff01"],
  ]);
});

test("fixed-width values are little-endian, and compound values follow the specification", () => {
  checkVectors(bare.u16, [[0x1337, "3713"]]);
  checkVectors(bare.u64, [[0x0102030405060708n, "0807060504030201"]]);
  checkVectors(bare.i32, [[-2, "feffffff"]]);
  checkVectors(bare.f32, [[1.5, "0000c03f"]]);
  checkVectors(bare.f64, [[-0, "0000000000000080"]]);
  checkVectors(bare.str, [["\u00e9\u{1f600}", "06c3a9f09f9880"]]);
  checkVectors(bare.optional(bare.u8), [
    [undefined, "00"],
    [7, "0107"],
  ]);
  checkVectors(bare.list(bare.u8), [[Uint8Array.of(1, 2), "020102"]]);
  checkVectors(bare.fixedList(bare.u16, 2), [[Uint16Array.of(1, 2), "01000200"]]);
  checkVectors(bare.fixedData(2), [[fromHex("abcd"), "abcd"]]);
  checkVectors(bare.map(bare.str, bare.u8), [[new Map([["a", 1]]), "01016101"]]);
  checkVectors(bare.enumeration({ red: 0, green: 300 }), [["green", "ac02"]]);
  checkVectors(bare.union({ none: [0, bare.nothing], text: [2, bare.str] }), [
    [{ kind: "none", value: undefined }, "00"],
    [{ kind: "text", value: "a" }, "020161"],
  ]);
});

const tree: bare.Schema<Tree> = bare.struct({ children: bare.list(bare.lazy(() => tree)) });
interface Tree {
  readonly children: readonly Tree[];
}

test("what is not canonical is refused, at its offset", () => {
  const two = bare.struct({ first: bare.u8, second: bare.list(bare.str) });
  const cases: readonly [bare.Schema<unknown>, string, number, RegExp][] = [
    [bare.uint, "8000", 0, /shortest form/],
    [bare.uintSafe, "8000", 0, /shortest form/],
    [bare.uint, "80808080808080808002", 0, /more than 64 bits/],
    [bare.uint, "8080808080808080808001", 0, /more than 64 bits/],
    [bare.uintSafe, "8080808080808010", 0, /too large/],
    [bare.uint, "80", 1, /ends too early/],
    [bare.uint, "0000", 1, /bytes after its end/],
    [bare.u64Safe, "0000000000002000", 0, /too large/],
    [bare.bool, "02", 0, /neither 0 nor 1/],
    [bare.optional(bare.u8), "0207", 0, /neither 0 nor 1/],
    [bare.str, "02c328", 0, /UTF-8/],
    [bare.str, "03eda080", 0, /UTF-8/],
    [bare.str, "05616263", 1, /ends too early/],
    [bare.list(bare.u32), "ffffff7f00000000", 0, /longer than its message/],
    [bare.map(bare.str, bare.u8), "020161010161 02".replace(" ", ""), 4, /key twice/],
    [bare.enumeration({ red: 0 }), "01", 0, /does not know/],
    [bare.union({ text: [0, bare.str] }), "0100", 0, /does not know/],
    [two, "0101ff", 3, /in second\[0\]/],
  ];
  for (const [schema, hex, byteOffset, message] of cases) {
    assert.throws(
      () => bare.decode(schema, fromHex(hex)),
      (error) => error instanceof BareError && error.byteOffset === byteOffset && message.test(error.message),
      `${schema.kind} ${hex}`,
    );
  }
});

test("depth and size are limited in both directions", () => {
  const chain = (depth: number): Tree => ({ children: depth === 0 ? [] : [chain(depth - 1)] });
  const bytes = bare.encode(tree, chain(30));
  assert.deepEqual(bare.decode(tree, bytes), chain(30));
  assert.throws(() => bare.encode(tree, chain(40)), /nested too deeply/);
  assert.throws(() => bare.decode(tree, fromHex("01".repeat(100))), /nested too deeply/);
  const limits = { depthMax: 64, sizeBytesMax: 10 };
  assert.throws(() => bare.encode(bare.str, "x".repeat(10), limits), /too large/);
  assert.throws(() => bare.decode(bare.str, bare.encode(bare.str, "x".repeat(10)), limits), /larger than allowed/);
});

test("values that do not fit their schema are refused with their path", () => {
  const schema = bare.struct({ sizes: bare.list(bare.uintSafe) });
  assert.throws(() => bare.encode(schema, { sizes: [1, -256] }), /in sizes\[1\][\s\S]*from 0 to \d+[\s\S]*-256/);
  assert.throws(() => bare.encode(bare.u32, 1.5), BareError);
  assert.throws(() => bare.encode(bare.i64, 2n ** 63n), BareError);
  assert.throws(() => bare.encode(bare.str, "\ud800"), /no lone surrogates/);
  assert.throws(() => bare.encode(bare.fixedData(2), new Uint8Array(3)), BareError);
});

test("schemas that BARE does not allow are refused", () => {
  assert.throws(() => bare.struct({}), SchemaError);
  assert.throws(() => bare.list(bare.nothing), SchemaError);
  assert.throws(() => bare.fixedData(0), SchemaError);
  assert.throws(() => bare.enumeration({ one: 1, other: 1 }), SchemaError);
  assert.throws(() => bare.union({ late: [3, bare.str], early: [1, bare.u8] }), SchemaError);
  const floatKey: bare.Schema<number> = bare.f64;
  assert.throws(() => bare.map(floatKey, bare.u8), SchemaError);
});

test("types are inferred from schemas", () => {
  const point = bare.struct({ x: bare.f32, label: bare.optional(bare.str) });
  const value: bare.TypeOf<typeof point> = { x: 1, label: undefined };
  // @ts-expect-error a number is no label
  const wrong: bare.TypeOf<typeof point> = { x: 1, label: 2 };
  assert.notDeepEqual(value, wrong);
  const shape = bare.union({ circle: [0, bare.f64], square: [1, bare.u8] });
  const describe = (it: bare.TypeOf<typeof shape>): string =>
    it.kind === "circle" ? it.value.toFixed(1) : `${it.value}`;
  assert.equal(describe(bare.decode(shape, fromHex("0105"))), "5");
});

interface Pair {
  readonly schema: bare.Schema<unknown>;
  readonly value: fc.Arbitrary<unknown>;
}

function leaf<T>(schema: bare.Schema<T>, value: fc.Arbitrary<T>): fc.Arbitrary<Pair> {
  return fc.constant({ schema, value });
}

const { pair } = fc.letrec<{ pair: Pair }>((tie) => ({
  pair: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    leaf(bare.uint, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    leaf(bare.int, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
    leaf(bare.uintSafe, fc.maxSafeNat()),
    leaf(bare.i16, fc.integer({ min: -32768, max: 32767 })),
    leaf(bare.f64, fc.double()),
    leaf(bare.f32, fc.float()),
    leaf(bare.bool, fc.boolean()),
    leaf(bare.str, fc.string({ unit: "grapheme" })),
    leaf(bare.data, fc.uint8Array()),
    leaf(bare.list(bare.f32), fc.float32Array()),
    leaf(bare.list(bare.u8), fc.uint8Array({ maxLength: 100 })),
    leaf(bare.fixedList(bare.i64, 3), fc.bigInt64Array({ minLength: 3, maxLength: 3 })),
    tie("pair")
      .filter(({ schema }) => arrayKind(schema) === undefined)
      .map(({ schema, value }) => ({ schema: bare.list(schema), value: fc.array(value, { maxLength: 4 }) })),
    tie("pair").map(({ schema, value }) => ({
      schema: bare.optional(schema),
      value: fc.option(value, { nil: undefined }),
    })),
    tie("pair").map(({ schema, value }) => ({
      schema: bare.map(bare.str, schema),
      value: fc.array(fc.tuple(fc.string(), value), { maxLength: 4 }).map((entries) => new Map(entries)),
    })),
    fc.tuple(tie("pair"), tie("pair")).map(([a, b]) => ({
      schema: bare.struct({ a: a.schema, b: b.schema }),
      value: fc.record({ a: a.value, b: b.value }, { noNullPrototype: true }),
    })),
    fc.tuple(tie("pair"), tie("pair")).map(([a, b]) => ({
      schema: bare.union({ a: [1, a.schema], b: [7, b.schema] }),
      value: fc.oneof(
        a.value.map((value) => ({ kind: "a", value })),
        b.value.map((value) => ({ kind: "b", value })),
      ),
    })),
  ),
}));

test("random schemas and values come back, and every prefix is refused", () => {
  const withValue = pair.chain(({ schema, value }) => fc.tuple(fc.constant(schema), value));
  const property = fc.property(withValue, ([schema, value]) => {
    const bytes = bare.encode(schema, value);
    assert.deepStrictEqual(bare.decode(schema, bytes), value);
    for (let end = 0; end < Math.min(bytes.length, 20); end++) {
      assert.throws(() => bare.decode(schema, bytes.subarray(0, end)), BareError);
    }
  });
  fc.assert(property, { numRuns: 300 });
});

test("random bytes are decoded to a value that encodes to the same bytes, or refused by name", () => {
  const property = fc.property(pair, fc.uint8Array({ maxLength: 40 }), ({ schema }, bytes) => {
    let value: unknown;
    try {
      value = bare.decode(schema, bytes);
    } catch (error) {
      assert.ok(error instanceof BareError, String(error));
      return;
    }
    // A NaN loses its payload in a JavaScript number, so the value is what must come back.
    assert.deepStrictEqual(bare.decode(schema, bare.encode(schema, value)), value);
  });
  fc.assert(property, { numRuns: 500 });
});

test("decoded data is a copy, from a Buffer too, whose slice is none", () => {
  const message = Buffer.from("0207070000", "hex").subarray(0, 3);
  const value = bare.decode(bare.data, message);
  message.fill(0);
  assert.deepEqual(value, Uint8Array.of(7, 7));
});

test("shared memory can be decoded", () => {
  const bytes = bare.encode(bare.list(bare.str), ["one", "two"]);
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  assert.deepEqual(bare.decode(bare.list(bare.str), shared), ["one", "two"]);
});
