// The picture of comparisons has a line for each contender, and keeps inside of its axes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { dotsSvg } from "./dots.ts";

test("a dot for each seed, a bar around the mean, and numbers instead of dots beyond the axes", () => {
  const rows = [
    { name: "better", values: [-0.02, -0.01, -0.03] },
    { name: "far off", values: [0.2, 0.3, 0.1] },
  ];
  const svg = dotsSvg(rows, { low: -0.06, high: 0.06, title: "loss" });
  assert.equal([...svg.matchAll(/<circle /g)].length, 3);
  assert.match(svg, />better<.*stroke="#0a66c2"/);
  assert.match(svg, />→ 0\.20</);
  const xs = [...svg.matchAll(/ (?:x1|x2|cx|x)="([-\d.]+)"/g)].map(([, x]) => Number(x));
  assert.ok(xs.every((x) => x >= 0 && x <= 760));
});
