// Reading through views leaves nothing for the collector. In a process of its own: where other tests have read views of
// many types before, the engine no longer sees through the accessors, and boxes the numbers that they return.

import assert from "node:assert/strict";
import { test } from "node:test";
import { getHeapStatistics } from "node:v8";

import * as bare from "../bare.ts";
import { layoutOf } from "../layout/layout.ts";
import { copyOf, match, viewOf } from "./view.ts";
import { build } from "./write.ts";

const COUNT = 10_000;
const RUNS = 20;

const drawing = bare.struct({
  isVisible: bare.bool,
  layer: bare.optional(bare.u8),
  mode: bare.enumeration({ fill: 0, line: 1 }),
  path: bare.list(bare.struct({ x: bare.f32, y: bare.f32 })),
  shapes: bare.list(bare.union({ circle: [0, bare.struct({ radius: bare.f64 })], square: [1, bare.f32] })),
});

test("reading in a loop makes no garbage, and copying does", () => {
  const layout = layoutOf(drawing);
  const path = Array.from({ length: COUNT }, (_, i) => ({ x: i, y: 0 }));
  const shapes = path.map(({ x }) =>
    x % 2 === 0 ? ({ kind: "square", value: 1 } as const) : ({ kind: "circle", value: { radius: 1 } } as const),
  );
  const view = viewOf(layout).over(build(layout, { isVisible: true, layer: 5, mode: "line", path, shapes }));
  const cases = { circle: () => 1, square: () => 2 };
  const read = (): void => {
    let count = 0;
    for (let i = 0; i < view.path.length; i++) {
      if (view.path.at(i).x > 5) count++;
      count += match(view.shapes.at(i), cases);
      if (view.isVisible && view.mode === "line" && view.layer === 5) count++;
    }
    assert.equal(count, COUNT - 6 + 1.5 * COUNT + COUNT);
  };
  const copies: unknown[] = Array(100);
  const copy = (): void => {
    for (let i = 0; i < view.path.length; i++) copies[i % copies.length] = copyOf(view.path.at(i));
  };
  // One small object for each of 200,000 records would be 3 MB and more; threads that compile allocate a little besides.
  assert.ok(leastAllocatedBytes(50, read) < 1_000_000);
  assert.ok(leastAllocatedBytes(5, copy) > 3_000_000);
});

/** Bytes that some runs allocated, collected since or not: the fewest of `times` trials, the last of compiled code. */
function leastAllocatedBytes(times: number, run: () => void): number {
  const trials = Array.from({ length: times }, () => {
    const before = getHeapStatistics().total_allocated_bytes;
    for (let i = 0; i < RUNS; i++) run();
    return getHeapStatistics().total_allocated_bytes - before;
  });
  return Math.min(...trials);
}
