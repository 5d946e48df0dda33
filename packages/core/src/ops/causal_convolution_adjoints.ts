// The transposes of causal_convolution, in its inputs and in its weight. With z the state and then x, and
// y_t = sum_j weight_j z_{t + j}:
//   causal_convolution_transpose: dz_p = sum_j weight_j dy_{p - j}, and the cotangent of the state after, at its place
//   causal_convolution_weights:   dweight_j = sum_t dy_t z_{t + j}
// Each is linear in two of its inputs, and the transposes of the three are among the three.

import type { TensorType } from "../graph.ts";
import { emit, sameShape } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { add } from "./add.ts";
import { convolutionDims, convolve, inputAt, requireConvolution, sampleConvolution } from "./causal_convolution.ts";
import type { NoAttrs } from "./elementwise.ts";
import {
  lowerCausalConvolutionTranspose,
  lowerCausalConvolutionWeights,
} from "./kernels/causal_convolution_adjoints.ts";
import { zerosLike } from "./splat.ts";

/** Inputs: cotangents of y, the weight, cotangents of the state after. Results: those of x and of the state before. */
export const causalConvolutionTransposeOp: OpDef<NoAttrs> = {
  name: "causal_convolution_transpose",
  summary: "dz_p = sum_j weight_j dy_{p - j}, and what comes back from the state",
  infer(inputs) {
    requireConvolution("causal_convolution_transpose", inputs, [0, 1, 2]);
    return [inputs[0]!, inputs[2]!];
  },
  evaluate([dy, weight, dLast], _attrs, types) {
    const { batch, time, channels, size } = convolutionDims(dy!.type, weight!.type);
    const [dx, dState] = [dy!, dLast!].map(({ data }) => new Float64Array(data.length));
    for (let b = 0; b < batch; b++) {
      for (let p = 0; p < time + size - 1; p++) {
        for (let d = 0; d < channels; d++) {
          let sum = p < time ? 0 : dLast!.data[(b * (size - 1) + p - time) * channels + d]!;
          for (let j = Math.max(0, p - time + 1); j <= Math.min(p, size - 1); j++) {
            sum += weight!.data[d * size + j]! * dy!.data[(b * time + p - j) * channels + d]!;
          }
          if (p < size - 1) dState![(b * (size - 1) + p) * channels + d] = sum;
          else dx![(b * time + p - size + 1) * channels + d] = sum;
        }
      }
    }
    return [dx!, dState!].map((data, i) => ({ type: types[i]!, data }));
  },
  derivative: {
    kind: "rules",
    jvp({ op, inputs: [dy, weight, dLast] }, [moveY, moveWeight, moveLast]) {
      const moved = moveY !== undefined || moveLast !== undefined;
      const first = moved ? emit(op, [moveY ?? zerosLike(dy!), weight!, moveLast ?? zerosLike(dLast!)], {}) : undefined;
      if (moveWeight === undefined) return first!;
      // What comes back from the state does not depend on the weight.
      const second = emit(op, [dy!, moveWeight, zerosLike(dLast!)], {});
      return second.map((value, i) => (first === undefined ? value : add(first[i]!, value)));
    },
    transpose({ inputs: [dy, weight, dLast] }, [ctX, ctState], linear) {
      const [x, state] = [ctX ?? zerosLike(dy!), ctState ?? zerosLike(dLast!)];
      if (linear[1]) return [undefined, emit(causalConvolutionWeightsOp, [x, dy!, state], {})[0], undefined];
      const [y, last] = convolve(x, weight!, state);
      return [linear[0] ? y : undefined, undefined, linear[2] ? last : undefined];
    },
  },
  lowering: { kind: "kernel", lower: lowerCausalConvolutionTranspose },
  sample: (draw) => ({ inputs: sampleConvolution(draw), attrs: {} }),
};

/** Inputs: x, cotangents of y, the state before. Result: those of the weight. */
export const causalConvolutionWeightsOp: OpDef<NoAttrs> = {
  name: "causal_convolution_weights",
  summary: "dweight_j = sum over sequences and t of dy_t z_{t + j}, z = state, then x",
  infer(inputs) {
    const [x, dy, state] = inputs as [TensorType, TensorType, TensorType];
    const size = (state.shape[1] ?? 0) + 1;
    const weight: TensorType = { dtype: "f32", shape: [x.shape[2] ?? 0, size] };
    requireConvolution("causal_convolution_weights", [x, weight, state], [0, 1, 2]);
    const fits = dy.dtype === "f32" && sameShape(x.shape, dy.shape);
    requireShape(fits, "causal_convolution_weights", "x and the cotangents differ", inputs);
    return [weight];
  },
  evaluate([x, dy, state], _attrs, [type]) {
    const { batch, time, channels, size } = convolutionDims(x!.type, type!);
    const data = new Float64Array(channels * size);
    for (let b = 0; b < batch; b++) {
      const z = inputAt(x!, state!, b);
      for (let t = 0; t < time; t++) {
        for (let d = 0; d < channels; d++) {
          const cotangent = dy!.data[(b * time + t) * channels + d]!;
          for (let j = 0; j < size; j++) data[d * size + j]! += cotangent * z(t + j, d);
        }
      }
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp({ op, inputs: [x, dy, state] }, [moveX, moveY, moveState]) {
      const moved = moveX !== undefined || moveState !== undefined;
      const [first] = moved ? emit(op, [moveX ?? zerosLike(x!), dy!, moveState ?? zerosLike(state!)], {}) : [];
      const [second] = moveY === undefined ? [] : emit(op, [x!, moveY, state!], {});
      return [first && second ? add(first, second) : (first ?? second)];
    },
    transpose({ inputs: [x, dy, state] }, [ct], linear) {
      if (linear[1]) return [undefined, convolve(x!, ct!, state!)[0], undefined];
      const [ctX, ctState] = emit(causalConvolutionTransposeOp, [dy!, ct!, zerosLike(state!)], {});
      return [linear[0] ? ctX : undefined, undefined, linear[2] ? ctState : undefined];
    },
  },
  lowering: { kind: "kernel", lower: lowerCausalConvolutionWeights },
  sample(draw) {
    const [x, , state] = sampleConvolution(draw);
    return { inputs: [x, x, state], attrs: {} };
  },
};
