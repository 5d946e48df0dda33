// linear_recurrence_adjoint: the transpose of linear_recurrence in its inputs, a recurrence that runs back in time:
//   l_t = c_t + f_{t+1} l_{t+1},   l = c at the last step
// It is linear in c, and its transpose is the forward recurrence from a state of zeros.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { add } from "./add.ts";
import { concat } from "./concat.ts";
import type { NoAttrs } from "./elementwise.ts";
import { lowerLinearRecurrenceAdjoint } from "./kernels/linear_recurrence.ts";
import { linearRecurrence, requireSequences, sampleSequence } from "./linear_recurrence.ts";
import { mul } from "./mul.ts";
import { slice } from "./slice.ts";
import { splat, zerosLike } from "./splat.ts";

export const linearRecurrenceAdjointOp: OpDef<NoAttrs> = {
  name: "linear_recurrence_adjoint",
  summary: "l_t = c_t + f_{t+1} l_{t+1}",
  infer(inputs) {
    const [f, c] = inputs as [TensorType, TensorType];
    requireSequences("linear_recurrence_adjoint", f, c, inputs);
    return [c];
  },
  evaluate([f, c], _attrs, [type]) {
    const [batch, time, channels] = type!.shape as [number, number, number];
    const data = new Float64Array(c!.data.length);
    for (let b = 0; b < batch; b++) {
      for (let t = time - 1; t >= 0; t--) {
        for (let at = (b * time + t) * channels; at < (b * time + t + 1) * channels; at++) {
          const after = t === time - 1 ? 0 : f!.data[at + channels]! * data[at + channels]!;
          data[at] = c!.data[at]! + after;
        }
      }
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [f, c], results: [l] }, [df, dc]) {
      const gate = df && stepsAfter(mul(df, l!));
      const input = gate === undefined ? dc : dc === undefined ? gate : add(gate, dc);
      return [emitOne(linearRecurrenceAdjointOp, [f!, input ?? zerosLike(c!)], {})];
    },
    transpose({ inputs: [f] }, [ct]) {
      return [undefined, linearRecurrence(f as Tensor<Shape, "f32">, ct as Tensor<Shape, "f32">)];
    },
  },
  lowering: { kind: "kernel", inPlace: 1, lower: lowerLinearRecurrenceAdjoint },
  sample: (draw) => {
    const sequence = sampleSequence(draw);
    return { inputs: [sequence, sequence], attrs: {}, ranges: [[0, 1], undefined] };
  },
};

/** x_{t+1} for every t, and zeros at the last. */
function stepsAfter(x: Tensor): Tensor {
  const [batch, time, channels] = x.shape as [number, number, number];
  const last = splat(0, [batch, 1, channels]);
  return time === 1 ? last : concat([slice(x, [0, 1, 0], [batch, time, channels]), last], 1);
}

/**
 * The cotangents of the inputs of `linearRecurrence` with gates `f`, from those of its states, `c`; all of them
 * [batch, time, channels].
 * @throws ShapeMismatchError when shapes differ.
 */
export function linearRecurrenceAdjoint<S extends Shape>(
  f: Tensor<S, "f32">,
  c: Tensor<NoInfer<S>, "f32">,
): Tensor<S, "f32"> {
  return emitOne(linearRecurrenceAdjointOp, [f, c], {}) as unknown as Tensor<S, "f32">;
}
