// lt: whether one number is below another. NaN compares false.

import { comparison } from "./compare.ts";
import { binary } from "./elementwise.ts";

export const ltOp = comparison("lt", "<", (a, b) => a < b);

/** Whether a is below b, elementwise; a bool tensor. */
export const lt = binary<"lt", "bool">(ltOp);
