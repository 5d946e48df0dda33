// A running average of the weights beside any optimiser (Polyak and Juditsky 1992; as exponential decay since Tieleman
// and Hinton's RMSProp lecture, 2012). The average is what one evaluates; training does not see it.

import { add, broadcastTo, cast, flattenTree, isTensor, lt, mul, select } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { withLeaves } from "../tangent.ts";
import type { Optimizer, OptimizerState } from "./optimizer.ts";

/**
 * `optimizer`, with `average` in its state: decay average + (1 - decay) parameters, from the parameters of the first
 * step on. `decay` is from 0 to 1, such as 0.999.
 */
export function withEma(optimizer: Optimizer, decay: number): Optimizer {
  return {
    init<T>(types: T): OptimizerState<T> {
      return { ...optimizer.init(types), average: types };
    },
    update(params, grads, { average, ...state }, inputs) {
      const updated = optimizer.update(params, grads, state, inputs);
      const before = flattenTree(average, isTensor).map(({ leaf }) => leaf as Float);
      const averages = flattenTree(updated.params, isTensor).map(({ leaf }, i) => {
        const value = leaf as Float;
        const mixed = add(mul(before[i]!, decay), mul(value, 1 - decay)) as Float;
        const isFirst = broadcastTo(lt(cast(inputs.step, value.dtype) as Float, 1.5) as Tensor, value.shape);
        return select(isFirst as never, value, mixed);
      });
      return { params: updated.params, state: { ...updated.state, average: withLeaves(params, averages) } };
    },
  };
}
