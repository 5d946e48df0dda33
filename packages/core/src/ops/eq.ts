// eq: whether two numbers are the same. NaN compares false.

import { comparison } from "./compare.ts";
import { binary } from "./elementwise.ts";

export const eqOp = comparison("eq", "=", (a, b) => a === b);

/** Whether a equals b, elementwise; a bool tensor. */
export const eq = binary<"eq", "bool">(eqOp);
