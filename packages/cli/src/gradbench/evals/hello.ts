// hello: x squared, and its derivative.

import { square } from "@fidelity/core";
import { grad } from "@fidelity/furnace";
import { oneNumber } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { readNumber } from "../input.ts";
import { f64 } from "../programs.ts";
import type { Scalar64 } from "../programs.ts";

const squared = (x: Scalar64): Scalar64 => square(x);

const ofNumber = (input: unknown, fn: (x: Scalar64) => Scalar64): Problem => {
  return { types: [f64()], values: [[readNumber(input)]], fn, answer: oneNumber };
};

export const hello: Evaluation = {
  square: (input) => ofNumber(input, squared),
  double: (input) => ofNumber(input, grad(squared)),
};
