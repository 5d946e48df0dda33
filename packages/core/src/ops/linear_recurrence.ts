// linear_recurrence: the gated recurrence h_t = f_t h_{t-1} + i_t, channel by channel, as in MLGRU (Zhu et al. 2024,
// arXiv 2406.02528, section 3.3) and HGRN (Qin et al. 2023, arXiv 2311.04823). It is linear in i and h_0 together; its
// adjoint is the same recurrence run backwards (linear_recurrence_adjoint).

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { CaseDraw, OpCase, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { add } from "./add.ts";
import { concat } from "./concat.ts";
import type { NoAttrs } from "./elementwise.ts";
import { lowerLinearRecurrence } from "./kernels/linear_recurrence.ts";
import { linearRecurrenceAdjoint } from "./linear_recurrence_adjoint.ts";
import { mul } from "./mul.ts";
import { reshape } from "./reshape.ts";
import { slice } from "./slice.ts";
import { splat, zerosLike } from "./splat.ts";

export const linearRecurrenceOp: OpDef<NoAttrs> = {
  name: "linear_recurrence",
  summary: "h_t = f_t h_{t-1} + i_t",
  infer(inputs) {
    const [f, i, h0] = inputs as [TensorType, TensorType, TensorType];
    requireSequences("linear_recurrence", f, i, inputs);
    const state = h0.dtype === "f32" && sameShape(h0.shape, [f.shape[0]!, f.shape[2]!]);
    requireShape(state, "linear_recurrence", "the first state is not f32 [batch, channels]", inputs);
    return [i];
  },
  evaluate([f, i, h0], _attrs, [type]) {
    const [batch, time, channels] = type!.shape as [number, number, number];
    const data = new Float64Array(i!.data.length);
    for (let b = 0; b < batch; b++) {
      for (let t = 0; t < time; t++) {
        for (let c = 0; c < channels; c++) {
          const at = (b * time + t) * channels + c;
          const before = t === 0 ? h0!.data[b * channels + c]! : data[at - channels]!;
          data[at] = f!.data[at]! * before + i!.data[at]!;
        }
      }
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [f, i, h0], results: [h] }, [df, di, dh0]) {
      const gate = df && mul(df, statesBefore(h!, h0!));
      const input = gate === undefined ? di : di === undefined ? gate : add(gate, di);
      return [emitOne(linearRecurrenceOp, [f!, input ?? zerosLike(i!), dh0 ?? zerosLike(h0!)], {})];
    },
    transpose({ inputs: [f, , h0] }, [ct], [, inI, inH0]) {
      const adjoint = linearRecurrenceAdjoint(f as Tensor<Shape, "f32">, ct as Tensor<Shape, "f32">);
      const ctH0 = (): Tensor => reshape(mul(firstStep(f!), firstStep(adjoint)), h0!.shape);
      return [undefined, inI ? adjoint : undefined, inH0 ? ctH0() : undefined];
    },
  },
  lowering: { kind: "kernel", inPlace: 1, lower: lowerLinearRecurrence },
  sample: (draw) => {
    const sequence = sampleSequence(draw);
    const [batch, , channels] = sequence.shape;
    return {
      inputs: [sequence, sequence, { dtype: "f32", shape: [batch!, channels!] }],
      attrs: {},
      ranges: [[0, 1], undefined, undefined],
    };
  },
};

/** Requires two equal f32 sequences [batch, time, channels]. */
export function requireSequences(op: string, f: TensorType, x: TensorType, inputs: readonly TensorType[]): void {
  const sequence = f.dtype === "f32" && f.shape.length === 3 && elementCount(f.shape) > 0;
  requireShape(sequence, op, "the gate is not an f32 tensor [batch, time, channels]", inputs);
  requireShape(x.dtype === "f32" && sameShape(f.shape, x.shape), op, "gate and input differ", inputs);
}

/** A random small sequence; wide enough at times for more than one block of channels. */
export function sampleSequence(draw: CaseDraw): OpCase["inputs"][number] {
  return { dtype: "f32", shape: [draw.int(1, 3), draw.int(1, 9), draw.int(1, 75)] };
}

/** x at t = 0: [batch, 1, channels]. */
function firstStep(x: Tensor): Tensor {
  return slice(x, [0, 0, 0], [x.shape[0]!, 1, x.shape[2]!]);
}

/** h_{t-1} for every t: the states one step later, behind the first one. */
function statesBefore(h: Tensor, h0: Tensor): Tensor {
  const [batch, time, channels] = h.shape as [number, number, number];
  const first = reshape(h0, [batch, 1, channels]);
  return time === 1 ? first : concat([first, slice(h, [0, 0, 0], [batch, time - 1, channels])], 1);
}

/**
 * The states h [batch, time, channels] of h_t = f_t h_{t-1} + i_t, from gates `f` and inputs `i` of that shape and the
 * state `h0` [batch, channels] before the first step (zeros when absent).
 * @throws ShapeMismatchError when shapes differ.
 */
export function linearRecurrence<S extends Shape>(
  f: Tensor<S, "f32">,
  i: Tensor<NoInfer<S>, "f32">,
  h0: Tensor<Shape, "f32"> = splat(0, [f.shape[0] ?? 1, f.shape[2] ?? 1]),
): Tensor<S, "f32"> {
  return emitOne(linearRecurrenceOp, [f, i, h0], {}) as unknown as Tensor<S, "f32">;
}
