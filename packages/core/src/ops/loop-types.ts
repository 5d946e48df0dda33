// The loop-IR type of an element of a tensor.

import { invariant } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import type { LoopType } from "../loop/ir.ts";
import { loopType } from "../loop/ir.ts";

/** The register type in which elements of a plain dtype are computed. */
export function elementLoopType(dtype: Dtype, lanes: number): LoopType {
  switch (dtype) {
    case "f32":
    case "bf16":
    case "f16":
      return loopType("f32", lanes);
    case "f64":
      return loopType("f64", lanes);
    case "i32":
    case "i8":
    case "bool":
      return loopType("i32", lanes);
    default:
      return invariant(false, `no element type for ${dtype}`) as never;
  }
}
