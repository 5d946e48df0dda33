// A graph as numbers and texts that say all that compiling it depends on: what programs are kept by (store.ts). Equal
// graphs give equal codes, in whatever process and order their nodes were made, and different graphs different ones.
// Names of parameters are left out, which programs do not depend on. A graph has no code when something in it can only
// be told apart by identity: an op that is not in the registry and has no text of its own, as kernels have, or an
// attribute that is a function. A start that finds its program spends much of its time here, in an engine that has not
// optimised anything yet: nodes are written as they are walked, each as a few numbers, and what its attributes are is
// written once for all nodes that share them (graph.ts makes equal attributes one object).

import { OPS } from "@fidelity/core";
import type { Attrs, AttrValue, CompileOptions, Graph, Node, OpDef, OpName, TensorType } from "@fidelity/core";

/** Parts of a code, each told apart from the next by its length. */
export type GraphCode = readonly (Uint8Array | string)[];

/** Attributes that only derivatives read; a graph that is compiled has its derivatives behind it. */
const UNREAD: Readonly<Partial<Record<OpName, string>>> = { custom_jvp: "rule", custom_vjp: "rule" };

/** Longer arrays of numbers are parts of their own. */
const SHORT_DATA = 8;

/** Room for a training step of some layers. */
const WORDS_FIRST = 1 << 15;

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

  /**
   * Gives whether it could. Nodes have numbers from 1 on in the order in which they are written, inputs before users:
   * ids depend on what was traced before. Bodies are closed, so each graph has its numbers to itself.
   */
  writeGraph({ parameters, results }: Graph): boolean {
    const numbers = new Map<Node, number>();
    let count = parameters.length;
    this.#write(count);
    for (let i = 0; i < count; i++) {
      this.#writeType(parameters[i]!.type);
      numbers.set(parameters[i]!.node, i + 1);
    }
    // Nodes whose inputs are being written, and how many of them are; what is in here twice would be a cycle.
    const path: Node[] = [];
    const written: number[] = [];
    for (let i = 0; i < results.length; i++) {
      let node: Node | undefined = results[i]!.node;
      let next = 0;
      if (numbers.has(node)) continue;
      while (node !== undefined) {
        const { inputs }: Node = node;
        while (next < inputs.length && numbers.has(inputs[next]!.node)) next++;
        if (next < inputs.length) {
          path.push(node);
          written.push(next + 1);
          node = inputs[next]!.node;
          next = 0;
          continue;
        }
        if (!this.#writeNode(node, numbers)) return false;
        numbers.set(node, ++count);
        node = path.pop();
        next = written.pop()!;
      }
    }
    this.#write(NO_NODE);
    this.#write(results.length);
    for (let i = 0; i < results.length; i++) {
      this.#write(numbers.get(results[i]!.node)!);
      this.#write(results[i]!.index);
    }
    return true;
  }

  #writeNode({ op, inputs, attrs }: Node, numbers: ReadonlyMap<Node, number>): boolean {
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
      words[at++] = numbers.get(node)!;
      words[at++] = index;
    }
    this.#count = at;
    return true;
  }

  #writeType({ dtype, shape }: TensorType): void {
    this.#write(this.#textNumber(dtype));
    this.#write(shape.length);
    for (let i = 0; i < shape.length; i++) this.#write(shape[i]!);
  }

  /** The number of the text of attributes. */
  #attrsNumber({ name }: OpDef, attrs: Attrs): number | undefined {
    const known = this.#attrs.get(attrs);
    if (known !== undefined) return known;
    const unread = UNREAD[name as OpName];
    const keys = Object.keys(attrs);
    if (keys.length > 1) keys.sort();
    let text = "";
    for (const key of keys) {
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
    if (Array.isArray(value)) return this.#listText(value);
    if (value instanceof Float64Array) {
      if (value.length <= SHORT_DATA) return `f64[${Array.from(value, numberText).join()}]`;
      return `data ${this.#data.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))}`;
    }
    return isGraph(value) ? this.#bodyText(value) : undefined;
  }

  #listText(list: readonly AttrValue[]): string | undefined {
    let text = "[";
    for (let i = 0; i < list.length; i++) {
      const item = this.#valueText(list[i]!);
      if (item === undefined) return undefined;
      text += `${item},`;
    }
    return `${text}]`;
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

function isGraph(value: object): value is Graph {
  return "parameters" in value && "results" in value && "name" in value;
}
