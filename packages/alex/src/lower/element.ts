// Elements of tensors between memory and registers: how wide they are in each, and what bf16 needs on the way.

import type { Dtype, KernelBuilder, LoopValue } from "@fidelity/core";
import { DTYPES, elementLoopType, loopType } from "@fidelity/core";
import { invariant } from "@fidelity/units";

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
export function loadElement(
  k: KernelBuilder,
  dtype: Dtype,
  lanes: number,
  address: LoopValue,
  offset: number,
): LoopValue {
  if (dtype !== "bf16") return k.load(elementLoopType(dtype, lanes), address, offset);
  const bits = k.load(loopType("i32", lanes), address, offset, "u16");
  return k.bitcast(loopType("f32", lanes), k.shift("shl", bits, 16));
}

/** Writes elements of a plain dtype; bf16 rounds to nearest, ties to even. */
export function storeElement(
  k: KernelBuilder,
  value: LoopValue,
  dtype: Dtype,
  address: LoopValue,
  offset: number,
): void {
  if (dtype !== "bf16") {
    k.store(value, address, offset);
    return;
  }
  const type = loopType("i32", value.type.lanes);
  const bits = k.bitcast(type, value);
  const odd = k.binary("and", k.shift("shr_u", bits, 16), k.constant(type, 1));
  const rounded = k.shift("shr_u", k.add(k.add(bits, k.constant(type, 0x7fff)), odd), 16);
  for (let lane = 0; lane < type.lanes; lane++) {
    const cell = type.lanes === 1 ? rounded : k.extract(rounded, lane);
    k.store(cell, address, offset + lane * 2, "i16");
  }
}
