// Units in the terms of the model: the ops that they do, which part of the model they belong to, and what they move.

import type { Graph, Node, Tensor } from "@fidelity/core";
import { formatType, storageBytes } from "@fidelity/core";
import type { Unit } from "../passes/fuse.ts";
import { operandsOf, resolveAlias } from "../passes/fuse.ts";
import { originOf } from "../passes/origins.ts";
import type { OpExplanation, UnitExplanation } from "./explanation.ts";

/** Ops that say little beside others. */
const PLAIN = new Set(["mul", "add", "sub", "div", "neg", "broadcast", "cast", "reshape", "copy"]);
const TITLE_OPS_MAX = 3;

export function nodesOf(unit: Unit): readonly Node[] {
  return unit.kind === "fused" ? unit.nodes : [unit.node];
}

/** The name of a graph's input as its tree has it: `blocks.0.mixer.forget.weight`, without the argument's number. */
export function inputName(parameter: Tensor): string {
  const { name } = parameter.node.attrs;
  const text = typeof name === "string" ? name : parameter.toString();
  return text.replace(/^\d+\.(?=.)/, "");
}

/** A few words for what some nodes do: composite ops that they came from, then those that are not plain arithmetic. */
export function titleOf(nodes: readonly Node[]): string {
  const names = new Set<string>();
  for (const node of nodes) {
    const origin = originOf(node);
    names.add(origin.op.lowering.kind === "expand" ? compositeName(origin) : node.op.name);
  }
  const telling = [...names].filter((name) => !PLAIN.has(name));
  const chosen = telling.length > 0 ? telling : [...names];
  const shown = chosen.slice(0, TITLE_OPS_MAX);
  return chosen.length > TITLE_OPS_MAX ? `${shown.join(", ")}, ...` : shown.join(", ");
}

/** Calls have the name of what they call. */
function compositeName({ op, attrs }: Node): string {
  return op.name === "call" ? (attrs["body"] as Graph).name : op.name;
}

/** What units read: results of others, and inputs of the graph, looking through reshapes and broadcasts. */
export class UnitReads {
  readonly #producers = new Map<Tensor, number>();

  constructor(units: readonly Unit[]) {
    units.forEach((unit, id) => {
      for (const node of nodesOf(unit)) for (const result of node.results) this.#producers.set(result, id);
    });
  }

  /** The values that a unit reads from memory. */
  valuesOf(unit: Unit): Tensor[] {
    const own = new Set(nodesOf(unit));
    const found = new Set<Tensor>();
    const visit = (tensor: Tensor): void => {
      const base = resolveAlias(tensor);
      if (own.has(base.node) || found.has(base)) return;
      if (this.#producers.has(base) || base.node.op.name === "parameter") found.add(base);
      else base.node.inputs.forEach(visit);
    };
    for (const node of own) node.inputs.forEach(visit);
    return [...found];
  }

  producerOf(tensor: Tensor): number | undefined {
    return this.#producers.get(resolveAlias(tensor));
  }
}

/** Numbers of values as a printed graph has them: nodes but parameters, in order. */
export class ValueNames {
  readonly #names = new Map<Node, string>();
  #next = 0;

  constructor(nodes: Iterable<Node>) {
    for (const node of nodes) this.name(node);
  }

  name(node: Node): string {
    let name = this.#names.get(node);
    if (name === undefined) {
      name = node.op.name === "parameter" ? inputName(node.results[0]!) : `%${this.#next++}`;
      this.#names.set(node, name);
    }
    return name;
  }
}

export function describeOps(unit: Unit, names: ValueNames, graph: Graph): OpExplanation[] {
  const written = new Set<Tensor>(unit.kind === "fused" ? unit.outputs : unit.node.results);
  const results = new Set(graph.results.map(resolveAlias));
  return nodesOf(unit).map((node) => ({
    value: names.name(node),
    op: node.op.name,
    type: node.results.map(({ type }) => formatType(type)).join(", "),
    operands: node.inputs.map((input) => names.name(resolveAlias(input).node)),
    isWritten: node.results.some((result) => written.has(result) || results.has(result)),
  }));
}

/** Bytes that ops would move if each read its operands from memory and wrote its result there. */
export function bytesApart(unit: Unit): number {
  if (unit.kind !== "fused") return 0;
  const bytesOf = (tensor: Tensor): number => {
    const { op, inputs } = tensor.node;
    // A number that is repeated is a number.
    if (op.lowering.kind === "broadcast") return bytesOf(inputs[0]!);
    if (op.lowering.kind === "elementwise" && inputs.length === 0) return 0;
    return storageBytes(tensor.type);
  };
  return unit.nodes.reduce((sum, node) => {
    const operands = new Set(operandsOf(node).map(resolveAlias));
    return sum + [...operands, ...node.results].reduce((bytes, tensor) => bytes + bytesOf(tensor), 0);
  }, 0);
}

/** `blocks.3` of `blocks.3.mixer.forget.weight`, `head` of `head.weight`; nothing for inputs that have no name. */
function groupOfName(name: string): string {
  const block = /(?:^|\.)((?:blocks|layers)\.\d+)(?:\.|$)/.exec(name)?.[1];
  return block ?? (/^\d/.test(name) ? "" : name.split(".")[0]!);
}

/** Whether a part of the model is one of its numbered blocks. */
export function isBlockGroup(group: string | undefined): boolean {
  return group !== undefined && /\.\d+$/.test(group);
}

/**
 * The part of the model of each unit: that of the weights that it reads, or else that of the latest unit whose result
 * it reads, blocks first.
 */
export function assignGroups(units: readonly Omit<UnitExplanation, "group">[]): string[] {
  const groups: string[] = [];
  for (const { id, inputs, reads } of units) {
    const own = inputs.map(groupOfName).filter((group) => group !== "");
    const latestFirst = reads.filter((read) => read < id).toReversed();
    const before = latestFirst.find((read) => isBlockGroup(groups[read])) ?? latestFirst[0];
    groups.push(own.find(isBlockGroup) ?? own[0] ?? (before === undefined ? "" : groups[before]!));
  }
  return groups;
}
