// The partial results of a reduction: what each lane starts with, and how lanes come together. The order is fixed here:
// pieces pairwise, then lanes one after the other, then the value from before the loop. Threads have no part in it.

import type { KernelBuilder, LoopValue } from "@fidelity/core";
import type { Reduction } from "../analysis/reductions.ts";
import type { ScalarType } from "../ir/kernel_ir.ts";
import { constantOf } from "./operations.ts";

/** The value that changes nothing, in every lane. */
export function identityOf(k: KernelBuilder, { op }: Reduction, type: ScalarType, lanes: number): LoopValue {
  const isInteger = type === "i32";
  const values = {
    sum: 0,
    product: 1,
    min: isInteger ? 2 ** 31 - 1 : Infinity,
    max: isInteger ? -(2 ** 31) : -Infinity,
  };
  return constantOf(k, type, values[op], lanes);
}

/** Two partial results as one. */
function join(k: KernelBuilder, { op, byComparison }: Reduction, a: LoopValue, b: LoopValue): LoopValue {
  if (op === "sum") return k.add(a, b);
  if (op === "product") return k.mul(a, b);
  // Written as comparisons, NaN is passed over as it is in the source.
  if (byComparison) return k.select(k.compare(op === "max" ? "gt" : "lt", b, a), b, a);
  return op === "max" ? k.max(a, b) : k.min(a, b);
}

/** All lanes of all pieces, and the value from before the loop. */
export function combine(
  k: KernelBuilder,
  reduction: Reduction,
  before: LoopValue,
  pieces: readonly LoopValue[],
): LoopValue {
  let level = [...pieces];
  while (level.length > 1) {
    level = Array.from({ length: Math.ceil(level.length / 2) }, (_, i) => {
      const [a, b] = [level[2 * i]!, level[2 * i + 1]];
      return b === undefined ? a : join(k, reduction, a, b);
    });
  }
  const [vector] = level;
  let result = before;
  for (let lane = 0; lane < vector!.type.lanes; lane++) {
    result = join(k, reduction, result, vector!.type.lanes === 1 ? vector! : k.extract(vector!, lane));
  }
  return result;
}
