// pow: x to a constant power. Whole powers up to 16 and halves become products and roots, which take any x; the op
// itself is e^(p ln x) and takes positive x only.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { expOf, logOf } from "../loop/math.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { div } from "./div.ts";
import { sampleShape } from "./elementwise.ts";
import { mul } from "./mul.ts";
import { rsqrt } from "./rsqrt.ts";
import { splat } from "./splat.ts";
import { sqrt } from "./sqrt.ts";

export type PowAttrs = { readonly exponent: number };

export const powOp: OpDef<PowAttrs> = {
  name: "pow",
  summary: "y = x^p for a constant p and x > 0",
  infer(inputs, { exponent }) {
    const x = inputs[0]!;
    requireShape(isFloat(x.dtype), "pow", `does not work on ${x.dtype}`, inputs);
    requireShape(Number.isFinite(exponent), "pow", `the exponent ${exponent} is not finite`, inputs);
    return [x];
  },
  evaluate: ([x], { exponent }, [type]) => [{ type: type!, data: x!.data.map((value) => value ** exponent) }],
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [x] }, [dx], { exponent }) => [
      mul(dx!, mul(exponent, pow(x as Tensor<Shape, "f32">, exponent - 1))),
    ],
  },
  lowering: {
    kind: "elementwise",
    value: ({ k, attrs }, [x]) => expOf(k, k.mul(k.constant(x!.type, attrs.exponent), logOf(k, x!))),
  },
  sample: (draw) => ({
    inputs: [{ dtype: "f32", shape: sampleShape(draw) }],
    attrs: { exponent: draw.pick([1.5, -0.7, 2.25, 0.3]) },
    ranges: [[0.25, 4]],
  }),
};

/** `x` to the constant power `exponent`, elementwise. A fractional power of a negative number is NaN. */
export function pow<S extends Shape, D extends FloatDtype>(x: Tensor<S, D>, exponent: number): Tensor<S, D> {
  return power(x, exponent) as Tensor<S, D>;
}

function power(x: Tensor, exponent: number): Tensor {
  if (exponent === 0) return splat(1, x.shape, x.dtype);
  if (exponent === 0.5) return sqrt(x as Tensor<Shape, FloatDtype>);
  if (exponent === -0.5) return rsqrt(x as Tensor<Shape, FloatDtype>);
  if (!Number.isInteger(exponent) || Math.abs(exponent) > 16) return emitOne(powOp, [x], { exponent });
  if (exponent < 0) return div(1, power(x, -exponent));
  if (exponent === 1) return x;
  const half = power(x, Math.floor(exponent / 2));
  const squared = mul(half, half);
  return exponent % 2 === 0 ? squared : mul(squared, x);
}
