import assert from "node:assert/strict";
import { test } from "node:test";

import { SharedArena } from "../arena.ts";
import { layoutOf } from "../layout/layout.ts";
import { LayoutError } from "../layout/node.ts";
import type { LayoutOptions } from "../layout/node.ts";
import type { BareType, Typed } from "../schema/ast.ts";
import { checkView } from "./check.ts";
import { copyOf, match, readValue, select, viewOf } from "./view.ts";
import { build } from "./write.ts";

const u8 = { kind: "u8" } as const;
const f32 = { kind: "f32" } as const;
const str = { kind: "str" } as const;

interface Point {
  x: number;
  y: number;
}
type Shape =
  | { readonly kind: "circle"; readonly value: { radius: number } }
  | { readonly kind: "square"; readonly value: number }
  | { readonly kind: "nothing"; readonly value: undefined };
interface Drawing {
  name: string;
  origin: Point;
  note: string | undefined;
  layer: number | undefined;
  shapes: readonly Shape[];
  path: readonly Point[];
  samples: Float32Array;
  mode: "fill" | "line";
  isVisible: boolean;
  id: bigint;
  counts: ReadonlyMap<string, number>;
}

const point: BareType = {
  kind: "struct",
  fields: [
    { name: "x", type: f32 },
    { name: "y", type: f32 },
  ],
};
const shape: BareType = {
  kind: "union",
  members: [
    { name: "circle", tag: 0, type: { kind: "struct", fields: [{ name: "radius", type: { kind: "f64" } }] } },
    { name: "square", tag: 1, type: f32 },
    { name: "nothing", tag: 7, type: { kind: "void" } },
  ],
};
const drawing: Typed<Drawing> = {
  kind: "struct",
  fields: [
    { name: "name", type: str },
    { name: "origin", type: point },
    { name: "note", type: { kind: "optional", type: str } },
    { name: "layer", type: { kind: "optional", type: { kind: "u16" } } },
    { name: "shapes", type: { kind: "list", type: shape } },
    { name: "path", type: { kind: "list", type: point } },
    { name: "samples", type: { kind: "list", type: f32 } },
    {
      name: "mode",
      type: {
        kind: "enum",
        members: [
          { name: "fill", tag: 3 },
          { name: "line", tag: 300 },
        ],
      },
    },
    { name: "isVisible", type: { kind: "bool" } },
    { name: "id", type: { kind: "u64" } },
    { name: "counts", type: { kind: "map", key: str, value: u8 } },
  ],
};

const value: Drawing = {
  name: "a café, ∑",
  origin: { x: 1, y: 2 },
  note: undefined,
  layer: 5,
  shapes: [
    { kind: "circle", value: { radius: 2.5 } },
    { kind: "nothing", value: undefined },
    { kind: "square", value: 3 },
  ],
  path: [
    { x: 10, y: 11 },
    { x: 20, y: 21 },
  ],
  samples: Float32Array.of(1, 2, 3),
  mode: "line",
  isVisible: true,
  id: 2n ** 63n,
  counts: new Map([
    ["one", 1],
    ["two", 2],
  ]),
};

test("a view reads every kind of part in place, and writes what has a fixed size", () => {
  const layout = layoutOf(drawing);
  const bytes = build(layout, value);
  const view = viewOf(layout).over(bytes);
  assert.equal(view.name, "a café, ∑");
  assert.deepEqual([view.origin.x, view.origin.y, view.mode, view.isVisible, view.id], [1, 2, "line", true, 2n ** 63n]);
  assert.deepEqual([view.note, view.layer], [undefined, 5]);
  assert.deepEqual([view.path.length, view.path.at(1).y], [2, 21]);
  assert.deepEqual([view.counts.size, view.counts.get("two"), view.counts.get("three")], [2, 2, undefined]);
  view.origin.y = -4.5;
  view.layer = undefined;
  view.mode = "fill";
  view.isVisible = false;
  view.id = 1n;
  view.path.set(0, { x: 7, y: 8 });
  view.path.at(1).x = 9;
  view.samples.set(1, 20);
  view.samples.array()[2] = 30;
  view.name = "as many byte"; // 12 bytes, as the text before
  const expected = { ...value, origin: { x: 1, y: -4.5 }, layer: undefined, mode: "fill", isVisible: false, id: 1n };
  const path = [
    { x: 7, y: 8 },
    { x: 9, y: 21 },
  ];
  assert.deepEqual(readValue(layout, bytes), {
    ...expected,
    path,
    samples: Float32Array.of(1, 20, 30),
    name: "as many byte",
  });
  assert.equal(view.samples.array().buffer, bytes.buffer);
  assert.throws(() => (view.name = "longer than it was"), /cannot change its length in place/);
  assert.throws(() => (view.layer = 70000), /u16: a whole number/);
  assert.throws(() => view.path.at(2), /outside its list[\s\S]*0 to 1/);
});

test("a union is matched by its tag, and another member is selected in place", () => {
  const layout = layoutOf(drawing);
  const view = viewOf(layout).over(build(layout, value));
  const areas: number[] = [];
  const cases = {
    circle: (circle: { readonly radius: number }) => circle.radius ** 2,
    square: (side: number) => side * side,
    nothing: () => 0,
  };
  for (let i = 0; i < view.shapes.length; i++) areas.push(match(view.shapes.at(i), cases));
  assert.deepEqual(areas, [6.25, 0, 9]);
  select(view.shapes.at(1), "circle").radius = 10;
  assert.equal(match(view.shapes.at(1), cases), 100);
  assert.equal(view.shapes.at(1).kind, "circle");
});

test("views lie over arenas, arrays of records and at offsets; parts are seated again, not made again", () => {
  using arena = SharedArena.create();
  using region = arena.alloc(8 * 100);
  const points = viewOf(layoutOf<Point>(point));
  const list = points.array(region, 100);
  for (let i = 0; i < list.length; i++) list.at(i).x = i;
  assert.equal(list.at(3), list.at(4), "one view");
  assert.equal(points.over(region, 8 * 99).x, 99);
  assert.equal(points.over(region.asReadonly()).x, 0);
  assert.throws(() => points.over(region, 796), /too small/);
  assert.throws(() => points.over(new Uint8Array(20).subarray(1)), /does not start at its alignment/);
  assert.throws(() => points.array(region, 101), /too small/);
});

test("lists in columns and in bits read and write like plain ones", () => {
  const type: Typed<{
    bits: readonly boolean[];
    trits: Int8Array;
    dense: Int8Array;
    rows: readonly (Point & { t?: string })[];
  }> = {
    kind: "struct",
    fields: [
      { name: "bits", type: { kind: "list", type: { kind: "bool" } } },
      { name: "trits", type: { kind: "list", type: { kind: "i8" } } },
      { name: "dense", type: { kind: "list", type: { kind: "i8" }, length: 11 } },
      {
        name: "rows",
        type: {
          kind: "list",
          type: {
            kind: "struct",
            fields: [
              { name: "x", type: f32 },
              { name: "y", type: f32 },
              { name: "t", type: { kind: "optional", type: str } },
            ],
          },
        },
      },
    ],
  };
  const layout = layoutOf(type, {
    paths: {
      bits: { packing: "bits" },
      trits: { packing: "ternary-2bit" },
      dense: { packing: "ternary-1.6bit" },
      rows: { soa: true },
    },
  });
  const trits = Int8Array.of(-1, 0, 1, 1, 0, -1, 1);
  const dense = Int8Array.of(1, 1, 1, 1, 1, -1, -1, -1, 0, 1, 1);
  const rows = [1, 2, 3].map((x) => ({ x, y: -x, t: x === 2 ? "two" : undefined }));
  const plain = { bits: [true, false, true, true, false, true, false, false, true], trits, dense, rows };
  const bytes = build(layout, plain);
  checkView(layout, bytes);
  assert.deepEqual(readValue(layout, bytes), plain);
  const view = viewOf(layout).over(bytes);
  assert.deepEqual(view.dense.toArray(), dense);
  assert.deepEqual(copyOf(view.rows.at(1)), { x: 2, y: -2, t: "two" });
  view.dense.set(4, -1);
  view.trits.set(0, 1);
  view.bits.set(1, true);
  view.rows.at(2).x = 30;
  const xs = view.rows.column("x");
  assert.deepEqual([...xs.array()], [1, 2, 30]);
  assert.equal(xs.array().byteOffset % 64, 0);
  assert.deepEqual([view.dense.at(4), view.trits.at(0), view.bits.at(1)], [-1, 1, true]);
  assert.throws(() => view.trits.set(0, 2), /-1, 0 or 1/);
  assert.throws(() => view.dense.array(), /packed as ternary-1.6bit/);
});

test("a type that contains itself is boxed in place and met again in lists and maps", () => {
  interface Tree {
    label: string;
    left: Tree | undefined;
    children: readonly Tree[];
    named: ReadonlyMap<string, Tree>;
  }
  const tree: Typed<Tree> & { kind: "struct" } = {
    kind: "struct",
    fields: [
      { name: "label", type: str },
      { name: "left", type: { kind: "optional", type: { kind: "alias", name: "Tree", target: () => tree } } },
      { name: "children", type: { kind: "list", type: { kind: "alias", name: "Tree", target: () => tree } } },
      { name: "named", type: { kind: "map", key: str, value: { kind: "alias", name: "Tree", target: () => tree } } },
    ],
  };
  const leaf = (label: string): Tree => ({ label, left: undefined, children: [], named: new Map() });
  const whole: Tree = { ...leaf("root"), left: { ...leaf("l"), left: leaf("ll") }, children: [leaf("a"), leaf("b")] };
  const full = { ...whole, named: new Map([["n", leaf("in map")]]) };
  const layout = layoutOf<Tree>(tree);
  const bytes = build(layout, full);
  assert.equal(checkView(layout, bytes), bytes.length);
  assert.deepEqual(readValue(layout, bytes), full);
  const view = viewOf(layout).over(bytes);
  assert.deepEqual(
    [view.left?.left?.label, view.children.at(1).label, view.named.get("n")?.label],
    ["ll", "b", "in map"],
  );
  let deep = leaf("end");
  for (let i = 0; i < 100; i++) deep = { ...leaf(""), left: deep };
  assert.throws(() => build(layout, deep), /nested too deep/);
});

test("options that do not fit are refused with their path", () => {
  const refused = (type: BareType, options: LayoutOptions, message: RegExp): void => {
    assert.throws(
      () => layoutOf(type, options),
      (error) => error instanceof LayoutError && message.test(error.message),
    );
  };
  refused(point, { alignBytes: 48 }, /no alignment/);
  refused(point, { paths: { z: {} } }, /no part of the type lies at this path/);
  refused(point, { paths: { x: { packing: "bits" } } }, /only lists can be packed/);
  refused({ kind: "list", type: f32 }, { paths: { "": { packing: "ternary-2bit" } } }, /items of type i8/);
  refused({ kind: "list", type: f32 }, { paths: { "": { soa: true } } }, /lists of structs/);
  refused({ kind: "list", type: { kind: "f64" }, length: 2 ** 30 }, {}, /too large/);
});
