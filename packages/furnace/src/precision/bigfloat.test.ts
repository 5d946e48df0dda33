// Big floats against what is known exactly: float64's own rounding, identities, and published digits.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BigFloat } from "./bigfloat.ts";
import { bigFloat, BigFloats, PrecisionError, toFloat64, toPair } from "./bigfloat.ts";

const double = new BigFloats(53);
const wide = new BigFloats(256);
const numbers = fc.double({ min: -1e100, max: 1e100, noNaN: true }).filter((x) => x === 0 || Math.abs(x) > 1e-100);

/** The first digits of a number between 0 and 10, cut off. */
function digits(x: BigFloat, count: number): string {
  const scale = wide.mul(x, { m: 10n ** BigInt(count - 1), e: 0 });
  const whole = wide.integer(scale, true);
  assert.ok(typeof whole === "object");
  return String(whole.m << BigInt(whole.e));
}

test("with 53 bits, arithmetic rounds as float64 does", () => {
  const property = fc.property(numbers, numbers, (x, y) => {
    const [a, b] = [bigFloat(x), bigFloat(y)];
    assert.equal(toFloat64(double.add(a, b)), x + y);
    assert.equal(toFloat64(double.sub(a, b)), x - y);
    assert.equal(toFloat64(double.mul(a, b)) + 0, x * y + 0);
    if (y !== 0) assert.equal(toFloat64(double.div(a, b)) + 0, x / y + 0);
    assert.equal(toFloat64(double.sqrt(bigFloat(Math.abs(x)))), Math.sqrt(Math.abs(x)));
    assert.equal(Math.sign(double.compare(a, b)), Math.sign(x - y));
  });
  fc.assert(property, { numRuns: 300, seed: 1 });
});

test("every float64 is exact, subnormal numbers included, and comes back", () => {
  for (const x of [1, -1, 0.1, 2 ** -1074, 2 ** -1060 * 3, 1.7976931348623157e308, 2 ** -1022, Infinity, -Infinity]) {
    assert.equal(toFloat64(bigFloat(x)), x);
  }
  assert.ok(Number.isNaN(toFloat64(bigFloat(NaN))));
  // Half of the smallest number goes to even.
  assert.equal(toFloat64({ m: 1n, e: -1075 }), 0);
  assert.equal(toFloat64({ m: 3n, e: -1075 }), 2 ** -1073);
});

test("elementary functions have published digits", () => {
  assert.equal(digits(wide.exp(bigFloat(1)), 50), "27182818284590452353602874713526624977572470936999");
  assert.equal(digits(wide.pi(), 50), "31415926535897932384626433832795028841971693993751");
  assert.equal(digits(wide.log(bigFloat(10)), 50), "23025850929940456840179914546843642076011014886287");
  assert.equal(digits(wide.sqrt(bigFloat(2)), 50), "14142135623730950488016887242096980785696718753769");
  assert.equal(digits(wide.sin(bigFloat(1)), 49), "8414709848078965066525023216302989996225630607983".slice(0, 48));
  assert.equal(digits(wide.tanh(bigFloat(1)), 49), "7615941559557648881194582826047935904127685972579".slice(0, 48));
});

test("functions undo each other, and satisfy their identities, to the last bits", () => {
  const property = fc.property(fc.double({ min: -30, max: 30, noNaN: true }), (x) => {
    const at = bigFloat(x);
    const close = (a: BigFloat, b: BigFloat, what: string): void => {
      const error = wide.abs(wide.sub(a, b));
      assert.ok(toFloat64(error) <= 2 ** -250 * Math.max(1, toFloat64(wide.abs(b))), `${what} at ${x}`);
    };
    close(wide.log(wide.exp(at)), at, "log(exp(x))");
    const [sin, cos] = [wide.sin(at), wide.cos(at)];
    close(wide.add(wide.mul(sin, sin), wide.mul(cos, cos)), bigFloat(1), "sin^2 + cos^2");
    close(wide.tanh(wide.neg(at)), wide.neg(wide.tanh(at)), "tanh(-x)");
  });
  fc.assert(property, { numRuns: 25, seed: 2 });
});

test("a pair is the nearest float64 and the nearest to the rest", () => {
  const third = wide.div(bigFloat(1), bigFloat(3));
  const [hi, lo] = toPair(third);
  assert.equal(hi, 1 / 3);
  assert.ok(Math.abs(lo) < 2 ** -54 && lo !== 0);
  const rest = wide.sub(wide.sub(third, bigFloat(hi)), bigFloat(lo));
  assert.ok(Math.abs(toFloat64(rest)) < 2 ** -107);
});

test("a precision that does not exist is refused", () => {
  for (const bits of [0, -1, 1.5, NaN, 2 ** 20]) assert.throws(() => new BigFloats(bits), PrecisionError);
});
