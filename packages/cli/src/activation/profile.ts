// What there is to know about an activation function before it goes into a network or into hardware: its formula with
// three derivatives, its values over an interval, and where it or a derivative breaks.

import { derive, evaluator, findBreaks, simplify, symbolic, variablesOf } from "@fidelity/furnace/symbolic";
import type { Break, Expression } from "@fidelity/furnace/symbolic";
import { nearestName } from "@fidelity/models";
import { UsageError } from "../errors.ts";
import { ACTIVATIONS } from "./named.ts";

/** Derivatives up to the third, as seed text for the picture and the table. */
export const ORDER_MAX = 3;

export interface Profile {
  readonly text: string;
  /** The function, then its derivatives by order. */
  readonly formulas: readonly Expression[];
  /** Rows of x, f(x), f'(x), f''(x), f'''(x). */
  readonly samples: readonly (readonly number[])[];
  readonly breaks: readonly Break[];
}

export interface Interval {
  readonly from: number;
  readonly to: number;
}

/** Reads the function, a name or the text of an arrow function, and samples it at `count` evenly spaced points. */
export function profileActivation(given: string, { from, to }: Interval, count: number): Profile {
  const text = Object.hasOwn(ACTIVATIONS, given) ? ACTIVATIONS[given] : given;
  if (!text.includes("=>")) {
    throw new UsageError(`there is no activation called ${given}`, {
      expected: `one of ${Object.keys(ACTIVATIONS).join(", ")}, or an arrow function`,
      hint: `did you mean ${nearestName(given, Object.keys(ACTIVATIONS))}? Others are written "(x) => Math.tanh(x)"`,
    });
  }
  const { body, parameters } = symbolic(text);
  const [name = "x", ...others] = parameters;
  if (others.length > 0 || parameters.length === 0) {
    throw new UsageError("an activation is a function of one number", { got: `parameters ${parameters.join(", ")}` });
  }
  const formulas = [simplify(body)];
  while (formulas.length <= ORDER_MAX) formulas.push(simplify(derive(formulas.at(-1)!, name)));
  const values = evaluator(formulas, [name]);
  const samples = Array.from({ length: count }, (_, i) => {
    const x = from + ((to - from) * i) / (count - 1);
    return [x, ...values(x)];
  });
  const breaks = variablesOf(body).length === 0 ? [] : findBreaks(body, { from, to, orders: ORDER_MAX });
  return { text, formulas, samples, breaks };
}

const ORDER_NAMES = ["the function", "the first derivative", "the second derivative", "the third derivative"] as const;

/** A sentence for a person who is about to train with it. */
export function describeBreak({ at, order, kind, left, right }: Break): string {
  const what = ORDER_NAMES[order]!;
  if (kind === "jump") return `${what} jumps from ${short(left)} to ${short(right)} at ${short(at)}`;
  if (kind === "pole") return `${what} is unbounded at ${short(at)}`;
  return `${what} is not defined ${Number.isNaN(left) ? "left" : "right"} of ${short(at)}`;
}

/** What it means for training. */
export function adviseOn({ order, kind }: Break): string {
  if (kind === "pole") return "gradients near it have no bound";
  if (kind === "edge") return "inputs there give NaN";
  if (order === 0) return "gradients do not see it: train with a surrogate, such as a straight-through estimator";
  if (order === 1) return "gradients differ on both sides, as for relu";
  return "gradients are continuous; second-order methods see it";
}

/** Six digits, and no noise of rounding around zero. */
export function short(value: number): string {
  const rounded = Math.abs(value) < 1e-12 ? 0 : Number(value.toPrecision(6));
  return String(rounded);
}
