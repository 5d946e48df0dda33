// Expressions are checked against the functions that they were read from, derivatives against central differences and
// against grad over tensors, and printed TypeScript by reading it back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runInThisContext } from "node:vm";
import { interpret, reduceSum, tensorType, trace } from "@fidelity/core";
import * as T from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import fc from "fast-check";
import { BigFloats, bigFloat, toFloat64 } from "../precision/bigfloat.ts";
import type { BigFloat } from "../precision/bigfloat.ts";
import { grad } from "../vjp.ts";
import type { Expression } from "./index.ts";
import {
  call,
  commonSubexpressions,
  comparing,
  costOf,
  derive,
  difference,
  evaluator,
  findBreaks,
  formatExpression,
  formatLatex,
  formatTypeScript,
  formatTypeScriptFunction,
  fromGraph,
  number,
  pi,
  power,
  product,
  quotient,
  select,
  simplify,
  squareRoot,
  sum,
  symbolic,
  SymbolicError,
  toTensor,
  variable,
} from "./index.ts";

type F64 = Tensor<readonly number[], "f64">;
const [x, y] = [variable("x"), variable("y")];

/** Random expressions of x and y that are finite and smooth on most of [0.5, 2] squared. */
const expressions: fc.Arbitrary<Expression> = fc.letrec<{ e: Expression }>((tie) => {
  const leaf = fc.oneof(
    fc.constantFrom(x, y, pi),
    fc.integer({ min: -4, max: 4 }).map(number),
    fc.constantFrom(0.5, 1.25, -0.1).map(number),
  );
  const e = tie("e");
  const inner = fc.oneof(
    fc.array(e, { minLength: 2, maxLength: 3 }).map((terms) => sum(...terms)),
    fc.array(e, { minLength: 2, maxLength: 3 }).map((factors) => product(...factors)),
    fc.tuple(e, e).map(([a, b]) => quotient(a, b)),
    fc.tuple(e, fc.integer({ min: -3, max: 4 })).map(([a, n]) => power(a, n)),
    fc.tuple(e, e).map(([a, b]) => difference(a, b)),
    fc
      .tuple(fc.constantFrom("exp", "sigmoid", "sin", "cos", "tanh", "atan", "sinh", "cosh", "log1p"), e)
      .map(([f, a]) => call(f as "exp", a)),
    e.map((a) => squareRoot(sum(1, power(a, 2)))),
    fc.tuple(e, e, e).map(([a, b, c]) => select(comparing(a, "<", 1), b, c)),
  );
  return { e: fc.oneof({ maxDepth: 4, depthIdentifier: "e" }, leaf, inner) };
}).e;

const points = fc.tuple(fc.double({ min: 0.5, max: 2, noNaN: true }), fc.double({ min: 0.5, max: 2, noNaN: true }));

function isClose(a: number, b: number, tolerance: number): boolean {
  return Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(a), Math.abs(b));
}

test("simplifying keeps values and costs no more", () => {
  fc.assert(
    fc.property(expressions, points, (e, at) => {
      const simple = simplify(e);
      assert.ok(costOf(simple) <= costOf(e));
      const before = evaluator([e], ["x", "y"])(...at)[0]!;
      // Where the value is the small difference of large ones, the rounding of either form is all that is left.
      fc.pre(Number.isFinite(before) && Math.abs(before) < 1e6);
      const parts = evaluator([simple], ["x", "y"])(...at)[0]!;
      if (!isClose(parts, before, 1e-6)) {
        const nearby = evaluator([e], ["x", "y"])(at[0] * (1 + 1e-9), at[1])[0]!;
        assert.ok(
          !isClose(nearby, before, 1e-7),
          `${formatExpression(e)} = ${before}, ${formatExpression(simple)} = ${parts}`,
        );
      }
    }),
    { seed: 1, numRuns: 400 },
  );
});

test("derivatives agree with central differences", () => {
  fc.assert(
    fc.property(expressions, points, (e, [px, py]) => {
      const value = evaluator([e], ["x", "y"]);
      const slope = evaluator([simplify(derive(e, "x"))], ["x", "y"])(px, py)[0]!;
      const [h, at] = [1e-5, (d: number): number => value(px + d, py)[0]!];
      const [coarse, fine] = [(at(2 * h) - at(-2 * h)) / (4 * h), (at(h) - at(-h)) / (2 * h)];
      // Only where differences of two sizes agree is there something to compare with.
      fc.pre(Number.isFinite(fine) && isClose(coarse, fine, 1e-5) && Math.abs(at(0)) < 1e3);
      assert.ok(isClose(slope, fine, 1e-4), `${formatExpression(e)}: ${slope}, differences ${fine}`);
    }),
    { seed: 2, numRuns: 400 },
  );
});

test("printed TypeScript reads back as the same expression, common parts included", () => {
  fc.assert(
    fc.property(expressions, (e) => {
      assert.equal(symbolic(`(x, y) => ${formatTypeScript(e)}`).body, e, formatTypeScript(e));
      assert.equal(symbolic(formatTypeScriptFunction(e, ["x", "y"])).body, e, formatTypeScriptFunction(e));
    }),
    { seed: 3, numRuns: 400 },
  );
});

test("functions are read from their own text", () => {
  const functions: ((a: number, b: number) => number)[] = [
    (a, b) => a / (1 + Math.exp(-a)) + b,
    (a, b) => {
      const scale = Math.sqrt(2 / Math.PI);
      if (a < b) return 0.1 * (Math.exp(a) - 1);
      else if (a === b || !(a > 1)) return scale;
      return a / (1 + b) ** 2;
    },
    (a, b) => (a > 0 && b <= 1 ? Math.max(a, b) : -Math.hypot(a, b)),
    (a, b) => Math.pow(a, b) * Math.LN2 - Math.log2(a) * 1_000e-3,
  ];
  for (const fn of functions) {
    const { parameters, body } = symbolic(fn);
    const value = evaluator([body, simplify(body)], parameters);
    const places: [number, number][] = [
      [0.3, 0.7],
      [1.5, 0.2],
      [2, 2],
    ];
    for (const at of places) {
      for (const found of value(...at))
        assert.ok(isClose(found, fn(...at), 1e-12), `${String(fn)} at ${at.join()}: ${found}`);
    }
  }
});

const saturating: readonly (readonly [name: string, text: string, op?: (x: F64) => F64])[] = [
  ["sigmoid", "(x) => 1 / (1 + Math.exp(-x))", T.sigmoid],
  ["tanh by its exponentials", "(x) => (Math.exp(x) - Math.exp(-x)) / (Math.exp(x) + Math.exp(-x))", T.tanh],
  ["tanh", "(x) => Math.tanh(x)", T.tanh],
  ["silu", "(x) => x / (1 + Math.exp(-x))", T.silu],
  ["silu from below", "(x) => x * Math.exp(x) / (1 + Math.exp(x))", T.silu],
  ["softplus", "(x) => Math.log(1 + Math.exp(x))", T.softplus],
  ["gelu", "(x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))"],
  ["mish", "(x) => x * Math.tanh(Math.log(1 + Math.exp(x)))"],
];
for (const [name, text, op] of saturating) {
  test(`${name} and three derivatives are finite and right up to 10^4`, () => {
    const orders = [symbolic(text).body];
    for (let n = 1; n <= 3; n++) orders.push(simplify(derive(orders[n - 1]!, "x")));
    const at = evaluator(orders, ["x"]);
    const points = [-1e4, -3000, -800, -720, -360, -100, -37, -5, -0.5, 0.5, 5, 37, 100, 360, 720, 800, 3000, 1e4];
    const found = points.map((point) => Float64Array.from(at(point)));
    if (op !== undefined) {
      const slope = (f: (x: F64) => F64) => (x: F64) => grad((v: F64) => reduceSum(f(v)))(x) as F64;
      const fns = [op, slope(op), slope(slope(op)), slope(slope(slope(op)))];
      const type = tensorType("f64", [points.length]);
      const { graph } = trace("orders", (x: F64) => fns.map((fn) => fn(x)), [type]);
      const wanted = interpret(graph, [{ type, data: Float64Array.from(points) }]);
      points.forEach((point, i) =>
        wanted.forEach(({ data }, order) => {
          assert.ok(isClose(found[i]![order]!, data[i]!, 1e-12), `order ${order} at ${point}: ${found[i]![order]}`);
        }),
      );
    }
    // What is printed has no exponents beyond float64's: those forms that are products of sigmoids need none.
    if (["sigmoid", "silu", "silu from below"].includes(name)) {
      const printed = orders.map((e) => runInThisContext(`(x) => ${formatTypeScript(e)}`) as (x: number) => number);
      points.forEach((point, i) =>
        printed.forEach((fn, order) => assert.ok(isClose(fn(point), found[i]![order]!, 1e-12), `${order} at ${point}`)),
      );
    }
    // All of them are flat or straight far out: x, or 0, or 1.
    for (const [i, point] of points.entries()) {
      if (Math.abs(point) < 300) continue;
      const [value, first, second, third] = found[i]!;
      const limits = [-1, 0, 1, Math.max(point, 0)];
      assert.ok(
        limits.some((limit) => isClose(value!, limit, 1e-12)),
        `${value} at ${point}`,
      );
      assert.ok(
        [0, 1].some((limit) => isClose(first!, limit, 1e-12)),
        `${first} at ${point}`,
      );
      assert.ok(Math.abs(second!) < 1e-12 && Math.abs(third!) < 1e-12, `${second}, ${third} at ${point}`);
    }
  });
}

test("formulas whose parts leave the range of float64 have the values of arbitrary precision", () => {
  const big = new BigFloats(200);
  const b = (value: number): BigFloat => bigFloat(value);
  const expressions = [
    "(x, y) => Math.exp(x) / (Math.exp(x) + Math.exp(y))",
    "(x, y) => Math.log(Math.exp(x) + Math.exp(y))",
  ];
  const at = evaluator(
    expressions.map((text) => symbolic(text).body),
    ["x", "y"],
  );
  const size = fc.double({ min: -9000, max: 9000, noNaN: true });
  const property = fc.property(size, fc.double({ min: -40, max: 40, noNaN: true }), (px, apart) => {
    const py = px + apart;
    const [share, logSum] = at(px, py) as unknown as [number, number];
    const difference = big.sub(b(py), b(px));
    const other = big.exp(difference);
    assert.ok(isClose(share, toFloat64(big.div(b(1), big.add(b(1), other))), 1e-11), `${share} at ${px}, ${py}`);
    assert.ok(isClose(logSum, toFloat64(big.add(b(px), big.log(big.add(b(1), other)))), 1e-12), `${logSum}`);
  });
  fc.assert(property, { seed: 5, numRuns: 100 });
});

test("known derivatives and their notation", () => {
  const silu = symbolic((v: number) => v / (1 + Math.exp(-v)));
  assert.equal(formatExpression(silu.body), "v * sigmoid(v)");
  assert.equal(formatTypeScript(silu.body), "v / (1 + Math.exp(-v))");
  assert.equal(symbolic("(v) => v * Math.exp(v) / (1 + Math.exp(v))").body, silu.body);
  assert.equal(formatExpression(simplify(derive(silu.body, "v"))), "sigmoid(v) + v * sigmoid(v) * sigmoid(-v)");
  const third = derive(derive(derive(call("tanh", x), "x"), "x"), "x");
  assert.equal(formatExpression(simplify(third)), "(6 * tanh(x)^2 - 2) * (1 - tanh(x)^2)");
  assert.equal(formatLatex(symbolic("(x) => 3 * x ** 2 / Math.sqrt(x + 1)").body), "\\frac{3 x^{2}}{\\sqrt{x + 1}}");
  assert.equal(simplify(sum(power(call("sin", x), 2), power(call("cos", x), 2))), number(1));
  assert.equal(simplify(symbolic("(x) => (x ** 2 - 1) - (x - 1) * (x + 1)").body), number(0));
  assert.equal(symbolic("(x) => 0.1 + 0.2").body, number(0.3), "literals are exact");
  assert.equal(power(power(x, 2), 0.5), call("abs", x));
});

test("common subexpressions are computed once and named past the variables", () => {
  const { body } = symbolic("(t0) => Math.exp(-t0) * (1 + Math.exp(-t0)) / (2 + Math.exp(-t0))");
  assert.deepEqual([...commonSubexpressions([body]).values()], ["t1"]);
  assert.equal(formatTypeScriptFunction(body).match(/Math\.exp/g)?.length, 1);
});

const rejected: readonly (readonly [text: string, message: RegExp])[] = [
  ["(x) => x +", /expected a value.*line 1, column 11/s],
  ["(x) => y", /name y is not known.*constants/s],
  ["(x) => Math.random()", /Math.random has no derivative rule/],
  ["(x) => Math.exp(x, x)", /takes 1 here, not 2/],
  ["(x) => Math.sigmoid(x)", /Math.sigmoid has no derivative rule/],
  ["(x) => x < 1", /a condition, and a number is needed/],
  ["(x) => x ? 1 : 2", /a number, and a condition is needed/],
  ["(x) => { for (;;) {} }", /expected a declaration, if or return/],
  ["(x) => 1 + -x ** 2", /ambiguous/],
  ["(x: string) => x", /only numbers/],
  ["(x, x) => x", /two parameters/],
  ["(x) => x % 2", /the function ends here/],
  ["(x) => `${x}`", /no meaning here/],
  ["function f(x) { return x; }", /=>/],
  [`(x) => ${"(".repeat(5000)}x`, /nested deeper than 200/],
  [`(x) => ${"x + ".repeat(10_000)}x`, /too long/],
];
for (const [text, message] of rejected) {
  test(`refused with its place: ${text.slice(0, 40)}`, () => {
    assert.throws(
      () => symbolic(text),
      (error: unknown) => error instanceof SymbolicError && message.test(error.message),
    );
  });
}

test("any text gives an expression or a named error", () => {
  const words = [
    "x",
    "(",
    ")",
    "=>",
    "{",
    "}",
    "return",
    "if",
    "+",
    "-",
    "**",
    "Math",
    ".",
    "exp",
    "1",
    "?",
    ":",
    "<",
    ",",
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...words), { maxLength: 20 }), (parts) => {
      try {
        symbolic(`(x) => ${parts.join(" ")}`);
      } catch (error) {
        assert.ok(error instanceof SymbolicError, String(error));
      }
    }),
    { seed: 4, numRuns: 2000 },
  );
});

test("graphs of elementwise ops are formulas, and formulas are graphs", () => {
  type Vector = Tensor<readonly number[], "f64">;
  const activation = (v: Vector): Vector =>
    T.select(T.lt(v, 0), T.mul(T.sub(T.exp(v), 1), 0.1), T.div(v, T.add(v, 1))) as Vector;
  const { graph } = trace("activation", activation, [tensorType("f64", [3])]);
  const { parameters, body } = fromGraph(graph);
  assert.equal(body, symbolic("(x0) => x0 < 0 ? 0.1 * (Math.exp(x0) - 1) : x0 / (x0 + 1)").body);
  const slope = simplify(derive(body, parameters[0]!));
  const values = { type: { dtype: "f64", shape: [3] } as const, data: Float64Array.of(-1.5, 0.25, 3) };
  const both = trace(
    "both",
    (v: Vector) => [toTensor(slope, { x0: v }), grad((w: Vector) => reduceSum(activation(w)))(v)],
    [tensorType("f64", [3])],
  );
  const [formula, reverse] = interpret(both.graph, [values]);
  formula!.data.forEach((value, i) => assert.ok(isClose(value, reverse!.data[i]!, 1e-12)));
  const mixing = trace("sum", (v: Vector) => reduceSum(v), [tensorType("f64", [3])]);
  assert.throws(() => fromGraph(mixing.graph), /reduce_sum is not a formula of single elements/);
});

test("breaks are found where they are, and only there", () => {
  const of = (text: string): string[] =>
    findBreaks(symbolic(text).body, { from: -3, to: 3 }).map(({ at, order, kind }) => `${kind} ${order} at ${at}`);
  assert.deepEqual(of("(x) => x < 0 ? 0.1 * (Math.exp(x) - 1) : x / (1 + x)"), ["jump 1 at 0"]);
  assert.deepEqual(of("(x) => Math.max(x, 0) ** 2"), ["jump 2 at 0"]);
  assert.deepEqual(of("(x) => Math.abs(x) ** 2 + Math.tanh(x)"), []);
  assert.deepEqual(of("(x) => 1 / (x - 1)"), ["pole 0 at 1"]);
  assert.deepEqual(of("(x) => Math.sqrt(Math.abs(x))"), ["pole 1 at 0"]);
  assert.deepEqual(of("(x) => x < -0.5 ? -1 : x > 0.5 ? 1 : 0"), ["jump 0 at -0.5", "jump 0 at 0.5"]);
  assert.deepEqual(of("(x) => Math.round(x / 2)"), ["jump 0 at -1", "jump 0 at 1"]);
  assert.deepEqual(of("(x) => x / (1 + Math.exp(-x))"), []);
});
