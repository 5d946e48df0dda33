// Evaluating formulas whose parts leave float64's range where the whole does not, as those of e^x / (1 + e^x)^2 do from
// x = 355 on: in numbers m 2^e with the digits of float64 and any exponent. `evaluate.ts` comes here where it met
// something that is not finite. Functions that do not grow like e^x are float64's.

import type { Condition, Expression } from "./expression.ts";
import { factsOf } from "./functions.ts";
import type { FunctionName } from "./functions.ts";
import * as Q from "./rational.ts";

/** m 2^e with 1 <= |m| < 2, or m of 0, infinity or NaN with e = 0. */
interface WideNumber {
  readonly m: number;
  readonly e: number;
}

/** Terms that are so many times smaller change nothing. */
const DIGITS = 60;
/** 2^-1022 is the smallest normal number. */
const LOWEST = -1022;

/** m 2^e for any finite m, zero included. */
function wide(m: number, e = 0): WideNumber {
  if (m === 0 || !Number.isFinite(m)) return { m, e: 0 };
  // Of what is below the normal numbers the logarithm is taken in their range.
  if (Math.abs(m) < 2 ** LOWEST) return wide(m * 2 ** DIGITS, e - DIGITS);
  const k = Math.floor(Math.log2(Math.abs(m)));
  return { m: m * 2 ** -Math.ceil(k / 2) * 2 ** -Math.floor(k / 2), e: e + k };
}

/** The nearest float64. */
function narrow({ m, e }: WideNumber): number {
  if (e > 1023) return m * Infinity;
  return e >= LOWEST ? m * 2 ** e : m * 2 ** LOWEST * 2 ** Math.max(e - LOWEST, -100);
}

function addWide(a: WideNumber, b: WideNumber): WideNumber {
  if (a.m === 0 || !Number.isFinite(b.m)) return Number.isFinite(a.m) ? b : wide(a.m + b.m);
  if (b.m === 0 || !Number.isFinite(a.m)) return a;
  const [large, small] = a.e >= b.e ? [a, b] : [b, a];
  return wide(large.m + small.m * 2 ** Math.max(small.e - large.e, -1000), large.e);
}

const mulWide = (a: WideNumber, b: WideNumber): WideNumber => wide(a.m * b.m, a.e + b.e);

/** a^n, by multiplications where n is a small whole number. */
function powWide(a: WideNumber, exponent: WideNumber): WideNumber {
  const n = narrow(exponent);
  if (Number.isInteger(n) && Math.abs(n) <= 16) {
    let power: WideNumber = wide(1);
    for (let i = 0; i < Math.abs(n); i++) power = mulWide(power, a);
    return n < 0 ? wide(1 / power.m, -power.e) : power;
  }
  if (a.m === 0 || !Number.isFinite(a.m)) return wide(a.m ** n);
  if (n === 0.5 || n === -0.5) {
    // An even exponent halves exactly.
    const root = wide(Math.sqrt(a.m * 2 ** (a.e & 1)), Math.floor(a.e / 2));
    return n > 0 ? root : wide(1 / root.m, -root.e);
  }
  const sign = a.m < 0 ? (Number.isInteger(n) ? (n % 2 === 0 ? 1 : -1) : Number.NaN) : 1;
  const power = expWide(n * Math.log(Math.abs(a.m)) + n * a.e * Math.LN2);
  return { ...power, m: sign * power.m };
}

/** ln 2 in two parts: the first has so few digits that its products with exponents are exact. */
const LN2_HIGH = 0.69314718036912381649;
const LN2_LOW = 1.90821492927058770002e-10;

function expWide(x: number): WideNumber {
  if (!Number.isFinite(x)) return wide(Math.exp(x));
  const k = Math.round(x * Math.LOG2E);
  return wide(Math.exp(x - k * LN2_HIGH - k * LN2_LOW), k);
}

const logWide = ({ m, e }: WideNumber): WideNumber => wide(Math.log(m) + e * Math.LN2);
const half = (a: WideNumber): WideNumber => mulWide(a, wide(0.5));
const negative = ({ m, e }: WideNumber): WideNumber => ({ m: -m, e });

/** The functions whose values leave float64's range where their arguments do not, and the logarithms of such values. */
const GROWING: Readonly<Partial<Record<FunctionName, (a: WideNumber, b: WideNumber) => WideNumber>>> = {
  exp: (a) => expWide(narrow(a)),
  expm1: (a) => addWide(expWide(narrow(a)), wide(-1)),
  sinh: (a) => half(addWide(expWide(narrow(a)), negative(expWide(-narrow(a))))),
  cosh: (a) => half(addWide(expWide(narrow(a)), expWide(-narrow(a)))),
  log: logWide,
  log1p: (a) => logWide(addWide(wide(1), a)),
  abs: ({ m, e }) => ({ m: Math.abs(m), e }),
  min: (a, b) => (isBelow(b, a) || Number.isNaN(b.m) ? b : a),
  max: (a, b) => (isBelow(a, b) || Number.isNaN(b.m) ? b : a),
};

/** A function of the table. Arguments within +-1 are float64's in any case, where it has more digits. */
function callWide(name: FunctionName, a: WideNumber, b: WideNumber): WideNumber {
  const growing = GROWING[name];
  const isSmall = a.e < 0 && b.e < 0 && a.e > LOWEST && b.e > LOWEST;
  return growing === undefined || isSmall ? wide(factsOf(name).evaluate(narrow(a), narrow(b))) : growing(a, b);
}

/** a < b; false for NaN. */
function isBelow(a: WideNumber, b: WideNumber): boolean {
  return addWide(a, negative(b)).m < 0;
}

/** a = b; false for NaN. */
const isSame = (a: WideNumber, b: WideNumber): boolean => narrow(a) === narrow(b) && !isBelow(a, b) && !isBelow(b, a);

/** The values of `parts`, which come before their users, where variables have the values that `valueOf` gives. */
export function evaluateWide(
  parts: readonly (Expression | Condition)[],
  valueOf: (variable: string) => number,
): Map<Expression | Condition, number> {
  const known = new Map<Expression | Condition, WideNumber>();
  for (const part of parts)
    known.set(
      part,
      valueAt(part, (operand) => known.get(operand)!, valueOf),
    );
  return new Map(Array.from(known, ([part, value]) => [part, narrow(value)]));
}

const truth = (value: boolean): WideNumber => wide(Number(value));

/** A condition is 1 or 0. */
function valueAt(
  e: Expression | Condition,
  at: (operand: Expression | Condition) => WideNumber,
  valueOf: (variable: string) => number,
): WideNumber {
  switch (e.kind) {
    case "variable":
      return wide(valueOf(e.name));
    case "number":
      return wide(Q.toNumber(e.value));
    case "constant":
      return wide(Math.PI);
    case "truth":
      return truth(e.value);
    case "sum": {
      const terms = e.terms.map(({ coefficient, of }) => mulWide(wide(Q.toNumber(coefficient)), at(of)));
      return [...terms, wide(Q.toNumber(e.constant))].reduce(addWide);
    }
    case "product":
      return e.factors.map(at).reduce(mulWide);
    case "power":
      return powWide(at(e.base), at(e.exponent));
    case "call":
      return callWide(e.name, at(e.args[0]!), at(e.args[1] ?? e.args[0]!));
    case "select":
      return at(e.condition).m === 0 ? at(e.otherwise) : at(e.then);
    case "not":
      return truth(at(e.of).m === 0);
    case "and":
      return mulWide(at(e.left), at(e.right));
    case "or":
      return truth(at(e.left).m !== 0 || at(e.right).m !== 0);
    case "compare": {
      const [a, b] = [at(e.left), at(e.right)];
      if (e.comparison === "==") return truth(isSame(a, b));
      return truth(isBelow(a, b) || (e.comparison === "<=" && isSame(a, b)));
    }
  }
}
