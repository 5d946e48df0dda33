// Signatures of units: texts that are equal when the units become the same kernels, so that the loops of a model's
// second layer are those of the first, and not generated again. A kernel depends on ops, attributes, types and how
// values meet inside of the unit; not on which values come in, nor where they lie.

import type { Attrs, AttrValue, Node, OpDef, Tensor, TensorType } from "@fidelity/core";
import type { FusedUnit } from "../passes/fuse.ts";
import { operandsOf, resolveAlias } from "../passes/fuse.ts";

/** The signature of a node with loops of its own, or undefined when its attributes have none. */
export function nodeSignature(node: Node): string | undefined {
  const text = nodeText(node);
  return text && `${opNumber(node.op)} ${text}`;
}

/** What a node computes, by the name of its op: the same in every process. Undefined as for its signature. */
export function nodeText(node: Node): string | undefined {
  const attrs = attrsText(node.attrs);
  const [inputs, results] = [node.inputs, node.results].map((tensors) => tensors.map(typeText).join(","));
  return attrs && `${node.op.name} ${attrs} ${inputs}>${results}`;
}

/** The signature of a fused unit, and the values that it reads from memory, in the order in which it names them. */
export function unitSignature(
  unit: FusedUnit,
): { readonly text: string; readonly externals: readonly Tensor[] } | undefined {
  const writer = new UnitWriter(unit);
  return writer.isWhole ? { text: writer.text, externals: [...writer.externals.keys()] } : undefined;
}

class UnitWriter {
  text: string;
  isWhole = true;
  readonly externals = new Map<Tensor, number>();
  readonly #members: ReadonlyMap<Node, number>;

  constructor({ nodes, rows, columns, outputs }: FusedUnit) {
    this.text = `${rows} ${columns};`;
    this.#members = new Map(nodes.map((node, number) => [node, number]));
    for (const node of nodes) {
      this.text += `${this.#described(node)}(`;
      for (const operand of operandsOf(node)) this.text += `${this.#operand(operand, node)} `;
      this.text += ")";
    }
    for (const output of outputs) this.text += `;${this.#members.get(output.node)}.${output.index}`;
  }

  /** A member, a value from memory, or what leads to one: reshapes, broadcasts, numbers and counters. */
  #operand(operand: Tensor, reader: Node): string {
    const { node } = operand;
    const member = node === reader ? undefined : this.#members.get(node);
    if (member !== undefined) return `m${member}.${operand.index}`;
    const { kind } = node.op.lowering;
    const isComputedHere = kind === "elementwise" && node.inputs.length === 0;
    if (kind !== "alias" && kind !== "broadcast" && !isComputedHere) {
      return `${this.#external(operand)}:${typeText(operand)}`;
    }
    return `${this.#described(node)}[${node.inputs.map((input) => this.#operand(input, reader)).join(" ")}]`;
  }

  #external(value: Tensor): string {
    const base = resolveAlias(value);
    let number = this.externals.get(base);
    if (number === undefined) this.externals.set(base, (number = this.externals.size));
    return `x${number}`;
  }

  #described({ op, attrs, results }: Node): string {
    const text = attrsText(attrs);
    if (text === undefined) this.isWhole = false;
    return `${opNumber(op)}${text}:${results.map(typeText).join(",")}`;
  }
}

const opNumbers = new WeakMap<OpDef, number>();
let nextOp = 0;

/** Ops by identity: two of one name, such as kernels, may differ. */
function opNumber(op: OpDef): number {
  let number = opNumbers.get(op);
  if (number === undefined) opNumbers.set(op, (number = nextOp++));
  return number;
}

const typeText = ({ type: { dtype, shape } }: { readonly type: TensorType }): string => `${dtype}${shape.join("x")}`;

/** Attributes as text; undefined when one is neither a number nor a word nor a list of them. */
function attrsText(attrs: Attrs): string | undefined {
  let text = "{";
  for (const key of Object.keys(attrs).sort()) {
    const value = valueText(attrs[key]!);
    if (value === undefined) return undefined;
    text += `${key}=${value} `;
  }
  return `${text}}`;
}

function valueText(value: AttrValue): string | undefined {
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "boolean") return String(value);
  if (!Array.isArray(value)) return undefined;
  const items = value.map((item: AttrValue) => valueText(item));
  return items.includes(undefined) ? undefined : `[${items.join(",")}]`;
}
