// The functions that symbolic expressions may call: how each is evaluated, its symmetry, its exact value at 0 and its
// name in LaTeX. Their derivatives are in derive.ts and where they break in breaks.ts, which are total over this table.

export interface FunctionFacts {
  readonly arity: 1 | 2;
  readonly evaluate: (a: number, b: number) => number;
  /** f(-x) is f(x), or -f(x). */
  readonly symmetry?: "even" | "odd";
  /** f(0), where that is a fraction. */
  readonly atZero?: number;
  readonly latex: string;
}

const unary = (evaluate: (a: number) => number, latex: string, more: Partial<FunctionFacts> = {}): FunctionFacts => ({
  arity: 1,
  evaluate,
  latex,
  ...more,
});
const odd = { symmetry: "odd", atZero: 0 } as const;

/**
 * Each has the name that it has in JavaScript's `Math`, which has no sigmoid: 1 / (1 + e^-x) is that one wherever it is
 * met, since its derivatives are products of sigmoids, and of exponentials they would be quotients that overflow.
 */
export const FUNCTIONS = {
  exp: unary(Math.exp, "\\exp", { atZero: 1 }),
  expm1: unary(Math.expm1, "\\operatorname{expm1}", { atZero: 0 }),
  log: unary(Math.log, "\\log"),
  log1p: unary(Math.log1p, "\\operatorname{log1p}", { atZero: 0 }),
  sigmoid: unary((a) => 1 / (1 + Math.exp(-a)), "\\sigma", { atZero: 0.5 }),
  sin: unary(Math.sin, "\\sin", odd),
  cos: unary(Math.cos, "\\cos", { symmetry: "even", atZero: 1 }),
  tan: unary(Math.tan, "\\tan", odd),
  asin: unary(Math.asin, "\\arcsin", odd),
  acos: unary(Math.acos, "\\arccos"),
  atan: unary(Math.atan, "\\arctan", odd),
  atan2: { arity: 2, evaluate: Math.atan2, latex: "\\operatorname{atan2}" },
  sinh: unary(Math.sinh, "\\sinh", odd),
  cosh: unary(Math.cosh, "\\cosh", { symmetry: "even", atZero: 1 }),
  tanh: unary(Math.tanh, "\\tanh", odd),
  asinh: unary(Math.asinh, "\\operatorname{arsinh}", odd),
  acosh: unary(Math.acosh, "\\operatorname{arcosh}"),
  atanh: unary(Math.atanh, "\\operatorname{artanh}", odd),
  cbrt: unary(Math.cbrt, "\\operatorname{cbrt}", odd),
  abs: unary(Math.abs, "\\operatorname{abs}", { symmetry: "even", atZero: 0 }),
  sign: unary(Math.sign, "\\operatorname{sgn}", odd),
  floor: unary(Math.floor, "\\operatorname{floor}", { atZero: 0 }),
  ceil: unary(Math.ceil, "\\operatorname{ceil}", { atZero: 0 }),
  trunc: unary(Math.trunc, "\\operatorname{trunc}", odd),
  round: unary(Math.round, "\\operatorname{round}", { atZero: 0 }),
  min: { arity: 2, evaluate: Math.min, latex: "\\min" },
  max: { arity: 2, evaluate: Math.max, latex: "\\max" },
} as const satisfies Readonly<Record<string, FunctionFacts>>;

export type FunctionName = keyof typeof FUNCTIONS;

/** The facts of a function, without the literal types of the table. */
export const factsOf = (name: FunctionName): FunctionFacts => FUNCTIONS[name];

/** Whether it is a function of `Math` that has a rule here. */
export const isMathFunction = (name: string): name is FunctionName =>
  Object.hasOwn(FUNCTIONS, name) && Object.hasOwn(Math, name);
