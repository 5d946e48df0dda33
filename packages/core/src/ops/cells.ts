// Elements of tensors between memory and registers: how wide they are in each, and what narrow ones need on the way.
// bf16 and f16 are float32 in registers, i8 is i32: conversion is part of loading and storing.

import { invariant } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { DTYPES } from "../dtype.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import { loopType } from "../loop/ir.ts";
import type { LoopValue } from "../loop/ir.ts";
import { elementLoopType } from "./loop-types.ts";

/** Bytes of an element in memory. */
export function cellBytes(dtype: Dtype): number {
  const bytes = DTYPES[dtype].elementBytes;
  invariant(bytes !== null, `${dtype} has no elements in memory`);
  return bytes;
}

/** Bytes of an element in registers and scratch. */
export function elementSize(dtype: Dtype): number {
  return dtype === "f64" ? 8 : 4;
}

/** Reads elements of a plain dtype; bf16 is the upper half of a float32. */
export function loadElement(k: KernelBuilder, dtype: Dtype, lanes: number, address: LoopValue, offset = 0): LoopValue {
  const type = elementLoopType(dtype, lanes);
  if (dtype === "f16") return k.load(type, address, offset, "f16");
  if (dtype === "i8") return k.load(type, address, offset, "i8");
  if (dtype !== "bf16") return k.load(type, address, offset);
  const bits = k.load(loopType("i32", lanes), address, offset, "u16");
  return k.bitcast(type, k.shift("shl", bits, 16));
}

/** Writes elements of a plain dtype; bf16 and f16 round to nearest, ties to even, and i8 keeps the low bits. */
export function storeElement(k: KernelBuilder, value: LoopValue, dtype: Dtype, address: LoopValue, offset = 0): void {
  if (dtype === "f16") k.store(value, address, offset, "f16");
  else if (dtype === "i8") k.store(value, address, offset, "i8");
  else if (dtype !== "bf16") k.store(value, address, offset);
  else
    k.store(
      k.shift("shr_u", k.bitcast(loopType("i32", value.type.lanes), bf16RoundOf(k, value)), 16),
      address,
      offset,
      "i16",
    );
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
