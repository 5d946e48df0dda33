// recompute: large values that one fused unit writes for another are computed again by their reader, where the reader
// passes no more memory for it. The forward half of a training step leaves gates, products and normalised rows to the
// backward half, and all of them follow from a few results of kernels: writing and reading them costs more than their
// arithmetic. After Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016), without its choice of how
// much: only elementwise work is done again, never a kernel or a reduction. The same operations in the same order give
// the same bits.

import type { Graph, Node, Tensor, VectorTarget } from "@fidelity/core";
import { completeTarget, elementCount } from "@fidelity/core";
import type { Access, FusedUnit, Unit } from "./fuse.ts";
import { accessOf, isInline, NODE_LIMIT, operandsOf, resolveAlias, rowsAndColumns } from "./fuse.ts";

/** Values of fewer chunks than this stay in a cache from their writer to their reader. */
export const LARGE_CHUNKS = 4;
/** Vectors below this width make a transcendental function dearer than the memory for its result. */
const WIDE_LANES = 8;
const TRANSCENDENTAL = new Set([
  "exp",
  "log",
  "tanh",
  "erf",
  "sigmoid",
  "silu",
  "sin",
  "cos",
  "pow",
  "gelu",
  "softplus",
]);

/** Units in the same order, of which the fused ones compute again what they need not read. */
export function recompute(graph: Graph, units: readonly Unit[], target: VectorTarget): Unit[] {
  const owners = new Map<Tensor, Unit>();
  for (const unit of units) {
    for (const node of nodesOf(unit)) for (const result of node.results) owners.set(result, unit);
  }
  const mayRepeat = (node: Node): boolean =>
    node.op.lowering.kind === "elementwise" && (target.lanes >= WIDE_LANES || !TRANSCENDENTAL.has(node.op.name));
  const stays = new Set(graph.results.map(resolveAlias));
  for (const unit of units) {
    if (unit.kind !== "fused") for (const tensor of memoryBehind(unit.node, owners)) stays.add(tensor);
  }
  const largeElements = LARGE_CHUNKS * completeTarget(target).chunkElements;
  const known: Known = { owners, stays, mayRepeat, largeElements };
  const grown = units.map((unit) => (unit.kind === "fused" ? new Reader(unit, known).grown() : unit));
  return withoutUnread(graph, units, grown, owners);
}

function nodesOf(unit: Unit): readonly Node[] {
  return unit.kind === "fused" ? unit.nodes : [unit.node];
}

/** What computing a value again takes: nodes, and large values in memory that they start from. */
interface Origin {
  readonly nodes: ReadonlySet<Node>;
  readonly roots: ReadonlySet<Tensor>;
}

/** What is the same for all units. */
interface Known {
  /** The unit that computed each value when there was one for each. */
  readonly owners: ReadonlyMap<Tensor, Unit>;
  /** Values that are written for others than fused units, whatever those do. */
  readonly stays: ReadonlySet<Tensor>;
  readonly mayRepeat: (node: Node) => boolean;
  readonly largeElements: number;
}

/** A fused unit that reads what others wrote. */
class Reader {
  readonly #unit: FusedUnit;
  readonly #members: ReadonlySet<Node>;
  readonly #known: Known;

  constructor(unit: FusedUnit, known: Known) {
    this.#unit = unit;
    this.#members = new Set(unit.nodes);
    this.#known = known;
  }

  /** The unit with nodes of others in front of its own, or as it is. */
  grown(): FusedUnit {
    const { rows, columns } = this.#unit;
    if (rows * columns < this.#known.largeElements) return this.#unit;
    const loads = new Set([...loadsOf(this.#unit)].filter((load) => elementCount(load.shape) === rows * columns));
    // All from their beginnings if that reads no more than now, or else those that follow from what is read anyway.
    const all = this.#origins(loads, new Set());
    const chosen = this.#isGood(loads, all)
      ? all
      : this.#origins(loads, loads).filter(([, { roots }]) => {
          return [...roots].every((root) => loads.has(root));
        });
    const nodes = new Set(this.#unit.nodes);
    for (const [, origin] of chosen) for (const node of origin.nodes) nodes.add(node);
    if (chosen.length === 0 || nodes.size > NODE_LIMIT) return this.#unit;
    return { ...this.#unit, nodes: [...nodes].sort((a, b) => a.id - b.id) };
  }

  #isGood(loads: ReadonlySet<Tensor>, chosen: readonly (readonly [Tensor, Origin])[]): boolean {
    const after = new Set(loads);
    for (const [load] of chosen) after.delete(load);
    for (const [, { roots }] of chosen) for (const root of roots) after.add(root);
    return (
      after.size < loads.size || (after.size === loads.size && chosen.some(([load]) => !this.#known.stays.has(load)))
    );
  }

  /** The origins of those loads that have one, which end at `ends`. */
  #origins(loads: ReadonlySet<Tensor>, ends: ReadonlySet<Tensor>): [Tensor, Origin][] {
    return [...loads].flatMap((load): [Tensor, Origin][] => {
      const origin = this.#originOf(load, ends);
      return origin === undefined || origin.roots.has(load) ? [] : [[load, origin]];
    });
  }

  /** How a large value can be computed here; undefined where something that it needs is nowhere in memory. */
  #originOf(value: Tensor, ends: ReadonlySet<Tensor>): Origin | undefined {
    const nodes = new Set<Node>();
    const roots = new Set<Tensor>();
    const visit = (tensor: Tensor): boolean => {
      const { node } = tensor;
      if (this.#members.has(node) || nodes.has(node)) return true;
      if ((tensor !== value && ends.has(tensor)) || !this.#isRepeatable(node)) {
        roots.add(tensor);
        const owner = this.#known.owners.get(tensor);
        return owner?.kind !== "fused" || owner.outputs.includes(tensor);
      }
      nodes.add(node);
      return this.#accesses(node).every((access) => access === undefined || !isLarge(access) || visit(access.base));
    };
    return visit(value) ? { nodes, roots } : undefined;
  }

  /** Whether a node of another fused unit can run here, at the same places. */
  #isRepeatable(node: Node): boolean {
    const [result] = node.results;
    if (this.#known.owners.get(result)?.kind !== "fused" || !this.#known.mayRepeat(node)) return false;
    const own = rowsAndColumns(result.shape);
    if (own.rows !== this.#unit.rows || own.columns !== this.#unit.columns) return false;
    return operandsOf(node).every((operand) => {
      const access = accessOf(operand, this.#unit.rows, this.#unit.columns);
      if (isInline(operand, access, this.#unit.columns)) return true;
      if (access === undefined) return false;
      // A row that repeats is read as it lies in memory, where a unit of its own has put it.
      return access.rows === "same" || !this.#members.has(access.base.node);
    });
  }

  /** What a node reads; undefined for what is computed on the spot. */
  #accesses(node: Node): (Access | undefined)[] {
    return operandsOf(node).map((operand) => {
      const access = accessOf(operand, this.#unit.rows, this.#unit.columns);
      return isInline(operand, access, this.#unit.columns) ? undefined : access;
    });
  }
}

function isLarge({ rows, columns }: Access): boolean {
  return rows === "same" && columns === "same";
}

/** What a fused unit reads from memory. */
export function loadsOf(unit: FusedUnit): Set<Tensor> {
  const members = new Set(unit.nodes);
  const loads = new Set<Tensor>();
  for (const operand of unit.nodes.flatMap(operandsOf)) {
    const access = accessOf(operand, unit.rows, unit.columns);
    if (access === undefined || isInline(operand, access, unit.columns)) continue;
    if (!members.has(access.base.node)) loads.add(access.base);
  }
  return loads;
}

/** Units write what others still read, and compute what that needs; those of which nothing is left are gone. */
function withoutUnread(
  graph: Graph,
  before: readonly Unit[],
  units: readonly Unit[],
  owners: ReadonlyMap<Tensor, Unit>,
): Unit[] {
  const read = new Set(graph.results.map(resolveAlias));
  const kept: Unit[] = [];
  // From the last: readers come behind what they read.
  for (let i = units.length - 1; i >= 0; i--) {
    const unit = units[i];
    const left = unit.kind === "fused" ? trimmed(unit, before[i], owners, read) : unit;
    if (left === undefined) continue;
    kept.push(left);
    for (const tensor of left.kind === "fused" ? loadsOf(left) : memoryBehind(left.node, owners)) read.add(tensor);
  }
  return kept.reverse();
}

/** A fused unit with what is read of it, and without what that does not need. */
function trimmed(
  unit: FusedUnit,
  before: Unit,
  owners: ReadonlyMap<Tensor, Unit>,
  read: ReadonlySet<Tensor>,
): FusedUnit | undefined {
  const outputs = unit.nodes
    .flatMap(({ results }) => results)
    .filter((result) => owners.get(result) === before && read.has(result));
  const needed = new Set(outputs.map(({ node }) => node));
  for (const node of [...unit.nodes].reverse()) {
    if (!needed.has(node)) continue;
    for (const operand of operandsOf(node)) {
      const access = accessOf(operand, unit.rows, unit.columns);
      if (access !== undefined) needed.add(access.base.node);
    }
  }
  const nodes = unit.nodes.filter((node) => needed.has(node));
  return outputs.length === 0 ? undefined : { ...unit, nodes, outputs };
}

/** What a node of its own reads, through nodes that belong to no unit. */
export function memoryBehind(node: Node, owners: ReadonlyMap<Tensor, unknown>): Set<Tensor> {
  const found = new Set<Tensor>();
  const visit = (tensor: Tensor): void => {
    const base = resolveAlias(tensor);
    if (found.has(base)) return;
    found.add(base);
    if (!owners.has(base)) base.node.inputs.forEach(visit);
  };
  node.inputs.forEach(visit);
  return found;
}
