// layer_norm, and the error function and the gate made of it, against numbers computed elsewhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import { interpret } from "../interpreter.ts";
import { relativeError } from "../testing.ts";
import { tensorType, trace } from "../trace.ts";
import { erf } from "./erf.ts";
import { geluExact } from "./gelu_exact.ts";
import { layerNorm } from "./layer_norm.ts";

const ROWS = tensorType("f64", [2, 4]);
const COLUMNS = tensorType("f64", [4]);
const rows = (...values: number[]) => ({ type: ROWS, data: Float64Array.from(values) });

void test("rows have the mean of the bias and the deviation of the weight", () => {
  const { graph } = trace("norm", (x, weight, bias) => layerNorm(x, { weight, bias, epsilon: 0 }), [
    ROWS,
    COLUMNS,
    COLUMNS,
  ]);
  const columns = (...values: number[]) => ({ type: COLUMNS, data: Float64Array.from(values) });
  const [y] = interpret(graph, [rows(1, 2, 3, 4, 5, 5, 9, 9), columns(1, 1, 2, 1), columns(0, 0, 0, 10)]);
  const s = Math.sqrt(1.25);
  assert.ok(relativeError(y!.data, [-1.5 / s, -0.5 / s, 1 / s, 1.5 / s + 10, -1, -1, 2, 11]) < 1e-15);
});

void test("a bias alone, and neither", () => {
  const { graph } = trace("norm", (x, bias) => layerNorm(layerNorm(x, { bias }), { epsilon: 1 }), [ROWS, COLUMNS]);
  const [y] = interpret(graph, [rows(1, 1, 1, 1, 2, 2, 2, 2), { type: COLUMNS, data: Float64Array.of(3, 3, 5, 5) }]);
  const side = 1 / Math.sqrt(2);
  assert.ok(relativeError(y!.data, [-side, -side, side, side, -side, -side, side, side]) < 1e-12);
});

void test("the error function and its gate have the values of tables", () => {
  const { graph } = trace("erf", (x) => [erf(x), geluExact(x)], [ROWS]);
  const [e, g] = interpret(graph, [rows(0, 0.5, -1, 2, 3.5, -7, Infinity, NaN)]);
  // Abramowitz and Stegun, table 7.1; at 3.5 by the asymptotic series.
  const expected = [0, 0.5204998778130465, -0.8427007929497149, 0.9953222650189527, 0.9999992569016276, -1, 1, NaN];
  expected.forEach((value, i) => assert.ok(Object.is(e!.data[i], value) || Math.abs(e!.data[i]! - value) < 1e-15));
  // x times the normal distribution function: 0.6914624612740131 at 0.5, 0.15865525393145707 at -1.
  assert.ok(Math.abs(g!.data[1]! - 0.5 * 0.6914624612740131) < 1e-15);
  assert.ok(Math.abs(g!.data[2]! + 0.15865525393145707) < 1e-15);
});
