// Layout decisions: packed operands, transpositions that products take in, values that are repacked before a product,
// and results that must be copied to their place.

import type { Graph, Node } from "@fidelity/core";
import { storageBytes, topologicalOrder } from "@fidelity/core";
import type { CompiledStages } from "../compile.ts";
import { isTail } from "../passes/fuse.ts";
import type { CallExplanation, LayoutExplanation } from "./explanation.ts";

export function explainLayouts(
  { compilation }: CompiledStages,
  calls: readonly CallExplanation[],
): LayoutExplanation[] {
  const nodes = topologicalOrder(compilation.graph.results);
  const joined = (compilation.units ?? []).flatMap((unit) => (unit.kind === "fused" ? unit.nodes.filter(isTail) : []));
  return [
    ...packedParameters(compilation.graph),
    row("transposed operands, taken in by their products", nodes.filter(isTransposedProduct)),
    row(
      "views: reshapes, which cost nothing",
      nodes.filter(({ op }) => op.lowering.kind === "alias"),
    ),
    conversions("panels of products, packed before them", calls, /_pack$/),
    row("activations to int8 codes, in the loop that computes them", joined),
    conversions("activations to int8 codes, in a loop of their own", calls, /^quantize/),
    conversions("transpositions and slices that are written out", calls, /^(transpose|slice|concat|broadcast|pad)/),
    conversions("copies to where results belong", calls, /^copy$/),
  ].filter(({ count }) => count > 0);
}

function packedParameters({ parameters }: Graph): LayoutExplanation[] {
  const ternary = parameters.filter(({ type }) => type.dtype === "ternary");
  const bytes = ternary.reduce((sum, { type }) => sum + storageBytes(type), 0);
  return [{ what: "ternary weights, 2 bits each in blocks of 16 rows", count: ternary.length, bytes }];
}

function isTransposedProduct({ op, attrs }: Node): boolean {
  return op.name === "matmul" && (attrs["transposeA"] === true || attrs["transposeB"] === true);
}

/** What costs nothing. */
function row(what: string, nodes: readonly Node[]): LayoutExplanation {
  return { what, count: nodes.length, bytes: 0 };
}

function conversions(what: string, calls: readonly CallExplanation[], label: RegExp): LayoutExplanation {
  const found = calls.filter((call) => label.test(call.label));
  return { what, count: found.length, bytes: found.reduce((sum, { bytes }) => sum + bytes, 0) };
}
