// selective_scan_grad: the reverse pass of selective_scan. With g_t the cotangent of the state h_t and w_t the decay
// exp(delta_t a), from the last step to the first:
//   g_t = c_t dy_t + w_{t+1} g_{t+1},   dh_0 = w_1 g_1,   dc_t = sum_d dy_t h_t,   db_t = sum_d g_t delta_t x_t
//   dx_t = delta_t sum_n g_t b_t,   ddelta_t = x_t sum_n g_t b_t + sum_n a w_t g_t h_{t-1}
//   da = sum_t delta_t w_t g_t h_{t-1}
// The states are not kept by the forward pass: kernels compute them again from those at the borders of chunks.

import type { Tensor, TensorType } from "../graph.ts";
import { emit, sameShape } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { broadcastTo } from "./broadcast.ts";
import { composedTangent, cotangentsOf } from "./composed_derivatives.ts";
import type { NoAttrs } from "./elementwise.ts";
import { lowerSelectiveScanGrad } from "./kernels/selective_scan_grad.ts";
import { reduceSum } from "./reduce_sum.ts";
import { selectiveScanOp } from "./selective_scan.ts";
import { composeScan, requireScan, sampleScan, scanDims, scanTypes } from "./selective_scan_parts.ts";

/** Inputs: delta, a, b, c, x, state, dy, dstate. Results: cotangents of the first six, that of a for each sequence. */
export const selectiveScanGradOp: OpDef<NoAttrs> = {
  name: "selective_scan_grad",
  summary: "g_t = c_t dy_t + exp(delta_{t+1} a) g_{t+1}, and the cotangents of delta, a, b, c, x, h_0",
  infer(inputs) {
    const dims = requireScan("selective_scan_grad", inputs);
    const [sequence, , , , , state] = scanTypes(dims) as [TensorType, ...TensorType[]];
    const fits = [sequence, state!].every((type, i) => {
      return inputs[6 + i]?.dtype === "f32" && sameShape(type.shape, inputs[6 + i]!.shape);
    });
    requireShape(fits, "selective_scan_grad", "cotangents are not like x and the state", inputs);
    return scanTypes(dims).map((type, i) => (i === 1 ? state! : type));
  },
  evaluate: (inputs, _attrs, types) => evaluateGrad(inputs, types),
  derivative: { kind: "expand", expand: expandGrad },
  lowering: { kind: "kernel", lower: lowerSelectiveScanGrad },
  sample(draw) {
    const { dims, ranges } = sampleScan(draw);
    const types = scanTypes(dims);
    return { inputs: [...types, types[4]!, types[5]!], attrs: {}, ranges: [...ranges!, undefined, undefined] };
  },
};

export const selectiveScanTangentOp: OpDef<NoAttrs> = composedTangent("selective_scan_tangent", {
  forward: () => selectiveScanOp,
  compose: (inputs) => composeScan(withOwnA(inputs)),
  reverse(inputs, cotangents) {
    const grads = emit(selectiveScanGradOp, [...inputs, ...cotangents], {});
    return grads.map((grad, i) => (i === 1 ? reduceSum(grad as Tensor<readonly number[], "f32">, [0]) : grad));
  },
});

/** The inputs with an `a` for each sequence. */
function withOwnA(inputs: readonly Tensor[]): readonly Tensor[] {
  return inputs.with(1, broadcastTo(inputs[1]!, inputs[5]!.shape));
}

function expandGrad(inputs: readonly Tensor[]): readonly Tensor[] {
  return cotangentsOf(composeScan, withOwnA(inputs.slice(0, 6)), inputs.slice(6));
}

function evaluateGrad(inputs: readonly HostTensor[], types: readonly TensorType[]): HostTensor[] {
  const [delta, a, b, c, x, state, dy, dState] = inputs.map(({ data }) => data) as Float64Array[];
  const { batch, time, channels, states } = scanDims(inputs[0]!.type, inputs[1]!.type);
  const results = types.map(({ shape }) => new Float64Array(shape.reduce((size, dim) => size * dim, 1)));
  const [dDelta, dA, dB, dC, dX, dFirst] = results as [Float64Array, ...Float64Array[]];
  const history = new Float64Array(time + 1);
  for (let bd = 0; bd < batch * channels; bd++) {
    const [sequence, d] = [Math.floor(bd / channels), bd % channels];
    for (let n = 0; n < states; n++) {
      const rate = a![d * states + n]!;
      const ofChannel = (t: number): number => (sequence * time + t) * channels + d;
      const ofState = (t: number): number => (sequence * time + t) * states + n;
      const decay = (t: number): number => Math.exp(delta![ofChannel(t)]! * rate);
      history[0] = state![bd * states + n]!;
      for (let t = 0; t < time; t++) {
        const drive = delta![ofChannel(t)]! * b![ofState(t)]! * x![ofChannel(t)]!;
        history[t + 1] = decay(t) * history[t]! + drive;
      }
      let g = dState![bd * states + n]!;
      for (let t = time - 1; t >= 0; t--) {
        const [at, gate] = [ofChannel(t), ofState(t)];
        g += c![gate]! * dy![at]!;
        dC![gate]! += dy![at]! * history[t + 1]!;
        dB![gate]! += g * delta![at]! * x![at]!;
        dX![at]! += delta![at]! * g * b![gate]!;
        const change = decay(t) * g * history[t]!;
        dDelta[at]! += x![at]! * g * b![gate]! + rate * change;
        dA![bd * states + n]! += delta![at]! * change;
        g *= decay(t);
      }
      dFirst![bd * states + n] = g;
    }
  }
  return results.map((data, i) => ({ type: types[i]!, data }));
}
