// donate: results that take over the memory of a parameter (weights, optimiser moments, caches). The unit that computes
// such a result must be the last to read the parameter, so it is moved behind the other readers where nothing forbids
// it; where something does, the result is computed elsewhere and copied at the end.

import type { Graph, Node, Tensor } from "@fidelity/core";
import { sameType } from "@fidelity/core";
import type { FusedUnit, Unit } from "./fuse.ts";
import { accessOf, operandsOf, resolveAlias } from "./fuse.ts";
import { passesOf } from "../lower/row_plan.ts";
import { UnitOrder } from "./unit_order.ts";

export interface Donation {
  readonly parameter: number;
  readonly result: number;
}

/** Units in an order that lets donated results be computed in place (unit_order.ts), and the results that can be. */
export function planDonations(
  graph: Graph,
  units: readonly Unit[],
  donations: readonly Donation[],
): { readonly units: readonly Unit[]; readonly inPlace: ReadonlySet<number> } {
  const order = new UnitOrder(units, graph.results);
  const inPlace = new Set<number>();
  for (const { parameter, result } of donations) {
    const source = graph.parameters[parameter]!;
    const target = resolveAlias(graph.results[result]!);
    const producer = order.producerOf(target);
    if (producer === undefined || !canOverwrite(producer, source, target)) continue;
    // A parameter that is itself a result is read when everything else is done.
    if (graph.results.some((other) => resolveAlias(other) === source)) continue;
    const readers = order.readersOf(source).filter((reader) => reader !== producer);
    if (readers.some((reader) => order.dependsOn(reader, producer))) continue;
    for (const reader of readers) order.require(producer, reader);
    inPlace.add(result);
  }
  return { units: order.sorted(), inPlace };
}

/** Whether a unit reads each element of `source` before it writes the same element of `target`. */
function canOverwrite(unit: Unit, source: Tensor, target: Tensor): boolean {
  if (unit.kind === "loop") return loopCanOverwrite(unit.node, source, target);
  if (unit.kind === "fused") return fusedCanOverwrite(unit, source, target);
  const { lowering } = unit.node.op;
  const reads = unit.node.inputs.flatMap((input, i) => (resolveAlias(input) === source ? [i] : []));
  if (reads.length === 0) return true;
  const takesOver = lowering.kind === "kernel" && target.index === (lowering.inPlaceResult ?? 0);
  return takesOver && reads.length === 1 && lowering.inPlace === reads[0];
}

/** A loop that reads `source` by slices alone, and writes them: each slice is read before the iteration writes it. */
function loopCanOverwrite(node: Node, source: Tensor, target: Tensor): boolean {
  const [constants, carries] = [node.attrs["constants"] as number, node.attrs["carries"] as number];
  const reads = node.inputs.flatMap((input, i) => (resolveAlias(input) === source ? [i] : []));
  if (reads.length === 0) return true;
  const [read] = reads as [number];
  const bySlices = reads.length === 1 && read >= constants + carries && target.index >= carries;
  return bySlices && sameType(node.inputs[read]!.type, target.type);
}

function fusedCanOverwrite(unit: FusedUnit, source: Tensor, target: Tensor): boolean {
  const { passOf, perRow } = passesOf(unit);
  const written = passOf.get(target)!;
  return unit.nodes.every((node) =>
    operandsOf(node).every((input) => {
      const access = accessOf(input, unit.rows, unit.columns);
      if (access === undefined || access.base !== source) return true;
      if (access.rows !== "same" || access.columns !== "same" || perRow.has(node.results[0]!)) return false;
      return passOf.get(node.results[0]!)! <= written;
    }),
  );
}
