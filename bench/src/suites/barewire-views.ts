// Views over records in place: what reading one field, a nested one, a union and a list of numbers costs, beside
// FlatBuffers' accessors in both of its forms and beside plain typed arrays, which are the most that can be had.

import { bare, build, layoutOf, match, viewOf } from "@fidelity/barewire";

import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { flatSums } from "../peers/flatbuffers.ts";
import type { FlatSums } from "../peers/flatbuffers.ts";
import type { RowPlan } from "../row.ts";

const RECORDS = 1_000_000;
const QUICK_RECORDS = 100_000;
const PLAIN = "typed array";

const vec = bare.struct({ x: bare.f32, y: bare.f32 });
const point = bare.struct({ id: bare.u32, x: bare.f32, y: bare.f32, z: bare.f32 });
const nested = bare.struct({ id: bare.u32, x: bare.f32, position: vec });
const shape = bare.union({ circle: [0, bare.struct({ radius: bare.f32 })], square: [1, bare.f32] });

/** Sums over our layouts, each a function to be timed; all give what FlatBuffers' give. */
interface OwnSums {
  readonly field: () => number;
  readonly columnField: () => number;
  readonly nested: () => number;
  readonly numbersAt: () => number;
  readonly numbersArray: () => number;
  readonly union: () => number;
  readonly plainField: () => number;
}

/** Reading in place: rates in millions of records a second. */
export async function barewireViews(bench: Bench): Promise<void> {
  const count = bench.quick ? QUICK_RECORDS : RECORDS;
  const own = ownSums(count);
  const flat = flatSums(count);
  checkSums(own, flat);
  const source = (name: string, run: () => number): Source => repeated(name, count, bench.sampleMs, run);
  const sources = [
    source("field", own.field),
    source("column", own.columnField),
    source("nested", own.nested),
    source("numbers-at", own.numbersAt),
    source("numbers", own.numbersArray),
    source("union", own.union),
    source(PLAIN, own.plainField),
    source("flat table", flat.tableField),
    source("flat struct", flat.structField),
    source("flat nested", flat.tableNested),
    source("flat numbers-at", flat.numbersAt),
    source("flat numbers", flat.numbersArray),
    source("flat union", flat.union),
  ];
  const row = (id: string, name: string, peerSource: string, peerName: string): RowPlan => ({
    id: `barewire/views-${id}`,
    unit: "Mrecords/s",
    source: name,
    scale: 1e-6,
    peer: { source: peerSource, name: peerName },
    ceiling: id.startsWith("numbers") ? undefined : { source: PLAIN, name: PLAIN, work: 1 },
  });
  const plans = [
    row("one-field", "field", "flat table", "flatbuffers table"),
    row("one-field-of-structs", "field", "flat struct", "flatbuffers struct"),
    row("one-field-in-columns", "column", "flat table", "flatbuffers table"),
    row("nested-field", "nested", "flat nested", "flatbuffers table"),
    row("union-match", "union", "flat union", "flatbuffers union"),
    row("numbers-one-by-one", "numbers-at", "flat numbers-at", "flatbuffers vector"),
    row("numbers-as-array", "numbers", "flat numbers", "flatbuffers array"),
  ];
  const title = `Views: one value of each of ${count.toLocaleString("en-US")} records, read in place`;
  bench.report(title, await measure(sources, plans, { ...bench.settings, rotate: true }));
}

function checkSums(own: OwnSums, flat: FlatSums): void {
  const expected = own.plainField();
  const sums = [own.field, own.columnField, own.nested, own.numbersAt, own.numbersArray, own.union];
  for (const sum of [...sums, ...Object.values(flat)]) {
    if (sum() !== expected) throw new Error(`a sum over views is ${sum()}, not ${expected}`);
  }
}

function ownSums(count: number): OwnSums {
  const indexes = Array.from({ length: count }, (_, i) => i);
  const points = indexes.map((i) => ({ id: i, x: i % 7, y: 1, z: 2 }));
  const rows = layoutOf(bare.list(point));
  const bytes = build(rows, points);
  const records = viewOf(rows).over(bytes);
  const columnLayout = layoutOf(bare.list(point), { paths: { "": { soa: true } } });
  const column = viewOf(columnLayout).over(build(columnLayout, points)).column("x").array();
  const nestedLayout = layoutOf(bare.list(nested));
  const nestedBytes = build(
    nestedLayout,
    indexes.map((i) => ({ id: i, x: i % 7, position: { x: 1, y: i % 7 } })),
  );
  const nestedRecords = viewOf(nestedLayout).over(nestedBytes);
  const numbersLayout = layoutOf(bare.list(bare.f32));
  const numbers = viewOf(numbersLayout).over(
    build(
      numbersLayout,
      Float32Array.from(indexes, (i) => i % 7),
    ),
  );
  const shapesLayout = layoutOf(bare.list(shape));
  const circlesAndSquares = indexes.map((i) =>
    i % 3 === 0 ? { kind: "circle" as const, value: { radius: i % 7 } } : { kind: "square" as const, value: i % 7 },
  );
  const shapes = viewOf(shapesLayout).over(build(shapesLayout, circlesAndSquares));
  const cases = { circle: (circle: { readonly radius: number }) => circle.radius, square: (side: number) => side };
  const floats = new Float32Array(bytes.buffer);
  return {
    field: () => {
      let total = 0;
      for (let i = 0; i < records.length; i++) total += records.at(i).x;
      return total;
    },
    columnField: () => {
      let total = 0;
      for (let i = 0; i < column.length; i++) total += column[i];
      return total;
    },
    nested: () => {
      let total = 0;
      for (let i = 0; i < nestedRecords.length; i++) total += nestedRecords.at(i).position.y;
      return total;
    },
    numbersAt: () => {
      let total = 0;
      for (let i = 0; i < numbers.length; i++) total += numbers.at(i);
      return total;
    },
    numbersArray: () => {
      const array = numbers.array();
      let total = 0;
      for (let i = 0; i < array.length; i++) total += array[i];
      return total;
    },
    union: () => {
      let total = 0;
      for (let i = 0; i < shapes.length; i++) total += match(shapes.at(i), cases);
      return total;
    },
    // Behind the slot of the list, 8 bytes, x is the second of four floats.
    plainField: () => {
      let total = 0;
      for (let i = 3; i < floats.length; i += 4) total += floats[i];
      return total;
    },
  };
}
