// What people see of a run: numbers, sparklines, the terminal's two lines, the page of curves.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { renderChart, roundTicks } from "./chart.ts";
import { formatCount, formatDuration, formatLoss, formatSmall } from "./format.ts";
import { renderPage, RunCurves } from "./page.ts";
import { ProgressDisplay } from "./progress.ts";
import type { TrainProgress } from "./progress.ts";
import { Series } from "./series.ts";
import { sparkline, thin } from "./sparkline.ts";

test("numbers read as three digits and a unit", () => {
  const counts = [0, 7, 999, 999.6, 1204, 9996, 99_960, 876_544, 999_600, 1.5e9, 2e12];
  assert.deepEqual(counts.map(formatCount), [
    "0",
    "7",
    "999",
    "1.00k",
    "1.20k",
    "10.0k",
    "100k",
    "877k",
    "1.00M",
    "1.50B",
    "2.00T",
  ]);
  assert.deepEqual([0.4, 59.6, 65, 7384, 90_000, NaN].map(formatDuration), [
    "0s",
    "1m 00s",
    "1m 05s",
    "2h 03m",
    "1d 01h",
    "?",
  ]);
  assert.deepEqual([1.66, NaN, 123456].map(formatLoss), ["1.6600", "NaN", "1.23e+5"]);
  assert.deepEqual([0, 3e-4].map(formatSmall), ["0", "3.00e-4"]);
});

test("a sparkline spans its values, and skips what is no number", () => {
  assert.equal(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█");
  assert.equal(sparkline([3, NaN, 3], 10), "▁▁");
  assert.equal(sparkline([], 10), "");
  assert.equal(sparkline([8, 8, 1, 1], 2), "█▁");
});

test("thinning keeps means, order and bounds", () => {
  const values = fc.array(fc.double({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(values, fc.integer({ min: 1, max: 40 }), (series, count) => {
      const points = thin(series, count);
      assert.equal(points.length, Math.min(series.length, count));
      assert.ok(Math.min(...points) >= Math.min(...series) - 1e-9 && Math.max(...points) <= Math.max(...series) + 1e-9);
    }),
  );
});

test("a series stays bounded, and its points average what was added", () => {
  for (const length of [0, 1, 7, 8, 9, 1000, 1023]) {
    const series = new Series(2, 8);
    for (let i = 0; i < length; i++) series.add(i, 2 * i);
    const points = series.points();
    assert.ok(points.length <= 8, `${points.length} points of ${length}`);
    points.forEach(([x, y], i) => {
      assert.equal(y, 2 * x);
      if (i > 0) assert.ok(x > points[i - 1][0]);
    });
  }
});

function progressAt(step: number): TrainProgress {
  const loss = 4 / step;
  return {
    step,
    steps: 2000,
    loss,
    validationLoss: step < 100 ? undefined : loss + 0.1,
    tokensPerSecond: 34_100,
    secondsLeft: 75,
    learningRate: 3e-3,
    gradientNorm: 1,
  };
}

/** Runs a display through 200 steps of 20 ms, and gives what it wrote. */
function show(stream: { isTTY?: boolean; columns?: number }, color = false): string {
  let written = "";
  let now = 0;
  const display = new ProgressDisplay({
    stream: { ...stream, write: (text) => (written += text) },
    color,
    now: () => now,
  });
  for (let step = 1; step <= 200; step++, now += 20) display.update(progressAt(step));
  display.note("a notice");
  display.finish();
  return written;
}

test("on a terminal two lines are rewritten in place, never wider than it or than 80 columns", () => {
  for (const columns of [20, 40, 80, 200]) {
    const written = show({ isTTY: true, columns });
    const plain = written.replaceAll("\u001b[2K", "\n").replaceAll("\u001b[1A", "\n");
    const visible = plain.split(/[\n\r]/).map((line) => Array.from(line).length);
    assert.ok(Math.max(...visible) < Math.min(columns, 80) + 1, `${Math.max(...visible)} of ${columns} columns`);
    // A redraw goes back over both lines, so that nothing scrolls.
    const drawn = written.split("step ").length - 1;
    assert.equal(written.split("\u001b[1A").length - 1, drawn - 1);
    assert.ok(drawn > 30 && drawn < 60, `${drawn} redraws of 200 steps`);
  }
  const wide = show({ isTTY: true, columns: 80 });
  assert.equal(show({ isTTY: true, columns: 0 }), wide);
  assert.match(wide, /step {2}200\/2000 {2}loss 0\.0200 {2}val 0\.1200 {2}34\.1k tok\/s {2}1m 15s left/);
  assert.match(wide, /10% [▁▂▃▄▅▆▇█]{60,74}\n$/);
  assert.match(wide, /a notice\n/);
});

test("colours are for terminals that want them", () => {
  assert.ok(show({ isTTY: true }, true).includes("\u001b[36m"));
  assert.ok(!show({ isTTY: true }, false).includes("\u001b[36m"));
  assert.ok(!show({ isTTY: false }, true).includes("\u001b"));
});

test("without a terminal a plain line comes now and then, and the last step always", () => {
  const lines = show({}).split("\n");
  assert.match(lines[0], /^step {4}1\/2000 {2}loss 4\.0000 {2}val - /);
  assert.deepEqual(lines.slice(1, 2), ["a notice"]);
  assert.match(lines[2], /^step {2}200\/2000/);
  assert.equal(lines.length, 4);
});

test("ticks are round, few, and span the range", () => {
  fc.assert(
    fc.property(
      fc.double({ min: -1e3, max: 1e3, noNaN: true }),
      fc.double({ min: 1e-3, max: 1e4, noNaN: true }),
      (low, range) => {
        const high = low + range;
        const ticks = roundTicks(low, high, 5);
        assert.ok(ticks.length >= 2 && ticks.length <= 8, `${ticks.length} ticks`);
        const slack = range * 1e-6;
        assert.ok(
          ticks[0] <= low + slack && ticks[ticks.length - 1] >= high - slack,
          `${ticks.join(" ")} for ${low} to ${high}`,
        );
      },
    ),
  );
  assert.deepEqual(roundTicks(0, 0.9, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(roundTicks(2, 2, 5).length >= 2, true);
});

test("a chart scales its points to its axes", () => {
  const curves = [
    {
      name: "loss",
      style: "curve-loss",
      points: [
        [0, 4],
        [50, NaN],
        [100, 2],
      ] as [number, number][],
    },
  ];
  const svg = renderChart({ title: "a <loss>", curves, xMax: 100, heightPx: 140, format: String });
  assert.match(svg, /<path class="curve-loss" d="M64 12L744 112"\/>/);
  assert.match(svg, /a &lt;loss&gt;/);
  assert.match(renderChart({ title: "t", curves: [], xMax: 1, heightPx: 100, format: String }), /nothing measured yet/);
});

test("the page shows the curves, escapes what it is given and needs nothing from anywhere", () => {
  const curves = new RunCurves();
  for (let step = 1; step <= 3000; step++) {
    const row = {
      step,
      loss: 4 - step / 1000,
      learningRate: 1e-3,
      gradientNorm: 1,
      tokensPerSecond: 1000,
      seconds: step,
      flips: [0.02 / step, 0.01, 0.01, 0, 0, 0, 0, 0, 0.03],
    };
    curves.add(step % 1000 === 0 ? { ...row, validationLoss: 1.5 } : row);
  }
  const details = { Model: { name: "</script><b>" } };
  const page = renderPage({ title: "Run <x>", state: "running", steps: 3000, curves, details });
  for (const style of ["curve-loss", "curve-validation", "curve-rate", "curve-norm", "curve-speed"]) {
    assert.match(page, new RegExp(`<path class="${style}" d="M[^"]*L`), style);
  }
  const layers = [...page.matchAll(/<path class="curve-layer-(\d)" d="M[^"]*L/g)].map(([, band]) => Number(band));
  assert.deepEqual(layers, [0, 1, 2, 3, 4, 5, 6, 7], "nine layers in eight curves");
  assert.match(page, /curve-layer-2">layer 2<\/span> <span class="key curve-layer-3">layers 3 to 4</);
  assert.match(
    page,
    /running, step 3000 of 3000 · loss 1\.0000 · validation loss 1\.5000 · 1\.00k tokens\/s · after 50m 00s/,
  );
  assert.match(page, /http-equiv="refresh"/);
  assert.match(page, /prefers-color-scheme: dark/);
  assert.ok(page.includes("&lt;/script&gt;&lt;b&gt;") && !page.includes("<b>") && page.includes("Run &lt;x&gt;"));
  assert.doesNotMatch(page, /https?:|src=|@import|url\(/);
  assert.ok(page.length < 200_000, `${page.length} characters`);
  const [, data] = /<script type="application\/json" id="data">(.*?)<\/script>/.exec(page)!;
  const { steps, validation } = JSON.parse(data) as { steps: number[][]; validation: number[][] };
  assert.ok(steps.length <= 1024 && steps.every((point) => point.length === 5));
  assert.deepEqual(validation, [
    [1000, 1.5],
    [2000, 1.5],
    [3000, 1.5],
  ]);
  const empty = renderPage({ title: "x", state: "stopped", steps: 1, curves: new RunCurves(), details: {} });
  assert.match(empty, /stopped, no step yet/);
});
