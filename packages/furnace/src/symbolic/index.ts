// Symbolic differentiation of scalar functions.

export {
  call,
  comparing,
  difference,
  negated,
  number,
  pi,
  power,
  product,
  quotient,
  select,
  squareRoot,
  substituteVariables,
  sum,
  variable,
} from "./build.ts";
export { findBreaks } from "./breaks.ts";
export type { Break, BreakOptions } from "./breaks.ts";
export { derive } from "./derive.ts";
export { evaluator } from "./evaluate.ts";
export type { Evaluator } from "./evaluate.ts";
export { SymbolicError, variablesOf } from "./expression.ts";
export type { Condition, Expression } from "./expression.ts";
export { fromGraph, toTensor } from "./graph.ts";
export { symbolic } from "./parse.ts";
export type { ParseOptions, SymbolicFunction } from "./parse.ts";
export { formatExpression, formatLatex, formatTypeScript, formatTypeScriptFunction } from "./print.ts";
export { commonSubexpressions } from "./share.ts";
export { costOf, simplify } from "./simplify.ts";
