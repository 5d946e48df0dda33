// causal_convolution: a short causal convolution along time, channel by channel, as recurrent mixers have it before
// their recurrence (Fu et al. 2022, H3, arXiv 2212.14052; Gu and Dao 2023, arXiv 2312.00752):
//   y_t[d] = sum_j weight[d, j] z_{t + j}[d],   z = the last inputs of before, then x
// and the inputs that the next call needs. It is linear in x and state together, and in the weight. Left out: biases
// and activations, which are elementwise, and long convolutions by Fourier transforms.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emit, sameShape } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { CaseDraw, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { add } from "./add.ts";
import { causalConvolutionTransposeOp, causalConvolutionWeightsOp } from "./causal_convolution_adjoints.ts";
import type { NoAttrs } from "./elementwise.ts";
import { lowerCausalConvolution } from "./kernels/causal_convolution.ts";
import { splat, zerosLike } from "./splat.ts";

/** Sizes of a convolution over `size` tokens. */
export interface ConvolutionDims {
  readonly batch: number;
  readonly time: number;
  readonly channels: number;
  readonly size: number;
}

export function convolutionDims(x: TensorType, weight: TensorType): ConvolutionDims {
  const [batch, time, channels] = x.shape as [number, number, number];
  return { batch, time, channels, size: weight.shape[1]! };
}

/** Requires a sequence [batch, time, channels], a weight [channels, size] and a state [batch, size - 1, channels]. */
export function requireConvolution(op: string, inputs: readonly TensorType[], order: readonly number[]): void {
  const [x, weight, state] = order.map((i) => inputs[i]!) as [TensorType, TensorType, TensorType];
  const ranks = x.shape.length === 3 && weight.shape.length === 2 && weight.shape[1]! >= 2;
  requireShape(
    ranks,
    op,
    "takes a sequence [batch, time, channels] and a weight [channels, size of 2 or more]",
    inputs,
  );
  const { batch, time, channels, size } = convolutionDims(x, weight);
  const floats = [x, weight, state].every(({ dtype }) => dtype === "f32") && batch * time * channels > 0;
  const fits = weight.shape[0] === channels && sameShape(state.shape, [batch, size - 1, channels]);
  requireShape(floats && fits, op, "the weight or the state [batch, size - 1, channels] do not fit", inputs);
}

/** The inputs of sequence `b`, those before it first: element (row, channel) of [size - 1 + time, channels]. */
export function inputAt(x: HostTensor, state: HostTensor, b: number): (row: number, d: number) => number {
  const [, time, channels] = x.type.shape as [number, number, number];
  const before = state.type.shape[1]!;
  return (row, d) =>
    row < before ? state.data[(b * before + row) * channels + d]! : x.data[(b * time + row - before) * channels + d]!;
}

/** Inputs: x, weight, state. Results: y, and the state after the last token. */
export const causalConvolutionOp: OpDef<NoAttrs> = {
  name: "causal_convolution",
  summary: "y_t = sum_j weight_j z_{t + j}, z = state, then x; and the last of z",
  infer(inputs) {
    requireConvolution("causal_convolution", inputs, [0, 1, 2]);
    return [inputs[0]!, inputs[2]!];
  },
  evaluate([x, weight, state], _attrs, types) {
    const { batch, time, channels, size } = convolutionDims(x!.type, weight!.type);
    const [y, last] = [x!, state!].map(({ data }) => new Float64Array(data.length));
    for (let b = 0; b < batch; b++) {
      const z = inputAt(x!, state!, b);
      for (let d = 0; d < channels; d++) {
        for (let t = 0; t < time; t++) {
          let sum = 0;
          for (let j = 0; j < size; j++) sum += weight!.data[d * size + j]! * z(t + j, d);
          y![(b * time + t) * channels + d] = sum;
        }
        for (let row = 0; row < size - 1; row++) last![(b * (size - 1) + row) * channels + d] = z(time + row, d);
      }
    }
    return [y!, last!].map((data, i) => ({ type: types[i]!, data }));
  },
  derivative: {
    kind: "rules",
    jvp({ inputs: [x, weight, state] }, [dx, dWeight, dState]) {
      const moved = dx !== undefined || dState !== undefined;
      const [y, last] = moved ? convolve(dx ?? zerosLike(x!), weight!, dState ?? zerosLike(state!)) : [];
      const [other] = dWeight === undefined ? [] : convolve(x!, dWeight, state!);
      return [y && other ? add(y, other) : (y ?? other), last];
    },
    transpose({ inputs: [x, weight, state] }, [ctY, ctLast], linear) {
      if (linear[1]) {
        return [undefined, ctY && emit(causalConvolutionWeightsOp, [x!, ctY, state!], {})[0], undefined];
      }
      const given = [ctY ?? zerosLike(x!), weight!, ctLast ?? zerosLike(state!)];
      const [ctX, ctState] = emit(causalConvolutionTransposeOp, given, {});
      return [linear[0] ? ctX : undefined, undefined, linear[2] ? ctState : undefined];
    },
  },
  lowering: { kind: "kernel", inPlace: 2, inPlaceResult: 1, lower: lowerCausalConvolution },
  sample: (draw) => ({ inputs: sampleConvolution(draw), attrs: {} }),
};

/** Types of a small sequence, a weight and a state; sequences may be shorter than the weight. */
export function sampleConvolution(draw: CaseDraw): [TensorType, TensorType, TensorType] {
  const [batch, time, channels, size] = [draw.int(1, 2), draw.int(1, 9), draw.int(1, 21), draw.pick([2, 3, 4, 10])];
  const type = (...shape: number[]): TensorType => ({ dtype: "f32", shape });
  return [type(batch, time, channels), type(channels, size), type(batch, size - 1, channels)];
}

/** The results of the op. */
export function convolve(x: Tensor, weight: Tensor, state: Tensor): readonly [Tensor, Tensor] {
  return emit(causalConvolutionOp, [x, weight, state], {}) as unknown as [Tensor, Tensor];
}

type Floats = Tensor<Shape, "f32">;

/** The results of `causalConvolution`. */
export interface CausalConvolutionResult {
  /** [batch, time, channels]. */
  readonly output: Floats;
  /** The last size - 1 inputs, [batch, size - 1, channels]. */
  readonly state: Floats;
}

/**
 * `x` [batch, time, channels] convolved along time with `weight` [channels, size], whose last column belongs to the
 * token itself. `state` holds the inputs before the first token; zeros where absent.
 * @throws ShapeMismatchError when shapes do not fit.
 */
export function causalConvolution(x: Floats, weight: Floats, state?: Floats): CausalConvolutionResult {
  const [batch = 1, , channels = 1] = x.shape;
  const before = state ?? splat(0, [batch, (weight.shape[1] ?? 2) - 1, channels] as readonly number[]);
  const [output, last] = convolve(x, weight, before);
  return { output, state: last } as CausalConvolutionResult;
}
