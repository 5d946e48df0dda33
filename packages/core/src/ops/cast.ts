// cast: the same numbers in another dtype. Float to i32 and i8 drops the fraction and saturates; i32 to i8 saturates,
// too; to f32, bf16 and f16 rounds to nearest, ties to even; bool becomes 0 or 1. A cast is where values are rounded,
// in the reference too: to bf16 or f16 the register holds the rounded number as f32, which the store does not change.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { DTYPES } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { bf16Bits, bf16Value, f16Round } from "../host.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import type { LoopValue } from "../loop/ir.ts";
import { float32OfHalf, halfOfFloat32 } from "../loop/half.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { bf16RoundOf } from "./cells.ts";
import { sampleShape } from "./elementwise.ts";
import { elementLoopType } from "./loop-types.ts";

export type CastAttrs = { readonly dtype: Dtype };

const PLAIN: readonly Dtype[] = ["f64", "f32", "bf16", "f16", "i32", "i8", "bool"];

export const castOp: OpDef<CastAttrs> = {
  name: "cast",
  summary: "y = x in another dtype",
  infer(inputs, { dtype }) {
    const x = inputs[0]!;
    requireShape(PLAIN.includes(x.dtype), "cast", `does not read ${x.dtype}`, inputs, "dequantize it");
    requireShape(PLAIN.includes(dtype) && dtype !== "bool", "cast", `does not make ${dtype}`, inputs);
    return [{ dtype, shape: x.shape }];
  },
  evaluate([x], { dtype }, [type]) {
    const convert = CONVERSIONS[dtype];
    return [{ type: type!, data: convert === undefined ? x!.data : x!.data.map((value) => convert(value)) }];
  },
  derivative: {
    kind: "rules",
    jvp: (_node, [dx], { dtype }) => [castTangent(dx, dtype)],
    transpose: ({ inputs: [x] }, [ct]) => [castTangent(ct, x!.dtype)],
  },
  lowering: { kind: "elementwise", value: ({ k, attrs, lanes }, [x]) => castValue(k, x!, attrs.dtype, lanes) },
  simplify: ([x], { dtype }) => (x!.dtype === dtype ? [x!] : undefined),
  sample(draw) {
    const [from, to] = draw.pick([
      ["f32", "bf16"],
      ["bf16", "f32"],
      ["f32", "f16"],
      ["f16", "f32"],
      ["f16", "bf16"],
      ["i32", "i8"],
      ["i8", "f32"],
      ["f32", "i8"],
      ["i32", "f32"],
      ["bool", "f32"],
      ["f32", "i32"],
    ] as const);
    return { inputs: [{ dtype: from, shape: sampleShape(draw) }], attrs: { dtype: to } };
  },
};

function castTangent(tangent: MaybeTensor, dtype: Dtype): MaybeTensor {
  const to = DTYPES[dtype].tangent;
  return tangent === undefined || to === null ? undefined : emitOne(castOp, [tangent], { dtype: to });
}

/** What becomes of a number, for the dtypes that cannot hold all of them. */
const CONVERSIONS: Readonly<Partial<Record<Dtype, (value: number) => number>>> = {
  bf16: (value) => bf16Value(bf16Bits(value)),
  f16: f16Round,
  f32: Math.fround,
  i32: (value) => truncate(value, 2 ** 31),
  i8: (value) => truncate(value, 128),
};

/** The whole number below in magnitude, within -limit..limit - 1; NaN is 0. */
function truncate(value: number, limit: number): number {
  return Number.isNaN(value) ? 0 : Math.min(Math.max(Math.trunc(value), -limit), limit - 1);
}

function castValue(k: KernelBuilder, x: LoopValue, dtype: Dtype, lanes: number): LoopValue {
  const converted = k.convert(elementLoopType(dtype, lanes), x);
  if (dtype === "bf16") return bf16RoundOf(k, converted);
  if (dtype === "f16") return float32OfHalf(k, halfOfFloat32(k, converted));
  if (dtype !== "i8") return converted;
  const bound = (value: number): LoopValue => k.constant(converted.type, value);
  return k.min(k.max(converted, bound(-128)), bound(127));
}

/** `x` with its numbers in `dtype`. Derivatives pass unchanged between float dtypes and stop at integers. */
export function cast<S extends Shape, D extends Dtype>(x: Tensor<S>, dtype: D): Tensor<S, D> {
  return emitOne(castOp, [x], { dtype }) as unknown as Tensor<S, D>;
}
