// Layouts and views in every place: memory maps, values built and read in place, unions, columns, packed lists.

import * as bare from "../bare.ts";
import { describeLayout, drawLayout } from "../layout/describe.ts";
import { layoutOf } from "../layout/layout.ts";
import { getOptimized } from "../layout/optimize.ts";
import { checkView } from "../view/check.ts";
import { ViewError } from "../view/memory.ts";
import { copyOf, match, readValue, select, viewOf } from "../view/view.ts";
import { build } from "../view/write.ts";
import { Chance, randomType, randomValue } from "./random.ts";
import { hex, holds, refused, same } from "./suite.ts";
import type { Suite } from "./suite.ts";

const RANDOM_CASES = 250;

/** A drawing: what the cases here and those over shared memory look at. */
export const scene = bare.struct({
  name: bare.str,
  isVisible: bare.bool,
  shapes: bare.list(
    bare.union({
      circle: [0, bare.struct({ radius: bare.f64 })],
      square: [1, bare.f64],
      nothing: [2, bare.nothing],
    }),
  ),
  samples: bare.list(bare.f32),
});

/** A value of it, whose text is long enough to need a decoder. */
export const drawing: bare.TypeOf<typeof scene> = {
  name: "ein Stück Text, das länger ist als ein Wort ∑",
  isVisible: true,
  shapes: [
    { kind: "circle", value: { radius: 2 } },
    { kind: "nothing", value: undefined },
    { kind: "square", value: 3 },
  ],
  samples: Float32Array.of(1, 2, 3, 4),
};

const particles = bare.list(bare.struct({ x: bare.f32, y: bare.f32, mass: bare.f64, label: bare.optional(bare.str) }));

export const views: Suite = {
  name: "views",
  sharesMemory: false,
  cases: {
    "random values are built, checked and read in place": () => {
      const chance = new Chance(3);
      const images: string[] = [];
      for (let i = 0; i < RANDOM_CASES; i++) {
        const type = randomType(chance, i % 4);
        const layout = layoutOf(type, i % 2 === 0 ? {} : { order: "packed", alignBytes: 64, tailAlignBytes: 16 });
        const value = randomValue(chance, type);
        const bytes = build(layout, value);
        same(checkView(layout, bytes), bytes.length);
        same(readValue(layout, bytes), value, `value ${i}`);
        images.push(hex(bytes));
      }
      return images.join("\n");
    },
    "fields are read and written where they lie, and unions matched by their tag": async () => {
      const layout = layoutOf(scene);
      const bytes = build(layout, drawing);
      const view = viewOf(layout).checked(bytes);
      same(view.name, drawing.name);
      const areas: number[] = [];
      const cases = {
        circle: ({ radius }: { readonly radius: number }) => radius ** 2,
        square: (side: number) => side ** 2,
        nothing: () => 0,
      };
      for (let i = 0; i < view.shapes.length; i++) areas.push(match(view.shapes.at(i), cases));
      same(areas, [4, 0, 9]);
      select(view.shapes.at(1), "circle").radius = 10;
      same(match(view.shapes.at(1), cases), 100);
      view.isVisible = false;
      view.samples.array()[2] = 30;
      same(viewOf(layout).over(bytes).samples.at(2), 30);
      same(readValue(layout, bytes).isVisible, false);
      const damaged = bytes.slice(0, -8);
      return refused(() => viewOf(layout).checked(damaged), ViewError);
    },
    "structures of arrays give their columns as typed arrays": () => {
      const layout = layoutOf(particles, { paths: { "": { soa: true } } });
      const rows = Array.from({ length: 20 }, (_, i) => ({
        x: i,
        y: -i,
        mass: i / 2,
        label: i === 7 ? "7" : undefined,
      }));
      const bytes = build(layout, rows);
      const view = viewOf(layout).checked(bytes);
      const xs = view.column("x").array();
      holds(xs instanceof Float32Array && xs.buffer === bytes.buffer, "the column lies in the buffer");
      same(
        [...xs],
        rows.map(({ x }) => x),
      );
      xs[3] = 33;
      same(copyOf(view.at(3)), { x: 33, y: -3, mass: 1.5, label: undefined });
      same(view.at(7).label, "7");
      return hex(bytes);
    },
    "ternary numbers and bits are packed": () => {
      const packed = bare.struct({ bits: bare.list(bare.bool), trits: bare.list(bare.i8), dense: bare.list(bare.i8) });
      const layout = layoutOf(packed, {
        paths: { bits: { packing: "bits" }, trits: { packing: "ternary-2bit" }, dense: { packing: "ternary-1.6bit" } },
      });
      const trits = Int8Array.of(-1, 0, 1, 1, 0, -1, 1, 1, 1, -1, 0);
      const value = { bits: [true, false, true, true, false, true, false, false, true], trits, dense: trits };
      const bytes = build(layout, value);
      same(readValue(layout, bytes), value);
      viewOf(layout).over(bytes).dense.set(4, -1);
      same(readValue(layout, bytes).dense[4], -1);
      return hex(bytes);
    },
    "layouts for every target are drawn": () => {
      const targets = ["cache-line", "amx-tile", "wasm-vector", "gpu"] as const;
      const layouts = [layoutOf(scene), ...targets.map((target) => getOptimized(particles, target))];
      return layouts.map((layout) => `${describeLayout(layout)}\n${drawLayout(layout)}`).join("\n");
    },
  },
};
