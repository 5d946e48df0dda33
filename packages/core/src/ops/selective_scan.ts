// selective_scan: the state-space recurrence of Mamba (Gu and Dao 2023, arXiv 2312.00752, algorithm 2), whose step size
// and gates read the input:
//   h_t[d, n] = exp(delta_t[d] a[d, n]) h_{t-1}[d, n] + delta_t[d] b_t[n] x_t[d],   y_t[d] = sum_n c_t[n] h_t[d, n]
// Left out: the skip d x_t, which is elementwise, and complex a.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emit } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { emitTangent } from "./composed_derivatives.ts";
import type { NoAttrs } from "./elementwise.ts";
import { lowerSelectiveScan } from "./kernels/selective_scan.ts";
import { selectiveScanTangentOp } from "./selective_scan_grad.ts";
import { requireScan, sampleScan, scanDims, scanTypes } from "./selective_scan_parts.ts";
import { splat } from "./splat.ts";

/** Inputs: delta, a, b, c, x, state. Results: y, and the state after the last step. */
export const selectiveScanOp: OpDef<NoAttrs> = {
  name: "selective_scan",
  summary: "h_t = exp(delta_t a) h_{t-1} + delta_t b_t x_t, y_t = c_t h_t",
  infer(inputs) {
    requireScan("selective_scan", inputs);
    return [inputs[4]!, inputs[5]!];
  },
  evaluate(inputs, _attrs, [yType, stateType]) {
    const [delta, a, b, c, x, state] = inputs.map(({ data }) => data) as Float64Array[];
    const { batch, time, channels, states } = scanDims(inputs[0]!.type, inputs[1]!.type);
    const y = new Float64Array(x!.length);
    const h = state!.slice();
    for (let bt = 0; bt < batch * time; bt++) {
      const first = Math.floor(bt / time) * channels * states;
      for (let dn = 0; dn < channels * states; dn++) {
        const [d, n] = [Math.floor(dn / states), dn % states];
        const [at, gate] = [bt * channels + d, bt * states + n];
        h[first + dn] = Math.exp(delta![at]! * a![dn]!) * h[first + dn]! + delta![at]! * b![gate]! * x![at]!;
        y[at]! += c![gate]! * h[first + dn]!;
      }
    }
    return [
      { type: yType!, data: y },
      { type: stateType!, data: h },
    ];
  },
  derivative: { kind: "rules", jvp: ({ inputs }, tangents) => emitTangent(selectiveScanTangentOp, inputs, tangents) },
  lowering: { kind: "kernel", inPlace: 5, inPlaceResult: 1, lower: lowerSelectiveScan },
  sample(draw) {
    const { dims, ranges } = sampleScan(draw);
    return { inputs: scanTypes(dims), attrs: {}, ranges };
  },
};

type Floats = Tensor<Shape, "f32">;

/** The inputs of `selectiveScan`. */
export interface SelectiveScanInputs {
  /** Step sizes, [batch, time, channels]; not negative. */
  readonly delta: Floats;
  /** Rates, [channels, states]; negative, so that states decay. */
  readonly a: Floats;
  /** What goes into the states, [batch, time, states]. */
  readonly b: Floats;
  /** What is read from them, [batch, time, states]. */
  readonly c: Floats;
  /** [batch, time, channels]. */
  readonly x: Floats;
  /** h before the first step, [batch, channels, states]; zeros where absent. */
  readonly state?: Floats | undefined;
}

/** The results of `selectiveScan`. */
export interface SelectiveScanResult {
  /** [batch, time, channels]. */
  readonly y: Floats;
  /** h after the last step, [batch, channels, states]. */
  readonly state: Floats;
}

/**
 * The selective scan h_t = exp(delta_t a) h_{t-1} + delta_t b_t x_t, y_t = c_t . h_t, of every channel. Its derivatives
 * keep no states.
 * @throws ShapeMismatchError when shapes do not fit.
 */
export function selectiveScan({ delta, a, b, c, x, state }: SelectiveScanInputs): SelectiveScanResult {
  const first = state ?? splat(0, [delta.shape[0] ?? 1, ...a.shape] as TensorType["shape"]);
  const [y, last] = emit(selectiveScanOp, [delta, a, b, c, x, first], {});
  return { y, state: last } as SelectiveScanResult;
}
