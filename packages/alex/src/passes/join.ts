// join: fused units of one domain that read the same large values, and do not depend on each other, become one, so that
// these values are passed once. In a backward pass they are siblings: the cotangents of two factors of a product, of a
// gate and of what it gates. Joining producers with consumers is what fuse.ts does.

import type { Tensor, VectorTarget } from "@fidelity/core";
import { completeTarget, elementCount } from "@fidelity/core";
import type { FusedUnit, Unit } from "./fuse.ts";
import { NODE_LIMIT } from "./fuse.ts";
import { LARGE_CHUNKS, loadsOf, memoryBehind } from "./recompute.ts";

/** Large values that two units must share: one alone would not pay for the registers that both need. */
const SHARED_LOADS = 2;
/** How many units a sibling may stand in front; further, and what it reads would have to live longer. */
const WINDOW = 8;

/** Units in an order in which they can run, fewer than before where siblings were found. */
export function joinSiblings(units: readonly Unit[], target: VectorTarget): Unit[] {
  const largeElements = LARGE_CHUNKS * completeTarget(target).chunkElements;
  const owners = new Map<Tensor, Unit>();
  for (const unit of units) {
    const results = unit.kind === "fused" ? unit.outputs : unit.node.results;
    for (const result of results) owners.set(result, unit);
  }
  const joined: Unit[] = [];
  /** Where each value is computed now. */
  const places = new Map<Tensor, number>();
  for (const unit of units) {
    const reads = unit.kind === "fused" ? loadsOf(unit) : memoryBehind(unit.node, owners);
    const after = Math.max(-1, ...[...reads].map((tensor) => places.get(tensor) ?? -1));
    const sibling = unit.kind === "fused" ? findSibling(joined, unit, reads, after, largeElements) : -1;
    const at = sibling < 0 ? joined.length : sibling;
    joined[at] = sibling < 0 ? unit : together(joined[sibling] as FusedUnit, unit as FusedUnit);
    for (const result of unit.kind === "fused" ? unit.outputs : unit.node.results) places.set(result, at);
  }
  return joined;
}

/** The place of a unit behind `after` that `unit` can join, or -1. */
function findSibling(
  units: readonly Unit[],
  unit: FusedUnit,
  reads: ReadonlySet<Tensor>,
  after: number,
  largeElements: number,
): number {
  const { rows, columns, nodes } = unit;
  if (rows * columns < largeElements) return -1;
  const isLarge = (load: Tensor): boolean => elementCount(load.shape) === rows * columns;
  for (let i = units.length - 1; i > Math.max(after, units.length - 1 - WINDOW); i--) {
    const other = units[i];
    if (other.kind !== "fused" || other.rows !== rows || other.columns !== columns) continue;
    if (other.nodes.length + nodes.length > NODE_LIMIT) continue;
    const shared = [...loadsOf(other)].filter((load) => reads.has(load) && isLarge(load));
    if (shared.length >= SHARED_LOADS) return i;
  }
  return -1;
}

function together(a: FusedUnit, b: FusedUnit): FusedUnit {
  const nodes = [...new Set([...a.nodes, ...b.nodes])].sort((x, y) => x.id - y.id);
  return { ...a, nodes, outputs: [...a.outputs, ...b.outputs] };
}
