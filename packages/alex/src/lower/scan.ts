// The `scan` op as a loop of calls: the body's units run once an iteration over the same memory; inputs and outputs
// with a leading time axis are read and written in place, one slice an iteration, also where an output is donated the
// memory of an input. Carries live in the memory of the results. A limited scan looks at its first carry there.

import type { Graph, Node } from "@fidelity/core";
import { storageBytes } from "@fidelity/core";
import type { Donation } from "../passes/donate.ts";
import { planDonations } from "../passes/donate.ts";
import { fuse } from "../passes/fuse.ts";
import type { BufferView, CallLoop } from "./lowering.ts";
import { Scope, copyView, lowerGraph } from "./lowering.ts";

export function lowerScan(scope: Scope, node: Node): void {
  const body = node.attrs["body"] as Graph;
  const constants = node.attrs["constants"] as number;
  const carries = node.attrs["carries"] as number;
  const length = node.attrs["length"] as number;
  const reverse = node.attrs["reverse"] as boolean;
  const inner = new Scope(scope.lowering, scope.depth + 1);
  const slice = (view: BufferView, sizeBytes: number): BufferView => ({
    buffer: view.buffer,
    offsetBytes: view.offsetBytes + (reverse ? (length - 1) * sizeBytes : 0),
    strideBytes: [...padded(view.strideBytes, scope.depth), reverse ? -sizeBytes : sizeBytes],
  });
  const results = node.results.map((result) => scope.define(result));
  const inputs = node.inputs.map((input) => scope.view(input));
  body.parameters.forEach((parameter, i) => {
    const isCarry = i >= constants && i < constants + carries;
    if (isCarry) {
      copyView(scope, inputs[i]!, results[i - constants]!, storageBytes(parameter.type));
      inner.views.set(parameter, results[i - constants]!);
    } else {
      inner.views.set(parameter, i < constants ? inputs[i]! : slice(inputs[i]!, storageBytes(parameter.type)));
    }
  });
  const targets = body.results.map((result, i) =>
    i < carries ? results[i]! : slice(results[i]!, storageBytes(result.type)),
  );
  // A carry is read until the iteration ends, so the next one is computed elsewhere and copied.
  const donations = slicesInPlace(node, inputs, results);
  const { units, inPlace } = planDonations(body, fuse(body), donations);
  const donated = new Set(donations.map(({ result }) => result));
  const mayPlace = (result: number): boolean => result >= carries && (!donated.has(result) || inPlace.has(result));
  lowerGraph(inner, body, units, targets, mayPlace);
  // The limit is the first carry, which the loop may change.
  const limit: CallLoop["limit"] =
    node.attrs["limited"] === true ? { keeps: reverse ? "last" : "first", view: results[0]! } : undefined;
  scope.items.push({ kind: "loop", count: length, ...(limit && { limit }), items: inner.items });
}

/** The slices that are written where another one is read in the same iteration: parameters and results of the body. */
function slicesInPlace(node: Node, inputs: readonly BufferView[], results: readonly BufferView[]): Donation[] {
  const carries = node.attrs["carries"] as number;
  const firstSlice = (node.attrs["constants"] as number) + carries;
  return inputs.slice(firstSlice).flatMap((input, at) => {
    const result = results.findIndex(({ buffer }, j) => j >= carries && buffer === input.buffer);
    return result < 0 ? [] : [{ parameter: firstSlice + at, result }];
  });
}

function padded(strides: readonly number[], depth: number): number[] {
  return Array.from({ length: depth }, (_, i) => strides[i] ?? 0);
}
