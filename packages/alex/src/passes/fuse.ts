// fuse: joins elementwise ops, reductions along the last axis and broadcasts into row programs, the loops that
// lower/row_program.ts emits. A fused unit works on a domain [rows, columns]; each of its values is either full (one
// element for each place) or per row. Softmax, normalisation, gates and optimiser updates become one loop over rows,
// forward and backward, without a rule for any of them. Ops that end with work on whole rows (`rowTail`: quantisation)
// join the unit that computes their rows.
//
// Units must not depend on each other in a circle. The pass keeps the graph of units and joins two of them only when no
// path leads from one to the other through a third.

import type { Graph, Node, Tensor } from "@fidelity/core";
import { elementCount, topologicalOrder } from "@fidelity/core";

/** Elementwise neighbours in one loop nest over [rows, columns]. */
export interface FusedUnit {
  readonly kind: "fused";
  readonly nodes: readonly Node[];
  readonly rows: number;
  readonly columns: number;
  /** Values that others read. */
  readonly outputs: readonly Tensor[];
}

/** One node with loops of its own. */
export interface KernelUnit {
  readonly kind: "kernel";
  readonly node: Node;
}

/** One node that repeats a body graph. */
export interface LoopUnit {
  readonly kind: "loop";
  readonly node: Node;
}

export type Unit = FusedUnit | KernelUnit | LoopUnit;

/** More nodes than this in a unit cost more in registers and code than they save in memory traffic. */
export const NODE_LIMIT = 96;

/** A unit under construction. */
interface Group {
  readonly id: number;
  nodes: Node[];
  /** Undefined for nodes that never fuse. */
  domain: { rows: number; columns: number } | undefined;
  /** Direct dependencies, by group (looked up through `find`). */
  dependencies: Set<Group>;
  /** The groups that depend on it directly, and those that did before they were merged; looked up through `find`. */
  readers: Group[];
  /** All that it depends on, bits by the groups' ids. A group that was merged stands for the one it is in. */
  ancestors: Uint32Array;
  mergedInto: Group | undefined;
}

/** The value that reshapes stand for. */
export function resolveAlias(tensor: Tensor): Tensor {
  let base = tensor;
  while (base.node.op.lowering.kind === "alias") base = base.node.inputs[0]!;
  return base;
}

/** [rows, columns] of a tensor. */
export function rowsAndColumns(shape: readonly number[]): { rows: number; columns: number } {
  const columns = shape[shape.length - 1] ?? 1;
  return { rows: elementCount(shape) / columns, columns };
}

/** How an operand is read at (row, column): its row is `row` or `row % modulo`, its column the same or always 0. */
export interface Access {
  readonly base: Tensor;
  readonly rows: "same" | { readonly modulo: number };
  readonly columns: "same" | "zero";
}

/**
 * The access of `operand` in a domain of [rows, columns], looking through aliases and broadcasts; undefined when its
 * rows repeat in another pattern.
 */
export function accessOf(operand: Tensor, rows: number, columns: number): Access | undefined {
  const count = elementCount(operand.shape);
  const own = rowsAndColumns(operand.shape);
  const through = accessThrough(operand, rows, columns);
  if (through !== undefined) return through;
  const base = resolveAlias(operand);
  if (count === rows * columns && (own.columns === columns || columns === 1 || rows === 1)) {
    return { base, rows: "same", columns: "same" };
  }
  if (count === rows && own.columns === 1) return { base, rows: "same", columns: "zero" };
  return undefined;
}

/** The access to what a broadcast repeats; undefined where there is none, or only its written-out result will do. */
function accessThrough(operand: Tensor, rows: number, columns: number): Access | undefined {
  const { op, inputs } = operand.node;
  if (op.lowering.kind === "broadcast") return broadcastAccess(operand, inputs[0]!, rows, columns);
  if (op.lowering.kind !== "alias" || !hasBroadcast(operand)) return undefined;
  const own = rowsAndColumns(operand.shape);
  const inner = rowsAndColumns(inputs[0]!.shape);
  const keeps = inner.columns === own.columns || (elementCount(inputs[0]!.shape) === rows && own.columns === 1);
  return keeps ? accessThrough(inputs[0]!, rows, columns) : undefined;
}

function hasBroadcast(tensor: Tensor): boolean {
  let base = tensor;
  while (base.node.op.lowering.kind === "alias") base = base.node.inputs[0]!;
  return base.node.op.lowering.kind === "broadcast";
}

function broadcastAccess(to: Tensor, from: Tensor, rows: number, columns: number): Access | undefined {
  if (hasBroadcast(from)) return undefined;
  const base = resolveAlias(from);
  const target = rowsAndColumns(to.shape);
  const perRow = target.rows === rows && target.columns === 1;
  if (!perRow && (target.rows !== rows || target.columns !== columns)) return undefined;
  const source = rowsAndColumns(from.shape);
  const columnAccess = source.columns === target.columns && !perRow ? "same" : "zero";
  // Rows repeat cyclically when only leading axes were repeated.
  const lead = from.shape.slice(0, -1);
  const kept = lead.findIndex((dim) => dim !== 1);
  const tail = kept < 0 ? [] : lead.slice(kept);
  const toTail = to.shape.slice(lead.length - tail.length, lead.length);
  if (!tail.every((dim, i) => dim === toTail[i])) return undefined;
  const modulo = elementCount(tail);
  return { base, rows: modulo === rows ? "same" : { modulo }, columns: columnAccess };
}

/** Whether an op ends the loop over rows that computes its input. */
export function isTail({ op }: Node): boolean {
  return op.lowering.kind === "kernel" && op.lowering.rowTail !== undefined;
}

/** What a node of a row program reads; a broadcast that is written out reads its own result's access pattern. */
export function operandsOf(node: Node): readonly Tensor[] {
  return node.op.lowering.kind === "broadcast" ? node.results : node.inputs;
}

/** Splits a graph into units in an order in which they can run. */
export function fuse(graph: Graph): Unit[] {
  return new Fuser(graph).run();
}

class Fuser {
  readonly #order: Node[];
  /** What the caller reads: results of the graph, behind aliases. */
  readonly #results: ReadonlySet<Tensor>;
  readonly #resultNodes: ReadonlySet<Node>;
  readonly #groupOf = new Map<Node, Group>();
  readonly #users = new Map<Tensor, Node[]>();
  readonly #groups: Group[] = [];

  constructor(graph: Graph) {
    this.#results = new Set(graph.results.map(resolveAlias));
    this.#resultNodes = new Set([...this.#results].map(({ node }) => node));
    this.#order = topologicalOrder(graph.results);
    for (const node of this.#order) {
      for (const input of node.inputs) {
        const users = this.#users.get(input);
        if (users === undefined) this.#users.set(input, [node]);
        else users.push(node);
      }
    }
  }

  run(): Unit[] {
    for (const node of this.#order) {
      if (this.#isVirtual(node)) continue;
      const domain = this.#domainOf(node);
      const group: Group = {
        id: this.#groups.length,
        nodes: [node],
        domain,
        dependencies: new Set(),
        readers: [],
        ancestors: new Uint32Array((this.#order.length + 31) >>> 5),
        mergedInto: undefined,
      };
      this.#groups.push(group);
      for (const producer of this.#producers(node)) {
        group.dependencies.add(producer);
        producer.readers.push(group);
        include(group.ancestors, producer);
      }
      this.#groupOf.set(node, group);
      if (domain === undefined) continue;
      for (const producer of [...group.dependencies]) this.#tryMerge(find(producer), find(group), node);
    }
    return this.#units();
  }

  /** Parameters, aliases, and what is computed again by each reader: numbers, counters and broadcasts. */
  #isVirtual(node: Node): boolean {
    const { kind } = node.op.lowering;
    if (kind === "source" || kind === "alias") return true;
    const recomputed = kind === "broadcast" || (kind === "elementwise" && node.inputs.length === 0);
    return recomputed && !this.#mustExist(node);
  }

  /** Whether someone reads the memory of this node's result: a kernel, a loop, the caller, or an odd access. */
  #mustExist(node: Node): boolean {
    const [result] = node.results;
    if (this.#resultNodes.has(node)) return true;
    return (this.#users.get(result!) ?? []).some((user) => {
      const { kind } = user.op.lowering;
      if (kind === "kernel" || kind === "loop") return true;
      if (kind === "broadcast" && this.#isVirtual(user)) return this.#readOddly(user, node);
      if (kind === "alias") return this.#mustExist(user) || this.#readOddly(user, node);
      return kind === "broadcast" ? true : this.#readsOddly(user, node);
    });
  }

  /** Whether a reader of the virtual node `through` cannot compute `node` again. */
  #readOddly(through: Node, node: Node): boolean {
    return (this.#users.get(through.results[0]!) ?? []).some((user) => {
      const { kind } = user.op.lowering;
      return kind === "alias" || kind === "broadcast" ? this.#readOddly(user, node) : this.#readsOddly(user, node);
    });
  }

  /** Whether `user` reads `node` in a way that needs it in memory. */
  #readsOddly(user: Node, node: Node): boolean {
    const domain = this.#domainOf(user);
    if (domain === undefined) return true;
    return user.inputs.some((input) => {
      if (!passesThrough(input, node)) return false;
      const access = accessOf(input, domain.rows, domain.columns);
      if (node.op.lowering.kind === "broadcast") return access?.base.node === node;
      return !isInline(input, access, domain.columns);
    });
  }

  /** The domain in which a node could run as a row program. */
  #domainOf(node: Node): { rows: number; columns: number } | undefined {
    const { kind } = node.op.lowering;
    if (kind === "elementwise" || isTail(node)) return rowsAndColumns(node.results[0]!.shape);
    if (kind === "broadcast") {
      const domain = rowsAndColumns(node.results[0]!.shape);
      return accessThrough(node.results[0]!, domain.rows, domain.columns) === undefined ? undefined : domain;
    }
    if (kind !== "reduce") return undefined;
    const axes = node.attrs["axes"] as readonly number[];
    const { shape } = node.inputs[0]!;
    return axes.length === 1 && axes[0] === shape.length - 1 ? rowsAndColumns(shape) : undefined;
  }

  /** Groups that compute what `node` reads, through virtual nodes. */
  #producers(node: Node): Set<Group> {
    const found = new Set<Group>();
    const visit = (tensor: Tensor): void => {
      const group = this.#groupOf.get(tensor.node);
      if (group !== undefined) found.add(find(group));
      else for (const input of tensor.node.inputs) visit(input);
    };
    for (const input of node.inputs) visit(input);
    return found;
  }

  #tryMerge(producer: Group, consumer: Group, node: Node): void {
    // A tail ends a unit; only what computes its rows may be joined with it.
    if (isTail(node) && !producer.nodes.includes(resolveAlias(node.inputs[0]!).node)) return;
    if (producer === consumer || producer.domain === undefined || consumer.domain === undefined) return;
    if (producer.nodes.length + consumer.nodes.length > NODE_LIMIT) return;
    const domain = commonDomain(producer.domain, consumer.domain);
    if (domain === undefined) return;
    if (reachesThroughThird(consumer, producer) || reachesThroughThird(producer, consumer)) return;
    const nodes = [...producer.nodes, ...consumer.nodes];
    const members = new Set(nodes);
    if (!nodes.every((member) => this.#fits(member, members, domain))) return;
    merge(producer, consumer, domain);
    producer.nodes.sort((a, b) => a.id - b.id);
    this.#groupOf.set(node, producer);
  }

  /** Whether a node can run in `domain` when `members` run with it. */
  #fits(node: Node, members: ReadonlySet<Node>, domain: { rows: number; columns: number }): boolean {
    const own = rowsAndColumns(node.results[0]!.shape);
    const full = own.rows === domain.rows && own.columns === domain.columns;
    const perRow = own.rows === domain.rows && own.columns === 1;
    if (!full && !perRow) return false;
    const reduces = node.op.lowering.kind === "reduce";
    if (isTail(node)) return full && this.#feedsTail(node, members, domain);
    return operandsOf(node).every((input) => {
      const access = accessOf(input, domain.rows, domain.columns);
      if (isInline(input, access, domain.columns)) return reduces || full || !readsColumns(access);
      if (access === undefined) return false;
      const inside = members.has(access.base.node);
      if (inside && access.rows !== "same") return false;
      // A per-row result may only read per-row values, unless it reduces.
      return reduces || full || domain.columns === 1 || access.columns === "zero";
    });
  }

  /** Whether a tail's rows are those of a member with an element for each place; alone it keeps its own loops. */
  #feedsTail(node: Node, members: ReadonlySet<Node>, domain: { rows: number; columns: number }): boolean {
    const access = accessOf(node.inputs[0]!, domain.rows, domain.columns);
    if (access === undefined || access.rows !== "same" || access.columns !== "same") return false;
    const own = rowsAndColumns(access.base.shape);
    const isFull = own.rows === domain.rows && own.columns === domain.columns;
    return isFull && members.has(access.base.node) && access.base.node.op.lowering.kind === "elementwise";
  }

  #units(): Unit[] {
    const units: Unit[] = [];
    const done = new Set<Group>();
    const visit = (group: Group): void => {
      if (done.has(group)) return;
      done.add(group);
      for (const dependency of group.dependencies) visit(find(dependency));
      units.push(this.#unitOf(group));
    };
    for (const group of this.#groups) visit(find(group));
    return units;
  }

  #unitOf(group: Group): Unit {
    const node = group.nodes[0]!;
    if (node.op.lowering.kind === "loop") return { kind: "loop", node };
    if (group.domain === undefined || (group.nodes.length === 1 && isTail(node))) return { kind: "kernel", node };
    const members = new Set(group.nodes);
    const outputs = group.nodes.flatMap((member) => member.results).filter((result) => this.#isRead(result, members));
    return { kind: "fused", nodes: group.nodes, ...group.domain, outputs };
  }

  /** Whether a value is read outside of `members`, looking through virtual nodes. */
  #isRead(value: Tensor, members: ReadonlySet<Node>): boolean {
    if (this.#results.has(value)) return true;
    return (this.#users.get(value) ?? []).some((user) => {
      if (members.has(user)) return false;
      if (this.#groupOf.has(user)) return true;
      return user.results.some((result) => this.#isRead(result, members));
    });
  }
}

/** Whether `tensor` is a result of `node`, or an alias or broadcast of one. */
function passesThrough(tensor: Tensor, node: Node): boolean {
  let base = tensor;
  while (base.node !== node) {
    const { kind } = base.node.op.lowering;
    if (kind !== "alias" && kind !== "broadcast") return false;
    base = base.node.inputs[0]!;
  }
  return true;
}

/** The node behind aliases and broadcasts. */
function sourceOf(tensor: Tensor): Node {
  let base = tensor;
  while (base.node.op.lowering.kind === "alias" || base.node.op.lowering.kind === "broadcast")
    base = base.node.inputs[0]!;
  return base.node;
}

/**
 * Whether an operand is a number or a counter along the domain's columns: computed where it is read, never stored.
 * A number is the same under every access, so it needs none.
 */
export function isInline(operand: Tensor, access: Access | undefined, columns: number): boolean {
  const source = sourceOf(operand);
  if (source.inputs.length > 0 || source.op.lowering.kind !== "elementwise") return false;
  if (source.op.name === "splat") return true;
  if (access === undefined || access.base.node !== source) return false;
  const own = rowsAndColumns(access.base.shape).columns;
  return own === 1 || (own === columns && access.columns === "same");
}

function readsColumns(access: Access | undefined): boolean {
  return access !== undefined && access.base.node.op.name !== "splat" && access.columns === "same";
}

/** The domain that holds both, per-row domains joining wider ones. */
function commonDomain(
  a: { rows: number; columns: number },
  b: { rows: number; columns: number },
): { rows: number; columns: number } | undefined {
  if (a.rows !== b.rows) return undefined;
  if (a.columns === b.columns || b.columns === 1) return a;
  return a.columns === 1 ? b : undefined;
}

function find(group: Group): Group {
  let root = group;
  while (root.mergedInto !== undefined) root = root.mergedInto;
  return root;
}

/** Whether `from` depends on `to` by way of another group. */
function reachesThroughThird(from: Group, to: Group): boolean {
  for (const dependency of from.dependencies) {
    const group = find(dependency);
    if (group !== to && group !== from && contains(group.ancestors, to)) return true;
  }
  return false;
}

function contains(ancestors: Uint32Array, { id }: Group): boolean {
  return (ancestors[id >>> 5]! & (1 << (id & 31))) !== 0;
}

const NONE = new Uint32Array(0);

/** Adds a group and all that it depends on. Gives whether any of that was new. */
function include(ancestors: Uint32Array, { id, ancestors: further }: Group): boolean {
  let change = ~ancestors[id >>> 5]! & (1 << (id & 31));
  ancestors[id >>> 5]! |= change;
  for (let i = 0; i < further.length; i++) {
    const added = further[i]! & ~ancestors[i]!;
    ancestors[i]! |= added;
    change |= added;
  }
  return change !== 0;
}

/** Tells all that depend on a group what it depends on, as far as it is new to them. */
function spread(group: Group): void {
  const pending = [group];
  for (let source = pending.pop(); source !== undefined; source = pending.pop()) {
    for (const reader of source.readers) {
      const root = find(reader);
      if (root !== source && include(root.ancestors, source)) pending.push(root);
    }
  }
}

function merge(into: Group, from: Group, domain: { rows: number; columns: number }): void {
  into.nodes.push(...from.nodes);
  into.domain = domain;
  for (const dependency of from.dependencies) into.dependencies.add(dependency);
  include(into.ancestors, from);
  for (const group of [into, from]) into.ancestors[group.id >>> 5]! &= ~(1 << (group.id & 31));
  from.mergedInto = into;
  from.ancestors = NONE;
  into.dependencies = new Set([...into.dependencies].map(find));
  into.dependencies.delete(into);
  into.readers.push(...from.readers);
  spread(into);
}
