// Extended precision: numbers of more digits than float64, exact sums, and where they pay.

export { BigFloats, bigFloat, PrecisionError, toFloat64, toPair as toFloatPair } from "./bigfloat.ts";
export type { BigFloat } from "./bigfloat.ts";
export { bigTensor, evaluateBig, NoOracleRuleError } from "./oracle.ts";
export type { BigTensor } from "./oracle.ts";
export { compensated, rounded } from "./compensated.ts";
export { pairs, pairsIn } from "./double_double.ts";
export type { PairLike, Pairs } from "./double_double.ts";
export { accumulations, doubleDouble, extendGraph, NoExtendedRuleError, withPrecision } from "./extend.ts";
export type { PairOrTensorTree, PairTree, Precision, PrecisionPolicy } from "./extend.ts";
export { conditionNumbers } from "./condition.ts";
export type { OpCondition } from "./condition.ts";
export { formatStability, stabilitySvg } from "./report.ts";
export { choosing, gradientStability } from "./stability.ts";
export type { LeafStability, StabilityOptions, StabilityReport } from "./stability.ts";
