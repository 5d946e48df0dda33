// mul: x * y. Linear in each factor.

import { add } from "./add.ts";
import { binary, elementwise, NUMERIC, splatValue } from "./elementwise.ts";

export const mulOp = elementwise({
  name: "mul",
  summary: "y = a b",
  arity: 2,
  accepts: NUMERIC,
  scalar: (a, b) => a * b,
  value: (k, a, b) => k.mul(a, b),
  derivative: {
    kind: "rules",
    jvp({ inputs: [a, b] }, [da, db]) {
      const left = da && mul(da, b!);
      const right = db && mul(a!, db);
      return [left === undefined ? right : right === undefined ? left : add(left, right)];
    },
    transpose: ({ inputs: [a, b] }, [ct], [inA, inB]) => [
      inA ? mul(ct!, b!) : undefined,
      inB ? mul(a!, ct!) : undefined,
    ],
  },
  simplify: ([a, b]) => (splatValue(b!) === 1 ? [a!] : splatValue(a!) === 1 ? [b!] : undefined),
});

/** a b, elementwise. */
export const mul = binary<"mul">(mulOp);
