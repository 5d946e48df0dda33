// Stochastic gradient descent with momentum in PyTorch's form: b = momentum b + g, p = p - rate b. Unlike PyTorch's
// first step, which copies the gradient, the buffer starts at zero: the two are the same.

import { add, cast, mul, sub } from "@fidelity/core";
import { leafwise } from "./optimizer.ts";
import type { LeafStep, Optimizer, StepInputs } from "./optimizer.ts";
import type { RowsMode } from "./variants.ts";

export interface SgdOptions {
  /** 0 by default: plain gradient descent, without state. */
  readonly momentum?: number;
  /** Step along the gradient plus momentum times the new buffer (Sutskever et al., 2013). */
  readonly nesterov?: boolean;
  /**
   * With momentum, what a sparse gradient does to rows that it does not name: "exact" (the default) moves them on,
   * "lazy" leaves them and their momentum alone. Without momentum they stay anyway.
   */
  readonly rows?: RowsMode;
}

/** Gradient descent. State: `momentum`, where there is any. */
export function sgd({ momentum = 0, nesterov = false, rows }: SgdOptions = {}): Optimizer {
  const names = momentum === 0 ? [] : ["momentum"];
  const start =
    ({ learningRate }: StepInputs): LeafStep =>
    ({ value, grad, moments: [buffer] }) => {
      const rate = cast(learningRate, value.dtype);
      if (buffer === undefined) return [sub(value, mul(rate, grad))];
      const next = add(mul(buffer, momentum), grad);
      const direction = nesterov ? add(grad, mul(next, momentum)) : next;
      return [sub(value, mul(rate, direction)), next];
    };
  return leafwise("sgd", names, start, { elementwise: true, rows: momentum === 0 ? "lazy" : rows });
}
