// A graph as numbers and texts that say all that compiling it depends on: what programs are kept by (store.ts). Equal
// graphs give equal codes, in whatever process and order their nodes were made, and different graphs different ones.
// Names of parameters are left out, which programs do not depend on. A graph has no code when something in it can only
// be told apart by identity: an op that is not in the registry and has no text of its own, as kernels have, or an
// attribute that is a function. A start that finds its program spends most of its time here, in an engine that has not
// optimised anything yet: a node is a few numbers, and what its attributes are is written once for all nodes that share
// them (graph.ts makes equal attributes one object).

import { OPS, topologicalOrder } from "@fidelity/core";
import type { Attrs, AttrValue, CompileOptions, Graph, Node, OpDef, OpName, TensorType } from "@fidelity/core";

/** Parts of a code, each told apart from the next by its length. */
export type GraphCode = readonly (Uint8Array | string)[];

/** Attributes that only derivatives read; a graph that is compiled has its derivatives behind it. */
const UNREAD: Readonly<Partial<Record<OpName, string>>> = { custom_jvp: "rule", custom_vjp: "rule" };

/** Longer arrays of numbers are parts of their own. */
const SHORT_DATA = 8;

/** Room for a training step of some layers; pages that are not written cost nothing. */
const WORDS_FIRST = 1 << 18;

/** The code of a graph that is compiled with these options, or undefined when it has none. */
export function graphCode(graph: Graph, options: CompileOptions): GraphCode | undefined {
  const code = new CodeWriter();
  if (!code.writeGraph(graph)) return undefined;
  const donations = (options.donations ?? []).map(({ parameter, result }) => [parameter, result]);
  return [options.name ?? graph.name, REGISTRY_TEXT, JSON.stringify(donations), ...code.parts()];
}

const registry = new Map<OpDef, number>(Object.values(OPS).map((op, number) => [op, number]));
const REGISTRY_TEXT = Object.keys(OPS).join(" ");

/** Stands for the number of an op that has none: its own text stands where that of attributes does. */
const UNREGISTERED = 0xffff_fffe;

/** Stands where a node could: a graph inside of the graph begins. */
const BODY = 0xffff_fffd;

/** Stands where a node could: nodes are over. */
const NO_NODE = 0xffff_ffff;

class CodeWriter {
  #words = new Uint32Array(WORDS_FIRST);
  #count = 0;
  /** Texts by the numbers that stand for them. */
  readonly #texts = new Map<string, number>();
  /** Those of attributes. */
  readonly #attrs = new Map<Attrs, number>();
  /** Graphs that are attributes, by their numbers: calls share theirs. */
  readonly #bodies = new Map<Graph, number>();
  readonly #data: Uint8Array[] = [];

  /** All that was written. */
  parts(): (Uint8Array | string)[] {
    const words = new Uint8Array(this.#words.buffer, 0, this.#count * 4);
    return [JSON.stringify([...this.#texts.keys()]), words, ...this.#data];
  }

  /** Gives whether it could. Bodies are closed, so each graph has its numbers to itself. */
  writeGraph({ parameters, results }: Graph): boolean {
    const order = topologicalOrder(results);
    const numbers = new NodeNumbers([...parameters.map(({ node }) => node), ...order]);
    this.#write(parameters.length);
    for (const { node, type } of parameters) {
      this.#write(this.#textNumber(typeText(type)));
      numbers.add(node);
    }
    for (const node of order) {
      if (numbers.of(node) !== 0) continue;
      if (!this.#writeNode(node, numbers)) return false;
      numbers.add(node);
    }
    this.#write(NO_NODE);
    this.#write(results.length);
    for (const { node, index } of results) {
      this.#write(numbers.of(node));
      this.#write(index);
    }
    return true;
  }

  #writeNode({ op, inputs, attrs }: Node, numbers: NodeNumbers): boolean {
    const number = registry.get(op) ?? UNREGISTERED;
    // A parameter that is none of the graph's comes from outside, and has no number.
    if ((number === UNREGISTERED && op.identity === undefined) || op.name === "parameter") return false;
    const kind = op.identity === undefined ? this.#attrsNumber(op, attrs) : this.#textNumber(op.identity());
    if (kind === undefined) return false;
    const words = this.#roomFor(3 + 2 * inputs.length);
    let at = this.#count;
    words[at++] = number;
    words[at++] = kind;
    words[at++] = inputs.length;
    for (let i = 0; i < inputs.length; i++) {
      const { node, index } = inputs[i]!;
      words[at++] = numbers.of(node);
      words[at++] = index;
    }
    this.#count = at;
    return true;
  }

  /** The number of the text of attributes. */
  #attrsNumber({ name }: OpDef, attrs: Attrs): number | undefined {
    const known = this.#attrs.get(attrs);
    if (known !== undefined) return known;
    const unread = UNREAD[name as OpName];
    let text = "";
    for (const key of Object.keys(attrs).sort()) {
      const value = key === unread ? "" : this.#valueText(attrs[key]!);
      if (value === undefined) return undefined;
      text += `${key}=${value};`;
    }
    const number = this.#textNumber(text);
    if (unread === undefined) this.#attrs.set(attrs, number);
    return number;
  }

  #valueText(value: AttrValue): string | undefined {
    if (typeof value === "number") return numberText(value);
    if (typeof value === "string") return JSON.stringify(value);
    if (typeof value === "boolean") return String(value);
    if (Array.isArray(value)) {
      const items = value.map((item: AttrValue) => this.#valueText(item));
      return items.includes(undefined) ? undefined : `[${items.join()}]`;
    }
    if (value instanceof Float64Array) {
      if (value.length <= SHORT_DATA) return `f64[${Array.from(value, numberText).join()}]`;
      return `data ${this.#data.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}`;
    }
    return isGraph(value) ? this.#bodyText(value) : undefined;
  }

  /** A graph inside of the graph is written where it is met first. */
  #bodyText(body: Graph): string | undefined {
    let number = this.#bodies.get(body);
    if (number === undefined) {
      this.#bodies.set(body, (number = this.#bodies.size));
      this.#write(BODY);
      if (!this.writeGraph(body)) return undefined;
    }
    return `graph ${number}`;
  }

  #textNumber(text: string): number {
    let number = this.#texts.get(text);
    if (number === undefined) this.#texts.set(text, (number = this.#texts.size));
    return number;
  }

  #write(value: number): void {
    this.#roomFor(1)[this.#count++] = value;
  }

  /** The words, with room for `count` more. */
  #roomFor(count: number): Uint32Array {
    if (this.#count + count > this.#words.length) {
      const longer = new Uint32Array(2 * this.#words.length + count);
      longer.set(this.#words);
      this.#words = longer;
    }
    return this.#words;
  }
}

/** All of the number: JavaScript's shortest text that gives it again. 0 and -0 are two numbers to an op. */
function numberText(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

function typeText({ dtype, shape }: TensorType): string {
  return `${dtype}[${shape.join()}]`;
}

/** Numbers of nodes, from 1 on, in the order in which they are written: ids depend on what was traced before. */
class NodeNumbers {
  /** By id less the least one; 0 where a node has no number yet. */
  readonly #numbers: Uint32Array;
  readonly #first: number;
  #count = 0;

  constructor(nodes: readonly Node[]) {
    let [first, last] = [Infinity, -1];
    for (let i = 0; i < nodes.length; i++) {
      const { id } = nodes[i]!;
      if (id < first) first = id;
      if (id > last) last = id;
    }
    this.#first = first;
    this.#numbers = new Uint32Array(Math.max(0, last - first + 1));
  }

  of({ id }: Node): number {
    return this.#numbers[id - this.#first]!;
  }

  add({ id }: Node): void {
    this.#numbers[id - this.#first] = ++this.#count;
  }
}

function isGraph(value: object): value is Graph {
  return "parameters" in value && "results" in value && "name" in value;
}
