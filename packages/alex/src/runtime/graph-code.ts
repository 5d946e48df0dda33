// A graph as numbers and texts that say all that compiling it depends on: what programs are kept by (store.ts). Equal
// graphs give equal codes, in whatever process and order their nodes were made, and different graphs different ones.
// Names of parameters are left out, which programs do not depend on. A graph has no code when something in it can only
// be told apart by identity: an op that is not in the registry and has no text of its own, as kernels have, or an
// attribute that is a function. A start that finds its program spends most of its time here, in an engine that has not
// optimised anything yet: that is why a node's words are written in place, and not by a call each.

import { OPS } from "@fidelity/core";
import type { AttrValue, CompileOptions, Graph, Node, OpDef, OpName, Tensor } from "@fidelity/core";

/** Parts of a code, each told apart from the next by its length. */
export type GraphCode = readonly (Uint8Array | string)[];

/** Attributes that only derivatives read; a graph that is compiled has its derivatives behind it. */
const UNREAD: Readonly<Partial<Record<OpName, string>>> = { custom_jvp: "rule", custom_vjp: "rule" };

/** Tags of values of attributes. Input references and counts are plain numbers in places of their own. */
const TAG = { number: 0, string: 1, true: 2, false: 3, list: 4, data: 5, graph: 6, integer: 7 } as const;

/** Longer arrays of numbers are parts of their own. */
const SHORT_DATA = 8;

/** Room for a training step of some layers; pages that are not written cost nothing. */
const WORDS_FIRST = 1 << 18;

/** The code of a graph that is compiled with these options, or undefined when it has none. */
export function graphCode(graph: Graph, options: CompileOptions): GraphCode | undefined {
  const code: CodeState = { words: new Uint32Array(WORDS_FIRST), count: 0, texts: new Map(), data: [] };
  if (!writeGraph(code, graph)) return undefined;
  for (const { parameter, result } of options.donations ?? []) {
    writeWord(code, parameter);
    writeWord(code, result);
  }
  const words = new Uint8Array(code.words.buffer, 0, code.count * 4);
  return [options.name ?? graph.name, REGISTRY_TEXT, JSON.stringify([...code.texts.keys()]), words, ...code.data];
}

const registry = new Map<OpDef, number>(Object.values(OPS).map((op, number) => [op, number]));
const REGISTRY_TEXT = Object.keys(OPS).join(" ");

/** What is written so far. */
interface CodeState {
  words: Uint32Array;
  count: number;
  /** Texts by the numbers that stand for them. */
  readonly texts: Map<string, number>;
  readonly data: Uint8Array[];
}

/** Stands where a node could: nodes are over. */
const NO_OP = 0xffff_ffff;

/** Stands for the number of an op that has none: its text follows. */
const UNREGISTERED = 0xffff_fffe;

/** Writes a graph; gives whether it could. Bodies of loops are closed, so each graph has its numbers to itself. */
function writeGraph(code: CodeState, { parameters, results }: Graph): boolean {
  const numbers = new NodeNumbers([...parameters, ...results]);
  writeWord(code, parameters.length);
  for (const { node, type } of parameters) {
    writeText(code, type.dtype);
    writeWord(code, type.shape.length);
    for (const dim of type.shape) writeNumber(code, dim);
    numbers.add(node.id);
  }
  for (const { node } of results) if (!writeNodes(code, node, numbers)) return false;
  writeWord(code, NO_OP);
  writeWord(code, results.length);
  for (const { node, index } of results) {
    writeWord(code, numbers.byId[node.id]!);
    writeWord(code, index);
  }
  return true;
}

/** Writes what a node depends on, inputs before users, and the node. Iterative: graphs are deeper than stacks. */
function writeNodes(code: CodeState, root: Node, numbers: NodeNumbers): boolean {
  const { byId } = numbers;
  if (byId[root.id] !== 0) return true;
  const stack = [root];
  const next = [0];
  while (stack.length > 0) {
    const top = stack.length - 1;
    const node = stack[top]!;
    const { inputs } = node;
    let at = next[top]!;
    while (at < inputs.length && byId[inputs[at]!.node.id] !== 0) at++;
    if (at < inputs.length) {
      next[top] = at + 1;
      stack.push(inputs[at]!.node);
      next.push(0);
      continue;
    }
    stack.pop();
    next.pop();
    if (!writeNode(code, node, byId)) return false;
    numbers.add(node.id);
  }
  return true;
}

function writeNode(code: CodeState, { op, inputs, attrs }: Node, byId: Uint32Array): boolean {
  const number = registry.get(op) ?? UNREGISTERED;
  // A parameter that is none of the graph's comes from outside, and has no number.
  if ((number === UNREGISTERED && op.identity === undefined) || op.name === "parameter") return false;
  const words = roomFor(code, 3 + 2 * inputs.length);
  let at = code.count;
  words[at++] = number;
  words[at++] = inputs.length;
  for (let i = 0; i < inputs.length; i++) {
    const { node, index } = inputs[i]!;
    words[at++] = byId[node.id]!;
    words[at++] = index;
  }
  if (op.identity !== undefined) {
    code.count = at;
    writeText(code, op.identity());
    return true;
  }
  const keys = Object.keys(attrs);
  words[at++] = keys.length;
  code.count = at;
  if (keys.length === 0) return true;
  if (keys.length > 1) keys.sort();
  const unread = UNREAD[op.name as OpName];
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    writeText(code, key);
    if (key !== unread && !writeValue(code, attrs[key]!)) return false;
  }
  return true;
}

function writeValue(code: CodeState, value: AttrValue): boolean {
  if (typeof value === "number") writeNumber(code, value);
  else if (typeof value === "boolean") writeWord(code, value ? TAG.true : TAG.false);
  else if (typeof value === "string") {
    writeWord(code, TAG.string);
    writeText(code, value);
  } else if (Array.isArray(value)) {
    writeWord(code, TAG.list);
    writeWord(code, value.length);
    return value.every((item: AttrValue) => writeValue(code, item));
  } else if (value instanceof Float64Array) writeData(code, value);
  else if (isGraph(value)) {
    writeWord(code, TAG.graph);
    return writeGraph(code, value);
  } else return false;
  return true;
}

function writeData(code: CodeState, data: Float64Array): void {
  writeWord(code, TAG.data);
  writeWord(code, data.length);
  if (data.length > SHORT_DATA) code.data.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  else for (const value of data) writeNumber(code, value);
}

const float = new Float64Array(1);
const floatWords = new Uint32Array(float.buffer);

/** Small whole numbers as they are, others by all 64 bits: 0 and -0 are two numbers to an op. */
function writeNumber(code: CodeState, value: number): void {
  const words = roomFor(code, 3);
  const isWhole = value >>> 0 === value && (value !== 0 || Object.is(value, 0));
  if (isWhole) {
    words[code.count++] = TAG.integer;
    words[code.count++] = value;
    return;
  }
  float[0] = value;
  words[code.count++] = TAG.number;
  words[code.count++] = floatWords[0]!;
  words[code.count++] = floatWords[1]!;
}

function writeText(code: CodeState, text: string): void {
  let number = code.texts.get(text);
  if (number === undefined) code.texts.set(text, (number = code.texts.size));
  writeWord(code, number);
}

function writeWord(code: CodeState, value: number): void {
  roomFor(code, 1)[code.count++] = value;
}

/** The words of a code, with room for `count` more. */
function roomFor(code: CodeState, count: number): Uint32Array {
  if (code.count + count > code.words.length) {
    const longer = new Uint32Array(2 * code.words.length + count);
    longer.set(code.words);
    code.words = longer;
  }
  return code.words;
}

/** Numbers of nodes in the order in which they are written, by their ids, which depend on what was traced before. */
class NodeNumbers {
  /** From 1 on; 0 where a node has none. No node has a higher id than the ones that follow from it. */
  readonly byId: Uint32Array;
  #count = 0;

  constructor(tensors: readonly Tensor[]) {
    this.byId = new Uint32Array(1 + tensors.reduce((most, { node }) => Math.max(most, node.id), 0));
  }

  add(id: number): void {
    this.byId[id] = ++this.#count;
  }
}

function isGraph(value: object): value is Graph {
  return "parameters" in value && "results" in value && "name" in value;
}
