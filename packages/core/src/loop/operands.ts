// What an instruction of the loop IR reads, for passes and targets that walk kernels.

import type { LoopInst, LoopValue } from "./ir.ts";

/** The values that an instruction reads itself, in order; those that its blocks read are not among them. */
export function operandsOf(inst: LoopInst): readonly LoopValue[] {
  switch (inst.op) {
    case "const":
    case "tile_zero":
    case "tile_multiply":
      return [];
    case "load":
    case "load_splat":
    case "prefetch":
    case "tile_load":
    case "tile_store":
      return [inst.address];
    case "store":
      return [inst.address, inst.value];
    case "for":
      return [inst.low, inst.high, ...inst.inits];
    case "if":
      return [inst.condition];
    case "select":
      return [inst.mask, inst.a, inst.b];
    case "fma":
    case "dot4":
      return [inst.a, inst.b, inst.c];
    default:
      return "b" in inst ? [inst.a, inst.b] : [inst.a];
  }
}
