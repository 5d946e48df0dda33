// Physical units in the type system: what a number means, as exponents of the seven base units of the SI. Types only,
// erased at run time. Exponents are small whole numbers, added by looking them up, which costs the compiler little
// (arithmetic by counting tuples costs a hundred times more).
// Left out: scales (kilometres), affine units (degrees Celsius), angles, and exponents beyond -6..6, which turn into
// `number` and are not checked any more.

/** Exponents of metre, kilogram, second, ampere, kelvin, mole and candela. */
export type Unit = readonly [m: number, kg: number, s: number, A: number, K: number, mol: number, cd: number];

/** Units by their names. */
export interface NamedUnits {
  readonly "1": readonly [0, 0, 0, 0, 0, 0, 0];
  readonly m: readonly [1, 0, 0, 0, 0, 0, 0];
  readonly kg: readonly [0, 1, 0, 0, 0, 0, 0];
  readonly s: readonly [0, 0, 1, 0, 0, 0, 0];
  readonly A: readonly [0, 0, 0, 1, 0, 0, 0];
  readonly K: readonly [0, 0, 0, 0, 1, 0, 0];
  readonly mol: readonly [0, 0, 0, 0, 0, 1, 0];
  readonly cd: readonly [0, 0, 0, 0, 0, 0, 1];
  readonly Hz: readonly [0, 0, -1, 0, 0, 0, 0];
  readonly "m/s": readonly [1, 0, -1, 0, 0, 0, 0];
  readonly "m/s^2": readonly [1, 0, -2, 0, 0, 0, 0];
  readonly N: readonly [1, 1, -2, 0, 0, 0, 0];
  readonly "N/m": readonly [0, 1, -2, 0, 0, 0, 0];
  readonly Pa: readonly [-1, 1, -2, 0, 0, 0, 0];
  readonly J: readonly [2, 1, -2, 0, 0, 0, 0];
  readonly W: readonly [2, 1, -3, 0, 0, 0, 0];
  readonly C: readonly [0, 0, 1, 1, 0, 0, 0];
  readonly V: readonly [2, 1, -3, -1, 0, 0, 0];
  readonly ohm: readonly [2, 1, -3, -2, 0, 0, 0];
}

export type UnitName = keyof NamedUnits;

/** The unit of a name, or the unit itself. */
export type UnitOf<U extends UnitName | Unit> = U extends UnitName ? NamedUnits[U] : U;

interface IndexOf {
  "-6": 0;
  "-5": 1;
  "-4": 2;
  "-3": 3;
  "-2": 4;
  "-1": 5;
  "0": 6;
  "1": 7;
  "2": 8;
  "3": 9;
  "4": 10;
  "5": 11;
  "6": 12;
}

/** a + b at [a][index of b]. */
interface Sums {
  "-6": [number, number, number, number, number, number, -6, -5, -4, -3, -2, -1, 0];
  "-5": [number, number, number, number, number, -6, -5, -4, -3, -2, -1, 0, 1];
  "-4": [number, number, number, number, -6, -5, -4, -3, -2, -1, 0, 1, 2];
  "-3": [number, number, number, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3];
  "-2": [number, number, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4];
  "-1": [number, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5];
  "0": [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6];
  "1": [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, number];
  "2": [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, number, number];
  "3": [-3, -2, -1, 0, 1, 2, 3, 4, 5, 6, number, number, number];
  "4": [-2, -1, 0, 1, 2, 3, 4, 5, 6, number, number, number, number];
  "5": [-1, 0, 1, 2, 3, 4, 5, 6, number, number, number, number, number];
  "6": [0, 1, 2, 3, 4, 5, 6, number, number, number, number, number, number];
}

/** -a. */
interface Negated {
  "-6": 6;
  "-5": 5;
  "-4": 4;
  "-3": 3;
  "-2": 2;
  "-1": 1;
  "0": 0;
  "1": -1;
  "2": -2;
  "3": -3;
  "4": -4;
  "5": -5;
  "6": -6;
}

type Sum<A, B> = A extends number
  ? B extends number
    ? `${A}` extends keyof Sums
      ? `${B}` extends keyof IndexOf
        ? Sums[`${A}`][IndexOf[`${B}`]]
        : number
      : number
    : never
  : never;

type Negation<A> = A extends number ? (`${A}` extends keyof Negated ? Negated[`${A}`] : number) : never;

/** The unit of a product. */
export type MultiplyUnits<A extends Unit, B extends Unit> = {
  readonly [I in keyof A]: I extends keyof B ? Sum<A[I], B[I]> : never;
};

/** The unit of a quotient, and so of the derivative of something in `A` by something in `B`. */
export type DivideUnits<A extends Unit, B extends Unit> = {
  readonly [I in keyof A]: I extends keyof B ? Sum<A[I], Negation<B[I]>> : never;
};
