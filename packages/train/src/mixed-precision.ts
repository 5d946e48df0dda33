// Mixed precision as a rewriting of a graph (Micikevicius et al. 2018, arXiv 1710.03740, with bfloat16 in place of
// float16, so that no loss scaling is needed): every operand of a dense product is rounded to bfloat16. The derivative
// of a cast is the identity, so gradients reach the float32 masters unrounded.
//
// Ternary products are left alone: their operands have 2 and 8 bits already.

import { cast, emit, topologicalOrder } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";

/** Ops whose operands are rounded. */
const products: ReadonlySet<string> = new Set(["matmul", "attention"]);

/** `root` with the operands of all dense products that it depends on rounded to bfloat16. Call it inside a trace. */
export function roundProducts<T extends Tensor>(root: T): T {
  const rewritten = new Map<Tensor, Tensor>();
  for (const node of topologicalOrder([root])) {
    const inputs = node.inputs.map((input) => rewritten.get(input) ?? input);
    const isProduct = products.has(node.op.name);
    if (!isProduct && inputs.every((input, i) => input === node.inputs[i])) continue;
    const results = emit(node.op, isProduct ? inputs.map(roundToBf16) : inputs, node.attrs);
    node.results.forEach((result, i) => rewritten.set(result, results[i]));
  }
  return (rewritten.get(root) ?? root) as T;
}

function roundToBf16(x: Tensor): Tensor {
  return x.dtype === "f32" ? cast(cast(x, "bf16"), "f32") : x;
}
