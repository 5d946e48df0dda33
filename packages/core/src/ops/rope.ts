// rope: rotary position embedding (Su et al. 2021, arXiv 2104.09864). Pairs of elements of a head are rotated by an
// angle that grows with the position: pair i of the row at position p turns by p theta^(-2i/D).
//   y_a = x_a cos - x_b sin,  y_b = x_a sin + x_b cos
// `adjacent` pairs elements 2i and 2i + 1 (llama2.c, the original paper); `halves` pairs i and i + D/2 (GPT-NeoX).
// A rotation is linear in x, and its transpose is the rotation by the opposite angle.
// Left out: scaled frequencies for longer contexts.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { lowerRope } from "./kernels/rope.ts";

export type RopePairing = "adjacent" | "halves";
export type RopeAttrs = { readonly theta: number; readonly pairing: RopePairing; readonly inverse: boolean };

export const ropeOp: OpDef<RopeAttrs> = {
  name: "rope",
  summary: "y = x with pair i of each head at position p turned by p theta^(-2i/D)",
  infer(inputs, { theta }) {
    const [x, position] = inputs as [TensorType, TensorType];
    requireShape(
      x.dtype === "f32" && x.shape.length === 4,
      "rope",
      "takes an f32 tensor [batch, time, heads, size]",
      inputs,
    );
    requireShape(x.shape[3]! % 2 === 0 && elementCount(x.shape) > 0, "rope", "needs heads of even size", inputs);
    requirePosition("rope", position, inputs);
    requireShape(theta > 0, "rope", `theta is ${theta}`, inputs, "theta is usually 10000");
    return [x];
  },
  evaluate([x, position], { theta, pairing, inverse }, [type]) {
    const [batch, time, heads, size] = type!.shape as [number, number, number, number];
    const data = new Float64Array(x!.data.length);
    for (let row = 0; row < batch * time * heads; row++) {
      const at = position!.data[0]! + (Math.floor(row / heads) % time);
      for (let pair = 0; pair < size / 2; pair++) {
        const angle = at * ropeFrequency(theta, pair, size);
        const [cos, sin] = [Math.cos(angle), inverse ? -Math.sin(angle) : Math.sin(angle)];
        const a = row * size + (pairing === "adjacent" ? 2 * pair : pair);
        const b = pairing === "adjacent" ? a + 1 : a + size / 2;
        data[a] = x!.data[a]! * cos - x!.data[b]! * sin;
        data[b] = x!.data[a]! * sin + x!.data[b]! * cos;
      }
    }
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [, position] }, [dx], attrs) => [emitOne(ropeOp, [dx!, position!], attrs)],
    transpose: ({ inputs: [, position] }, [ct], _linear, attrs) => [
      emitOne(ropeOp, [ct!, position!], { ...attrs, inverse: !attrs.inverse }),
      undefined,
    ],
  },
  lowering: { kind: "kernel", inPlace: 0, lower: lowerRope },
  sample(draw) {
    const shape = [draw.int(1, 3), draw.int(1, 5), draw.int(1, 3), 2 * draw.int(1, 9)];
    return {
      inputs: [
        { dtype: "f32", shape },
        { dtype: "i32", shape: [] },
      ],
      attrs: { theta: 10000, pairing: draw.pick(["adjacent", "halves"]), inverse: draw.int(0, 1) === 1 },
      ranges: [undefined, [0, 40]],
    };
  },
};

/** Radians that pair `pair` of a head of `size` elements turns by from one position to the next. */
export function ropeFrequency(theta: number, pair: number, size: number): number {
  return theta ** ((-2 * pair) / size);
}

/** Requires the i32 scalar that says at which position the first row is. */
export function requirePosition(op: string, position: TensorType, inputs: readonly TensorType[]): void {
  requireShape(
    position.dtype === "i32" && position.shape.length === 0,
    op,
    "the position is not an i32 scalar",
    inputs,
  );
}

export interface RopeOptions {
  /** The base of the frequencies, 10000 by default. */
  readonly theta?: number;
  /** Which elements of a head form a pair; `adjacent` by default. */
  readonly pairing?: RopePairing;
}

/**
 * `x` [batch, time, heads, size] with each pair of elements rotated for its position; row t is at `position` + t.
 * @throws ShapeMismatchError when x is not of rank 4, or its heads have an odd size.
 */
export function rope<S extends Shape>(
  x: Tensor<S, "f32">,
  position: Tensor<readonly [], "i32">,
  { theta = 10000, pairing = "adjacent" }: RopeOptions = {},
): Tensor<S, "f32"> {
  return emitOne(ropeOp, [x, position], { theta, pairing, inverse: false }) as unknown as Tensor<S, "f32">;
}
