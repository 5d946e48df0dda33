// The plan of a fused unit as loops over rows. Reductions cut the work on a row into passes: what needs a row's sum or
// maximum runs in a later pass than the reduction. Values that a later pass needs again stay in a row of scratch memory
// (in the first-level cache) or are read back from the output. Everything else lives in registers.
// A unit without per-row values is one flat loop over all elements.

import { cellBytes, elementCount, elementSize, PAST_CACHES_BYTES, roundUp } from "@fidelity/core";
import type { Node, Tensor, VectorTarget } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Access, FusedUnit } from "../passes/fuse.ts";
import { accessOf, isInline, isTail, operandsOf, resolveAlias, rowsAndColumns } from "../passes/fuse.ts";

/** Operations that a transcendental function counts for, in estimates of work. */
const TRANSCENDENTAL_WORK = 16;
const TRANSCENDENTAL = new Set(["exp", "log", "tanh", "sigmoid", "silu", "sin", "cos"]);

/** How a unit will run: which memory it touches, in which passes, in how many chunks. */
export interface RowProgram {
  readonly unit: FusedUnit;
  readonly rows: number;
  readonly columns: number;
  /** Lanes of the loops' vectors: 1 where dtypes of different sizes meet. */
  readonly lanes: number;
  /** Vectors that one turn of a loop over columns treats. */
  readonly unroll: number;
  /** Tensors read from memory. */
  readonly loads: readonly Tensor[];
  /** Whether a value of the unit is one element a row. */
  readonly perRow: ReadonlySet<Tensor>;
  /** The pass in which each value of the unit is computed. */
  readonly passOf: ReadonlyMap<Tensor, number>;
  /** Full values that a later pass reads again. */
  readonly kept: ReadonlySet<Tensor>;
  /** Outputs that no cache would hold until they are read: written past the caches, which then need not fetch them. */
  readonly pastCaches: ReadonlySet<Tensor>;
  readonly passes: number;
  /** Whether there is enough to compute that memory can be asked for meanwhile. */
  readonly computes: boolean;
  readonly chunks: number;
  /** Elements of a chunk where there is one row, in chunks. */
  readonly chunkElements: number;
  readonly rowsPerChunk: number;
  /** Rows that go through the passes side by side. */
  readonly rowsTogether: number;
  readonly work: number;
}

export function planRowProgram(unit: FusedUnit, target: Required<VectorTarget>): RowProgram {
  const { chunkElements } = target;
  const flat = isFlat(unit);
  const lanes = lanesOf(unit, target.lanes);
  const rows = flat ? 1 : unit.rows;
  const columns = flat ? unit.rows * unit.columns : unit.columns;
  const { perRow, passOf, kept } = passesOf(unit);
  const perElement = unit.nodes.reduce((sum, node) => sum + (isTranscendental(node) ? TRANSCENDENTAL_WORK : 1), 1);
  const passes = Math.max(0, ...passOf.values()) + 1;
  const rowsTogether = rowsTogetherOf(unit, rows, columns, passes);
  const rowsPerChunk = roundUp(Math.max(1, Math.ceil(chunkElements / columns)), rowsTogether);
  return {
    unit,
    rows,
    columns,
    perRow,
    passOf,
    kept,
    pastCaches: pastCachesOf(unit, columns, lanes, kept),
    chunkElements,
    rowsPerChunk,
    rowsTogether,
    lanes,
    unroll: unrollOf(unit, columns / lanes, target),
    loads: loadsOf(unit),
    passes,
    computes: unit.nodes.some(isTranscendental),
    chunks: rows === 1 && flat ? Math.ceil(columns / chunkElements) : Math.ceil(rows / rowsPerChunk),
    work: rows * columns * perElement,
  };
}

/** Large outputs whose rows are whole vectors, so that each vector lies at a multiple of its size: buffers do. */
function pastCachesOf(unit: FusedUnit, columns: number, lanes: number, kept: ReadonlySet<Tensor>): Set<Tensor> {
  if (lanes === 1 || columns % lanes !== 0) return new Set();
  const isLarge = ({ dtype, shape }: Tensor): boolean =>
    cellBytes(dtype) === elementSize(dtype) && elementCount(shape) * cellBytes(dtype) >= PAST_CACHES_BYTES;
  return new Set(unit.outputs.filter((tensor) => !isTail(tensor.node) && !kept.has(tensor) && isLarge(tensor)));
}

/** Whether a node is a function that takes a series of operations. */
export function isTranscendental({ op }: Node): boolean {
  return TRANSCENDENTAL.has(op.name);
}

/** The ops of a unit that end it with work on whole rows. */
export function tailsOf(unit: FusedUnit): readonly Node[] {
  return unit.nodes.filter(isTail);
}

/** How a unit reads an operand. */
export function domainAccess(unit: FusedUnit, operand: Tensor): Access | undefined {
  return accessOf(operand, unit.rows, unit.columns);
}

/**
 * Small units take four vectors at a time, to hide the latency of sums; where the engine joins two neighbouring vectors
 * in one register, larger ones take two.
 */
function unrollOf(unit: FusedUnit, vectors: number, { joinsVectors }: VectorTarget): number {
  if (unit.nodes.length <= 12 && vectors >= 4) return 4;
  return joinsVectors && vectors >= 2 ? 2 : 1;
}

/**
 * Sums of a row end in a chain of operations, each waiting for the one before. Small units work on four rows side by
 * side, as long as what they keep of them stays in the first cache.
 */
function rowsTogetherOf(unit: FusedUnit, rows: number, columns: number, passes: number): number {
  const fits = unit.nodes.length <= 16 && columns <= 1024;
  return passes > 1 && rows >= 4 && fits ? 4 : 1;
}

/** Whether every value and operand has one element for each place, in the same order. */
function isFlat(unit: FusedUnit): boolean {
  return unit.nodes.every((node) => {
    if (node.op.lowering.kind !== "elementwise") return false;
    const own = rowsAndColumns(node.results[0]!.shape);
    if (own.rows * own.columns !== unit.rows * unit.columns) return false;
    return (
      operandsOf(node).every((operand) => {
        const access = domainAccess(unit, operand);
        if (isInline(operand, access, unit.columns))
          return access === undefined || access.base.node.op.name === "splat";
        if (access === undefined) return false;
        return (
          elementCount(access.base.shape) === 1 ||
          (access.rows === "same" && (access.columns === "same" || unit.columns === 1))
        );
      }) &&
      (node.inputs.length > 0 || node.op.name === "splat")
    );
  });
}

/** Vectors hold as many elements as the widest dtype allows; mixed sizes run one element at a time. */
function lanesOf(unit: FusedUnit, f32Lanes: number): number {
  const sizes = new Set<number>();
  for (const node of unit.nodes) {
    for (const { dtype } of [...node.inputs, ...node.results]) sizes.add(dtype === "f64" ? 8 : 4);
  }
  if (sizes.size > 1) return 1;
  return sizes.has(8) ? f32Lanes / 2 : f32Lanes;
}

function loadsOf(unit: FusedUnit): Tensor[] {
  const members = new Set(unit.nodes);
  const loads = new Set<Tensor>();
  for (const operand of unit.nodes.flatMap(operandsOf)) {
    const access = domainAccess(unit, operand);
    if (isInline(operand, access, unit.columns)) continue;
    invariant(access !== undefined, `no access to ${operand.toString()} in [${unit.rows}, ${unit.columns}]`);
    if (!members.has(access.base.node)) loads.add(access.base);
  }
  return [...loads];
}

/** Values of the unit that a node reads. */
function membersRead(unit: FusedUnit, members: ReadonlySet<Node>, node: Node): Tensor[] {
  return operandsOf(node).flatMap((operand) => {
    const access = domainAccess(unit, operand);
    return access !== undefined && members.has(access.base.node) ? [access.base] : [];
  });
}

/** Which values of a unit are one element a row, in which pass each is computed, and which are kept for later ones. */
export function passesOf(unit: FusedUnit): Pick<RowProgram, "perRow" | "passOf" | "kept"> {
  const perRow = perRowValues(unit);
  const members = new Set(unit.nodes);
  const earliest = new Map<Tensor, number>();
  for (const node of unit.nodes) {
    const [result] = node.results;
    const level = Math.max(0, ...membersRead(unit, members, node).map((read) => earliest.get(read)!));
    earliest.set(result!, node.op.lowering.kind === "reduce" ? level + 1 : level);
  }
  // A full value is computed in the first pass that needs it, which may be later than the first that could.
  const needed = new Map<Tensor, number[]>();
  const passOf = new Map<Tensor, number>();
  const outputs = new Set(unit.outputs);
  for (const node of [...unit.nodes].reverse()) {
    const [result] = node.results;
    const uses = needed.get(result!) ?? [];
    if (outputs.has(result!) || perRow.has(result!)) uses.push(earliest.get(result!)!);
    const pass = perRow.has(result!) ? earliest.get(result!)! : Math.min(...uses);
    passOf.set(result!, pass);
    const reading = node.op.lowering.kind === "reduce" ? pass - 1 : pass;
    for (const read of membersRead(unit, members, node)) needed.set(read, [...(needed.get(read) ?? []), reading]);
  }
  // Tails read their rows when all passes are done: from the unit's output, or from where they are kept.
  const kept = new Set(tailsOf(unit).map((node) => resolveAlias(node.inputs[0]!)));
  for (const [value, uses] of needed) {
    if (!perRow.has(value) && uses.some((pass) => pass > passOf.get(value)!)) kept.add(value);
  }
  return { perRow, passOf, kept };
}

function perRowValues(unit: FusedUnit): Set<Tensor> {
  const perRow = new Set<Tensor>();
  if (isFlat(unit)) return perRow;
  for (const node of unit.nodes) {
    const own = rowsAndColumns(node.results[0]!.shape);
    if (node.op.lowering.kind === "reduce" || (own.columns === 1 && unit.columns !== 1)) perRow.add(node.results[0]!);
  }
  return perRow;
}
