// rope: rotary position embedding (Su et al. 2021, arXiv 2104.09864). Pairs of elements of a head are rotated by an
// angle that grows with the position: pair i of the row at position p turns by p theta^(-2i/D), or that over a divisor
// of its own (rope_scaling.ts), and what is turned may get a factor m.
//   y_a = m (x_a cos - x_b sin),  y_b = m (x_a sin + x_b cos)
// `adjacent` pairs elements 2i and 2i + 1 (llama2.c, the original paper); `halves` pairs i and i + D/2 (GPT-NeoX).
// Only the first D elements of a head may be turned, and the others stay as they are.
// All of it is linear in x, and its transpose turns by the opposite angles.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { lowerRope } from "./kernels/rope.ts";
import type { RopeScaling } from "./rope_scaling.ts";
import { ropeScaling } from "./rope_scaling.ts";

export type RopePairing = "adjacent" | "halves";
export type RopeAttrs = {
  readonly theta: number;
  readonly pairing: RopePairing;
  /** Whether pairs turn the other way; of magnitude 1, that undoes it. */
  readonly inverse: boolean;
  /** Elements of a head that are turned, the first ones; all unless said. */
  readonly dims?: number;
  /** Of the frequency of each pair; 1 unless said. */
  readonly divisors?: readonly number[];
  /** Factor of what is turned; 1 unless said. */
  readonly magnitude?: number;
};

export const ropeOp: OpDef<RopeAttrs> = {
  name: "rope",
  summary: "y = x with pair i of each head at position p turned by p theta^(-2i/D)",
  infer(inputs, attrs) {
    const [x, position] = inputs as [TensorType, TensorType];
    requireShape(
      x.dtype === "f32" && x.shape.length === 4,
      "rope",
      "takes an f32 tensor [batch, time, heads, size]",
      inputs,
    );
    if (position.shape.length === 0) requirePosition("rope", position, inputs);
    else requirePositions("rope", position, x.shape[0]!, inputs);
    requireShape(elementCount(x.shape) > 0, "rope", "there is nothing to turn", inputs);
    requireRope(attrs, x.shape[3]!, inputs);
    return [x];
  },
  evaluate([x, position], attrs, [type]) {
    const [batch, time, heads, size] = type!.shape as [number, number, number, number];
    const { pairing, inverse, magnitude = 1, dims = size } = attrs;
    const data = x!.data.slice();
    for (let row = 0; row < batch * time * heads; row++) {
      const at = positionOf(position!, Math.floor(row / (heads * time))) + (Math.floor(row / heads) % time);
      for (let pair = 0; pair < dims / 2; pair++) {
        const angle = at * ropeFrequency(attrs, pair, dims);
        const [cos, sin] = [magnitude * Math.cos(angle), (inverse ? -magnitude : magnitude) * Math.sin(angle)];
        const a = row * size + (pairing === "adjacent" ? 2 * pair : pair);
        const b = pairing === "adjacent" ? a + 1 : a + dims / 2;
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
    const dims = 2 * draw.int(1, 9);
    const rest = draw.pick([0, draw.int(1, 9)]);
    const shape = [draw.int(1, 3), draw.int(1, 5), draw.int(1, 3), dims + rest];
    const divisors = Array.from({ length: dims / 2 }, () => draw.int(1, 8) / 2);
    const scaling = draw.pick<Partial<RopeAttrs>>([{}, { divisors }, { divisors, magnitude: 1.25 }]);
    const attrs: RopeAttrs = {
      theta: 10000,
      pairing: draw.pick<RopePairing>(["adjacent", "halves"]),
      inverse: draw.int(0, 1) === 1,
      ...(rest > 0 && { dims }),
      ...scaling,
    };
    return {
      inputs: [
        { dtype: "f32", shape },
        { dtype: "i32", shape: draw.pick([[], shape.slice(0, 1)]) },
      ],
      attrs,
      ranges: [undefined, [0, 40]],
    };
  },
};

/** Radians that pair `pair` of those of `dims` elements turns by from one position to the next. */
export function ropeFrequency({ theta, divisors }: RopeAttrs, pair: number, dims: number): number {
  return theta ** ((-2 * pair) / dims) / (divisors?.[pair] ?? 1);
}

function requireRope(attrs: RopeAttrs, size: number, inputs: readonly TensorType[]): void {
  const { theta, dims = size, divisors, magnitude = 1 } = attrs;
  const turned = Number.isSafeInteger(dims) && dims > 0 && dims % 2 === 0 && dims <= size;
  requireShape(turned, "rope", `${dims} elements of a head cannot be turned`, inputs, "give an even number of them");
  requireShape(theta > 0 && theta < Infinity, "rope", `theta is ${theta}`, inputs, "theta is usually 10000");
  const divides = divisors === undefined || (divisors.length === dims / 2 && divisors.every(isPositive));
  requireShape(divides, "rope", `factors of the frequencies are not ${dims / 2} positive numbers`, inputs);
  requireShape(isPositive(magnitude), "rope", `the factor of what is turned is ${magnitude}`, inputs);
}

const isPositive = (value: number): boolean => value > 0 && value < Infinity;

/** Requires the i32 scalar that says at which position the first row is. */
export function requirePosition(op: string, position: TensorType, inputs: readonly TensorType[]): void {
  requireShape(
    position.dtype === "i32" && position.shape.length === 0,
    op,
    "the position is not an i32 scalar",
    inputs,
  );
}

/** Requires the i32 [batch] that says at which position the first row of each sequence is. */
export function requirePositions(
  op: string,
  { dtype, shape }: TensorType,
  batch: number,
  inputs: readonly TensorType[],
): void {
  const fits = dtype === "i32" && shape.length === 1 && shape[0] === batch;
  requireShape(fits, op, `positions are not an i32 for each of ${batch} sequences`, inputs);
}

/** The position of a sequence: one holds for all of them, or each has its own. */
export function positionOf({ data }: HostTensor, sequence: number): number {
  return data[data.length === 1 ? 0 : sequence]!;
}

export interface RopeOptions extends RopeScaling {
  /** The base of the frequencies, 10000 by default. */
  readonly theta?: number;
  /** Which elements of a head form a pair; `adjacent` by default. */
  readonly pairing?: RopePairing;
  /** Elements of each head that are turned, the first ones, an even number of them; all by default. */
  readonly dims?: number;
}

/**
 * `x` [batch, time, heads, size] with each pair of elements rotated for its position; row t is at `position` + t, where
 * a position [batch] gives each sequence its own.
 * @throws ShapeMismatchError when x is not of rank 4, an odd number of elements would be turned, or an option is out of
 *   range.
 */
export function rope<S extends Shape>(
  x: Tensor<S, "f32">,
  position: Tensor<Shape, "i32">,
  { theta = 10000, pairing = "adjacent", dims, ...scaling }: RopeOptions = {},
): Tensor<S, "f32"> {
  const factors = ropeScaling(scaling, dims ?? x.shape[3] ?? 0, theta);
  const attrs = { theta, pairing, inverse: false, ...(dims !== undefined && { dims }), ...factors };
  return emitOne(ropeOp, [x, position], attrs) as unknown as Tensor<S, "f32">;
}
