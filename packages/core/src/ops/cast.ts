// cast: the same numbers in another dtype. Float to i32 drops the fraction and saturates; to bf16 rounds to nearest,
// ties to even; bool becomes 0 or 1. A cast to bf16 is where values are rounded: its register holds the rounded
// number as f32, so a store of bf16 only has to drop the lower half.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { DTYPES } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import { bf16Bits, bf16Value } from "../host.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import type { LoopValue } from "../loop/ir.ts";
import { loopType } from "../loop/ir.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { sampleShape } from "./elementwise.ts";
import { elementLoopType } from "./loop-types.ts";

export type CastAttrs = { readonly dtype: Dtype };

const PLAIN: readonly Dtype[] = ["f64", "f32", "bf16", "i32", "bool"];

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
    const convert = dtype === "bf16" ? roundToBf16 : dtype === "i32" ? truncateToI32 : (value: number) => value;
    return [{ type: type!, data: x!.data.map(convert) }];
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

function roundToBf16(value: number): number {
  return bf16Value(bf16Bits(value));
}

function truncateToI32(value: number): number {
  return Number.isNaN(value) ? 0 : Math.min(Math.max(Math.trunc(value), -(2 ** 31)), 2 ** 31 - 1);
}

function castValue(k: KernelBuilder, x: LoopValue, dtype: Dtype, lanes: number): LoopValue {
  const converted = k.convert(elementLoopType(dtype, lanes), x);
  return dtype === "bf16" ? bf16RoundOf(k, converted) : converted;
}

/** f32 rounded to the nearest number whose lower 16 bits are zero, ties to even; NaN stays NaN. */
export function bf16RoundOf(k: KernelBuilder, x: LoopValue): LoopValue {
  const type = loopType("i32", x.type.lanes);
  const bits = k.bitcast(type, x);
  const odd = k.binary("and", k.shift("shr_u", bits, 16), k.constant(type, 1));
  const rounded = k.add(k.add(bits, k.constant(type, 0x7fff)), odd);
  const quiet = k.binary("or", bits, k.constant(type, 0x400000));
  const chosen = k.select(k.compare("eq", x, x), rounded, quiet);
  return k.bitcast(x.type, k.binary("and", chosen, k.constant(type, -0x10000)));
}

/** `x` with its numbers in `dtype`. Derivatives pass unchanged between float dtypes and stop at integers. */
export function cast<S extends Shape, D extends Dtype>(x: Tensor<S>, dtype: D): Tensor<S, D> {
  return emitOne(castOp, [x], { dtype }) as unknown as Tensor<S, D>;
}
