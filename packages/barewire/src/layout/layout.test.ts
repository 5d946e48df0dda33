import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { BareType } from "../schema/ast.ts";
import { describeLayout, drawLayout } from "./describe.ts";
import { layoutOf } from "./layout.ts";
import type { StructNode } from "./node.ts";
import { getOptimized } from "./optimize.ts";
import { findBadCode, packedBytes, readPacked, writePacked } from "./packed.ts";

const mixed: BareType = {
  kind: "struct",
  fields: [
    { name: "flag", type: { kind: "bool" } },
    { name: "wide", type: { kind: "f64" } },
    { name: "small", type: { kind: "optional", type: { kind: "u16" } } },
    { name: "text", type: { kind: "str" } },
    {
      name: "shape",
      type: {
        kind: "union",
        members: [
          { name: "round", tag: 0, type: { kind: "f64" } },
          { name: "name", tag: 1, type: { kind: "str" } },
        ],
      },
    },
    { name: "rest", type: { kind: "optional", type: { kind: "u8" } } },
  ],
};

test("offsets are those of C structs, with presence bits behind the fields", () => {
  const { root, sizeBytes, alignBytes } = layoutOf(mixed);
  const offsets = (root as StructNode).fields.map((field) => field.offsetBytes);
  assert.deepEqual(offsets, [0, 8, 16, 20, 32, 48]);
  assert.deepEqual([sizeBytes, alignBytes], [56, 8]);
  assert.deepEqual((root as StructNode).presence, { offsetBytes: 49, count: 2 });
  const packed = layoutOf(mixed, { order: "packed" });
  assert.equal(packed.sizeBytes, 40);
  assert.equal(layoutOf(mixed, { alignBytes: 256 }).sizeBytes, 256);
});

test("the table shows every byte once, padding included", () => {
  assert.equal(
    describeLayout(layoutOf(mixed)),
    `fixed part: 56 B, aligned to 8, 26 of padding
  offset  size  path   type
       0     1  flag   bool
       1     7         padding
       8     8  wide   f64
      16     2  small  u16
      18     2         padding
      20     8  text   slot of str
      28     4         padding
      32     1  shape  tag u8
      33     7         padding
      40     8  shape  round | name
      48     1  rest   u8
      49     1         presence, 2 bits
      50     6         padding

shape.round, overlay: 8 B, aligned to 8, 0 of padding
  offset  size  path  type
       0     8        f64

shape.name, overlay: 8 B, aligned to 4, 0 of padding
  offset  size  path  type
       0     8        slot of str`,
  );
});

test("padding is drawn in its colour, and long maps say what they leave out", () => {
  assert.equal(drawLayout(layoutOf(mixed)).match(/<rect [^>]*fill="#d5d8dc"/g)?.length, 6);
  assert.match(drawLayout(layoutOf({ kind: "data", length: 5000 })), /and 4232 bytes more/);
});

test("targets choose by the stated rules", () => {
  const f32 = { kind: "f32" } as const;
  const record: BareType = {
    kind: "struct",
    fields: [
      { name: "a", type: { kind: "u8" } },
      { name: "b", type: f32 },
      { name: "c", type: f32 },
    ],
  };
  const rows: BareType = { kind: "list", length: 3, type: { kind: "list", length: 10, type: { kind: "i8" } } };
  const type: BareType = {
    kind: "struct",
    fields: [
      { name: "records", type: { kind: "list", type: record } },
      { name: "rows", type: rows },
    ],
  };
  const line = getOptimized(type, "cache-line");
  assert.deepEqual(line.options.paths, { "records.[]": { alignBytes: 16 } });
  assert.equal(line.alignBytes, 64);
  const tile = getOptimized(type, "amx-tile");
  assert.deepEqual(tile.options.paths, { "rows.[]": { alignBytes: 64 } });
  assert.equal((tile.root as StructNode).fields[1].node.sizeBytes, 192);
  assert.deepEqual(getOptimized(type, "wasm-vector").options.paths, { records: { soa: true, alignBytes: 64 } });
  const gpu = getOptimized(type, "gpu");
  assert.deepEqual([gpu.alignBytes, gpu.options.paths], [256, { records: { soa: true, alignBytes: 256 } }]);
});

test("packed lists hold every sequence of their values, and know bytes that are no code", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(-1, 0, 1), { maxLength: 40 }), fc.nat({ max: 39 }), (values, at) => {
      for (const packing of ["ternary-2bit", "ternary-1.6bit"] as const) {
        const bytes = new Uint8Array(packedBytes(packing, values.length));
        values.forEach((value, i) => writePacked(packing, bytes, 0, i, value));
        if (at < values.length) writePacked(packing, bytes, 0, at, values[at]);
        const read = values.map((_, i) => readPacked(packing, bytes, 0, i));
        assert.deepEqual(read, values);
        assert.equal(findBadCode(packing, bytes, 0, values.length), -1);
      }
    }),
  );
  // Every 2 of 0..2: 242 / 243 in 256ths, rounded up.
  const full = new Uint8Array(1);
  for (let i = 0; i < 5; i++) writePacked("ternary-1.6bit", full, 0, i, 1);
  assert.equal(full[0], 255);
  assert.equal(findBadCode("ternary-1.6bit", Uint8Array.of(0, 20), 0, 10), 5);
  assert.equal(findBadCode("ternary-2bit", Uint8Array.of(0b00_11_00_00), 0, 4), 0);
  assert.equal(packedBytes("bits", 9), 2);
});
