// Numbers between bounds as grammars of their digits. Bounded numbers are written without an exponent and with at most
// 15 digits, so that what is below a bound in decimals is below it as float64, too.

import { choice, optional, repeat, sequence, set, text } from "../grammar.ts";
import type { GrammarNode } from "../grammar.ts";

/** Digits that float64 holds whatever they are. */
export const EXACT_DIGITS = 15;

const nothing = choice([]);
const digits = (min: number, max: number): GrammarNode => repeat(digitsOf(0, 9), min, max);

function digitsOf(first: number, last: number): GrammarNode {
  return first > last ? nothing : set([[0x30 + first, 0x30 + last]]);
}

/** Integers from `low` to `high`; nothing where there are none. */
export function integersBetween(low: bigint, high: bigint): GrammarNode {
  const options: GrammarNode[] = [];
  if (low < 0n) {
    const least = high < 0n ? -high : 1n;
    options.push(sequence(text("-"), naturalsBetween(least, -low)));
  }
  if (high >= 0n) options.push(naturalsBetween(low > 0n ? low : 0n, high));
  return choice(options);
}

function naturalsBetween(low: bigint, high: bigint): GrammarNode {
  if (low > high) return nothing;
  const options: GrammarNode[] = [];
  const [first, last] = [String(low), String(high)];
  for (let length = first.length; length <= last.length; length++) {
    const from = length === first.length ? first : `1${"0".repeat(length - 1)}`;
    options.push(digitsBetween(from, length === last.length ? last : "9".repeat(length)));
  }
  return choice(options);
}

/** Strings of as many digits as both bounds have, in their order. */
function digitsBetween(low: string, high: string): GrammarNode {
  const [first, last, rest] = [Number(low[0]), Number(high[0]), low.length - 1];
  if (/^0*$/.test(low) && /^9*$/.test(high)) return digits(low.length, low.length);
  if (first === last) return sequence(digitsOf(first, first), digitsBetween(low.slice(1), high.slice(1)));
  return choice([
    sequence(digitsOf(first, first), digitsBetween(low.slice(1), "9".repeat(rest))),
    sequence(digitsOf(first + 1, last - 1), digits(rest, rest)),
    sequence(digitsOf(last, last), digitsBetween("0".repeat(rest), high.slice(1))),
  ]);
}

/** An end of a range of decimals, from 0 on. */
export interface DecimalBound {
  readonly integer: bigint;
  /** Digits after the point, without zeros at their end. */
  readonly fraction: string;
  readonly isExcluded: boolean;
}

/** Decimals from 0 on between bounds, with up to `places` digits after the point. */
export function decimalsBetween(low: DecimalBound, high: DecimalBound, places: number): GrammarNode {
  if (low.integer > high.integer) return nothing;
  if (low.integer === high.integer) return sequence(text(String(low.integer)), fractionBetween(low, high, places));
  return choice([
    sequence(text(String(low.integer)), fractionFrom(low, places)),
    sequence(naturalsBetween(low.integer + 1n, high.integer - 1n), optional(sequence(text("."), digits(1, places)))),
    sequence(text(String(high.integer)), fractionTo(high, places)),
  ]);
}

function fractionFrom({ fraction, isExcluded }: DecimalBound, places: number): GrammarNode {
  if (fraction === "" && !isExcluded) return optional(sequence(text("."), digits(1, places)));
  return sequence(text("."), atLeast(fraction, isExcluded, places));
}

function fractionTo({ fraction, isExcluded }: DecimalBound, places: number): GrammarNode {
  const point = sequence(text("."), atMost(fraction, isExcluded, places, 1));
  return fraction === "" && isExcluded ? nothing : optional(point);
}

function fractionBetween(low: DecimalBound, high: DecimalBound, places: number): GrammarNode {
  if (low.fraction === "" && !low.isExcluded) return fractionTo(high, places);
  return sequence(text("."), between(low.fraction, low.isExcluded, high.fraction, high.isExcluded, places));
}

/** Digits after a point that make at least `bound` there, or more where that is excluded. */
function atLeast(bound: string, isExcluded: boolean, places: number): GrammarNode {
  if (bound === "" && !isExcluded) return digits(0, places);
  if (places === 0) return nothing;
  const first = Number(bound[0] ?? 0);
  return choice([
    sequence(digitsOf(first + 1, 9), digits(0, places - 1)),
    sequence(digitsOf(first, first), atLeast(bound.slice(1), isExcluded, places - 1)),
  ]);
}

/** At least `min` (0 or 1) digits after a point that make at most `bound` there, or less where that is excluded. */
function atMost(bound: string, isExcluded: boolean, places: number, min: number): GrammarNode {
  if (bound === "") return isExcluded ? nothing : repeat(text("0"), min, places);
  const first = Number(bound[0]);
  const some = choice([
    sequence(digitsOf(0, first - 1), digits(0, places - 1)),
    sequence(digitsOf(first, first), atMost(bound.slice(1), isExcluded, places - 1, 0)),
  ]);
  return min === 0 ? optional(some) : some;
}

/** Digits after a point between bounds, of which the lower one is above zero or excluded. */
function between(low: string, noLow: boolean, high: string, noHigh: boolean, places: number): GrammarNode {
  if (high === "" || places === 0) return low === "" && high === "" && !noLow && !noHigh ? digits(0, 0) : nothing;
  const [first, last] = [Number(low[0] ?? 0), Number(high[0])];
  if (first > last) return nothing;
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (first === last) {
    const rest =
      lowRest === "" && !noLow
        ? atMost(highRest, noHigh, places - 1, 0)
        : between(lowRest, noLow, highRest, noHigh, places - 1);
    return sequence(digitsOf(first, first), rest);
  }
  return choice([
    sequence(digitsOf(first, first), atLeast(lowRest, noLow, places - 1)),
    sequence(digitsOf(first + 1, last - 1), digits(0, places - 1)),
    sequence(digitsOf(last, last), atMost(highRest, noHigh, places - 1, 0)),
  ]);
}
