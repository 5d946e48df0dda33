// Random types and values, and what holds for all of them. Recursive types are in view.test.ts.

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { arrayKind, ARRAYS } from "../codec/arrays.ts";
import { mapsOf } from "../layout/cells.ts";
import { drawLayout } from "../layout/describe.ts";
import { layoutOf } from "../layout/layout.ts";
import type { LayoutOptions } from "../layout/node.ts";
import type { BareType } from "../schema/ast.ts";
import { checkView } from "./check.ts";
import { ViewError } from "./memory.ts";
import { copyOf, readValue, viewOf } from "./view.ts";
import { build, buildInto } from "./write.ts";

const NUMBERS = ["u8", "u16", "u32", "i8", "i16", "i32", "f32", "f64"] as const;
const WIDE = ["u64", "i64", "uint", "int"] as const;
const NAMES = ["a", "b", "c", "d", "e"];
const TAG_STEPS = [1, 3, 200, 70000];

const LEAVES: fc.Arbitrary<BareType> = fc.oneof(
  fc.constantFrom(...NUMBERS).map((kind): BareType => ({ kind })),
  fc.tuple(fc.constantFrom(...WIDE), fc.boolean()).map(([kind, safe]): BareType => (safe ? { kind, safe } : { kind })),
  fc.constantFrom<BareType>({ kind: "bool" }, { kind: "str" }, { kind: "data" }, { kind: "data", length: 5 }),
  fc.tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom(...TAG_STEPS)).map(([count, step]): BareType => ({
    kind: "enum",
    members: NAMES.slice(0, count).map((name, i) => ({ name, tag: i * step })),
  })),
);

const KEYS: fc.Arbitrary<BareType> = fc.constantFrom<BareType>(
  { kind: "str" },
  { kind: "u16" },
  { kind: "i64" },
  { kind: "bool" },
);

// Types of up to `depth` levels.
function typeArbitrary(depth: number): fc.Arbitrary<BareType> {
  if (depth === 0) return LEAVES;
  const part = fc.oneof({ weight: 2, arbitrary: LEAVES }, { weight: 1, arbitrary: typeArbitrary(depth - 1) });
  const parts = fc.array(part, { minLength: 1, maxLength: 5 });
  return fc.oneof(
    LEAVES,
    part.map((type): BareType => ({ kind: "optional", type })),
    part.map((type): BareType => ({ kind: "list", type })),
    fc.tuple(part, fc.integer({ min: 1, max: 4 })).map(([type, length]): BareType => ({ kind: "list", type, length })),
    fc.tuple(KEYS, part).map(([key, value]): BareType => ({ kind: "map", key, value })),
    parts.map((types): BareType => ({ kind: "struct", fields: types.map((type, i) => ({ name: NAMES[i], type })) })),
    fc.tuple(parts, fc.constantFrom(...TAG_STEPS)).map(([types, step]): BareType => ({
      kind: "union",
      members: [...types, { kind: "void" } as const].map((type, i) => ({ name: `m${i}`, tag: i * step, type })),
    })),
  );
}

// A type and a value of it.
const CASES: fc.Arbitrary<readonly [BareType, unknown]> = typeArbitrary(3).chain((type) =>
  fc.tuple(fc.constant(type), valueArbitrary(type)),
);

function valueArbitrary(type: BareType): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case "u8":
    case "u16":
    case "u32":
      return fc.integer({ min: 0, max: 2 ** Number(type.kind.slice(1)) - 1 });
    case "i8":
    case "i16":
    case "i32": {
      const half = 2 ** (Number(type.kind.slice(1)) - 1);
      return fc.integer({ min: -half, max: half - 1 });
    }
    case "f32":
      return fc.float();
    case "f64":
      return fc.double();
    case "u64":
    case "uint":
      return type.safe ? fc.maxSafeNat() : fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    case "i64":
    case "int":
      return type.safe ? fc.maxSafeInteger() : fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    case "bool":
      return fc.boolean();
    case "str":
      return fc.string({ unit: "grapheme", maxLength: 30 });
    case "void":
      return fc.constant(undefined);
    case "data":
      return fc.uint8Array({ minLength: type.length ?? 0, maxLength: type.length ?? 20 });
    case "enum":
      return fc.constantFrom(...type.members.map((member) => member.name));
    case "optional":
      return fc.option(valueArbitrary(type.type), { nil: undefined });
    case "alias":
      return valueArbitrary(type.target());
    default:
      return partsArbitrary(type);
  }
}

function partsArbitrary(type: Extract<BareType, { kind: "list" | "map" | "struct" | "union" }>): fc.Arbitrary<unknown> {
  switch (type.kind) {
    case "list": {
      const { length } = type;
      const items = fc.array(valueArbitrary(type.type), { minLength: length ?? 0, maxLength: length ?? 4 });
      const kind = arrayKind(type.type);
      if (kind === undefined) return items;
      return items.map((values) => {
        const array = new ARRAYS[kind](values.length);
        values.forEach((value, i) => (array[i] = value as never));
        return array;
      });
    }
    case "map": {
      const entry = fc.tuple(valueArbitrary(type.key), valueArbitrary(type.value));
      return fc.uniqueArray(entry, { maxLength: 4, selector: ([key]) => key }).map((entries) => new Map(entries));
    }
    case "struct":
      return fc.record(Object.fromEntries(type.fields.map((field) => [field.name, valueArbitrary(field.type)])), {
        noNullPrototype: true,
      });
    default:
      return fc.oneof(
        ...type.members.map((member) => valueArbitrary(member.type).map((value) => ({ kind: member.name, value }))),
      );
  }
}

const OPTIONS: readonly LayoutOptions[] = [{}, { order: "packed", alignBytes: 64, tailAlignBytes: 16 }];

test("values of random types are built, checked, read and copied from views unchanged", () => {
  fc.assert(
    fc.property(CASES, fc.constantFrom(...OPTIONS), ([type, value], options) => {
      const layout = layoutOf(type, options);
      const bytes = build(layout, value);
      assert.equal(checkView(layout, bytes), bytes.length);
      assert.deepEqual(readValue(layout, bytes), value);
      const views = viewOf(layout);
      const view: unknown = views.over(bytes);
      if (typeof view === "object" && view !== null && !(value instanceof Map)) {
        const copied: unknown = value instanceof Uint8Array ? bytesOf(view) : copyOf(view);
        assert.deepEqual(copied, value);
      } else if (!(value instanceof Map)) assert.deepEqual(view, value);
    }),
    { numRuns: 400 },
  );
});

function bytesOf(view: object): unknown {
  return new Uint8Array((view as { toArray(): Uint8Array }).toArray());
}

test("a value is built into memory that is there, and takes the bytes that it needs", () => {
  fc.assert(
    fc.property(CASES, ([type, value]) => {
      const layout = layoutOf(type);
      const alone = build(layout, value);
      const room = new Uint8Array(alone.length + 64).fill(255);
      const target = room.subarray(8, 8 + alone.length);
      assert.equal(buildInto(layout, value, target), alone.length);
      assert.deepEqual(target, alone);
      assert.ok(room.subarray(8 + alone.length).every((byte) => byte === 255));
      if (alone.length > 0) assert.throws(() => buildInto(layout, value, target.subarray(0, -1)), ViewError);
    }),
  );
});

test("a mutated buffer is refused by name, or is a value that can be read and written again", () => {
  const mutations = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(CASES, mutations, fc.nat(), ([type, value], changes, cut) => {
      const layout = layoutOf(type);
      const whole = build(layout, value);
      const bytes = whole.slice(0, cut % 4 === 0 ? cut % (whole.length + 1) : whole.length);
      for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
      try {
        checkView(layout, bytes);
      } catch (error) {
        assert.ok(error instanceof ViewError, String(error));
        return;
      }
      const read = readValue(layout, bytes);
      assert.deepEqual(readValue(layout, build(layout, read)), read);
    }),
    { numRuns: 1000 },
  );
});

test("maps of random layouts have no holes and no overlaps, and are drawn with every colour closed", () => {
  fc.assert(
    fc.property(typeArbitrary(3), fc.constantFrom("declared" as const, "packed" as const), (type, order) => {
      const layout = layoutOf(type, { order });
      for (const { cells, sizeBytes } of mapsOf(layout)) {
        let end = 0;
        for (const cell of cells) {
          assert.equal(cell.offsetBytes, end);
          end += cell.sizeBytes;
        }
        assert.equal(end, sizeBytes);
      }
      const svg = drawLayout(layout);
      assert.equal(svg.match(/<rect [^>]*[^/]>/g)?.length ?? 0, svg.match(/<\/rect>/g)?.length ?? 0);
      assert.doesNotMatch(svg, /NaN|undefined/);
    }),
  );
});
