// A graph as numbers and texts that say all that compiling it depends on: what programs are kept by (store.ts). Equal
// graphs give equal codes, in whatever process and order their nodes were made, and different graphs different ones.
// Names of parameters are left out, which programs do not depend on. A graph has no code when something in it can only
// be told apart by identity: an op that is not in the registry, such as a kernel, or an attribute that is a function.

import { OPS } from "@fidelity/core";
import type { Attrs, AttrValue, CompileOptions, Graph, Node, OpDef, OpName, Tensor } from "@fidelity/core";

/** Parts of a code, each told apart from the next by its length. */
export type GraphCode = readonly (Uint8Array | string)[];

/** Attributes that only derivatives read; a graph that is compiled has its derivatives behind it. */
const UNREAD: Readonly<Partial<Record<OpName, string>>> = { custom_jvp: "rule", custom_vjp: "rule" };

/** Tags of values of attributes. Input references and counts are plain numbers in places of their own. */
const TAG = { number: 0, string: 1, true: 2, false: 3, list: 4, data: 5, graph: 6 } as const;

/** Longer arrays of numbers are parts of their own. */
const SHORT_DATA = 8;

/** The code of a graph that is compiled with these options, or undefined when it has none. */
export function graphCode(graph: Graph, options: CompileOptions): GraphCode | undefined {
  const writer = new CodeWriter();
  if (!writer.graph(graph)) return undefined;
  for (const { parameter, result } of options.donations ?? []) writer.pair(parameter, result);
  return writer.parts(options.name ?? graph.name);
}

const registry = new Map<OpDef, number>(Object.values(OPS).map((op, number) => [op, number]));
const REGISTRY_TEXT = Object.keys(OPS).join(" ");

class CodeWriter {
  readonly #words: number[] = [];
  readonly #texts = new Map<string, number>();
  readonly #data: Uint8Array[] = [];
  readonly #float = new Float64Array(1);
  readonly #floatWords = new Uint32Array(this.#float.buffer);

  /** Writes a graph; gives whether it could. Bodies of loops are closed, so each graph has its numbers to itself. */
  graph({ parameters, results }: Graph): boolean {
    const numbers = new NodeNumbers();
    this.#words.push(parameters.length);
    for (const { node, type } of parameters) {
      this.#text(type.dtype);
      this.#words.push(type.shape.length);
      for (const dim of type.shape) this.#number(dim);
      numbers.add(node);
    }
    for (const { node } of results) if (!this.#nodes(node, numbers)) return false;
    this.#words.push(NO_OP, results.length);
    for (const result of results) this.#tensor(result, numbers);
    return true;
  }

  pair(a: number, b: number): void {
    this.#words.push(a, b);
  }

  parts(name: string): GraphCode {
    const words = new Uint8Array(Uint32Array.from(this.#words).buffer);
    return [name, REGISTRY_TEXT, JSON.stringify([...this.#texts.keys()]), words, ...this.#data];
  }

  /** Writes what a node depends on, inputs before users, and the node. Iterative: graphs are deeper than stacks. */
  #nodes(root: Node, numbers: NodeNumbers): boolean {
    if (numbers.of(root) >= 0) return true;
    const stack = [root];
    const next = [0];
    while (stack.length > 0) {
      const top = stack.length - 1;
      const node = stack[top]!;
      const { inputs } = node;
      let at = next[top]!;
      while (at < inputs.length && numbers.of(inputs[at]!.node) >= 0) at++;
      if (at < inputs.length) {
        next[top] = at + 1;
        stack.push(inputs[at]!.node);
        next.push(0);
        continue;
      }
      stack.pop();
      next.pop();
      if (!this.#node(node, numbers)) return false;
      numbers.add(node);
    }
    return true;
  }

  #node({ op, inputs, attrs }: Node, numbers: NodeNumbers): boolean {
    const number = registry.get(op);
    // A parameter that is none of the graph's comes from outside, and has no number.
    if (number === undefined || op.name === "parameter") return false;
    this.#words.push(number, inputs.length);
    for (const input of inputs) this.#tensor(input, numbers);
    return this.#attrs(attrs, UNREAD[op.name as OpName]);
  }

  #attrs(attrs: Attrs, unread: string | undefined): boolean {
    const keys = Object.keys(attrs);
    if (keys.length > 1) keys.sort();
    this.#words.push(keys.length);
    for (const key of keys) {
      this.#text(key);
      if (key !== unread && !this.#value(attrs[key]!)) return false;
    }
    return true;
  }

  #value(value: AttrValue): boolean {
    if (typeof value === "number") this.#number(value);
    else if (typeof value === "boolean") this.#words.push(value ? TAG.true : TAG.false);
    else if (typeof value === "string") {
      this.#words.push(TAG.string);
      this.#text(value);
    } else if (Array.isArray(value)) {
      this.#words.push(TAG.list, value.length);
      return value.every((item: AttrValue) => this.#value(item));
    } else if (value instanceof Float64Array) this.#array(value);
    else if (isGraph(value)) {
      this.#words.push(TAG.graph);
      return this.graph(value);
    } else return false;
    return true;
  }

  #array(data: Float64Array): void {
    this.#words.push(TAG.data, data.length);
    if (data.length > SHORT_DATA) this.#data.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    else for (const value of data) this.#number(value);
  }

  /** All 64 bits: 0 and -0 are two numbers to an op. */
  #number(value: number): void {
    this.#float[0] = value;
    this.#words.push(TAG.number, this.#floatWords[0]!, this.#floatWords[1]!);
  }

  #tensor({ node, index }: Tensor, numbers: NodeNumbers): void {
    this.#words.push(numbers.of(node), index);
  }

  #text(text: string): void {
    let number = this.#texts.get(text);
    if (number === undefined) this.#texts.set(text, (number = this.#texts.size));
    this.#words.push(number);
  }
}

/** Numbers of nodes in the order in which they are written, by their ids, which depend on what was traced before. */
class NodeNumbers {
  #byId = new Int32Array(1 << 12);
  #count = 0;

  /** -1 when it has none. */
  of({ id }: Node): number {
    return id < this.#byId.length ? this.#byId[id]! - 1 : -1;
  }

  add({ id }: Node): void {
    if (id >= this.#byId.length) {
      const longer = new Int32Array(2 * id);
      longer.set(this.#byId);
      this.#byId = longer;
    }
    this.#byId[id] = ++this.#count;
  }
}

/** Stands where a node could: nodes are over. */
const NO_OP = 0xffff_ffff;

function isGraph(value: object): value is Graph {
  return "parameters" in value && "results" in value && "name" in value;
}
