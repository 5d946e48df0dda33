// cross_entropy: the negative log-probability of one target a row. The target is picked by comparing an iota with it,
// so that the loss and its derivative stay one loop over the row. A target outside the row is an error of the caller:
// the reference refuses it, compiled programs pick nothing.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import type { NoAttrs } from "./elementwise.ts";
import { eq } from "./eq.ts";
import { exp } from "./exp.ts";
import { hostRows } from "./gather.ts";
import { iota } from "./iota.ts";
import { log } from "./log.ts";
import { logSoftmaxRow } from "./log_softmax.ts";
import { reduceSum } from "./reduce_sum.ts";
import { reshape } from "./reshape.ts";
import { select } from "./select.ts";
import { shifted } from "./softmax.ts";
import { sub } from "./sub.ts";

export const crossEntropyOp: OpDef<NoAttrs> = {
  name: "cross_entropy",
  summary: "y[n] = ln(sum over v of e^x[n, v]) - x[n, targets[n]]",
  infer(inputs) {
    const [logits, targets] = inputs as [TensorType, TensorType];
    requireShape(isFloat(logits.dtype), "cross_entropy", `does not work on ${logits.dtype}`, inputs);
    requireShape(targets.dtype === "i32", "cross_entropy", "the targets are not i32", inputs);
    const fits = logits.shape.length > 0 && sameShape(logits.shape.slice(0, -1), targets.shape);
    requireShape(fits, "cross_entropy", "the logits are not [targets..., classes]", inputs);
    return [{ dtype: logits.dtype, shape: targets.shape }];
  },
  evaluate([logits, targets], _attrs, [type]) {
    const classes = logits!.type.shape[logits!.type.shape.length - 1]!;
    const logProbabilities = new Float64Array(classes);
    const data = new Float64Array(elementCount(type!.shape));
    hostRows("cross_entropy", targets!, classes).forEach((target, n) => {
      logSoftmaxRow(logits!.data.subarray(n * classes, (n + 1) * classes), logProbabilities);
      data[n] = -logProbabilities[target]!;
    });
    return [{ type: type!, data }];
  },
  derivative: { kind: "expand" },
  lowering: {
    kind: "expand",
    expand([logits, targets]) {
      const z = shifted(logits!);
      const isTarget = eq(iota(z.shape, "i32"), reshape(targets as Tensor<Shape, "i32">, [...targets!.shape, 1]));
      const picked = reduceSum(select(isTarget, z, 0), -1, true);
      const loss = sub(log(reduceSum(exp(z), -1, true)), picked);
      return [reshape(loss, targets!.shape)];
    },
  },
  sample(draw) {
    const [rows, classes] = [draw.int(1, 7), draw.int(1, 19)];
    return {
      inputs: [
        { dtype: "f32", shape: [rows, classes] },
        { dtype: "i32", shape: [rows] },
      ],
      attrs: {},
      ranges: [
        [-4, 4],
        [0, classes - 1],
      ],
    };
  },
};

/** The loss in nats of each row of `logits` [targets..., classes] for the class numbers in `targets`: [targets...]. */
export function crossEntropy<T extends Shape, D extends FloatDtype>(
  logits: Tensor<Shape, D>,
  targets: Tensor<T, "i32">,
): Tensor<T, D> {
  return emitOne(crossEntropyOp, [logits, targets], {}) as unknown as Tensor<T, D>;
}
