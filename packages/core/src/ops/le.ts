// le: whether one number is not above another. NaN compares false.

import { comparison } from "./compare.ts";
import { binary } from "./elementwise.ts";

export const leOp = comparison("le", "<=", (a, b) => a <= b);

/** Whether a is not above b, elementwise; a bool tensor. */
export const le = binary<"le", "bool">(leOp);
