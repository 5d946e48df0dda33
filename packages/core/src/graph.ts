// The graph IR: typed, immutable SSA, hash-consed. A `Tensor` is an SSA value; a `Node` applies one op to tensors; a
// `Graph` names some parameters and some results. Nodes are made by `emit` inside a trace, which gives the same node
// for the same op, inputs and attributes, so common subexpressions never exist twice.
// There is one concept for values: what user code calls a tensor is what passes and derivative rules rewrite.

import { FidelityError, invariant } from "@fidelity/units";
import type { Shape } from "@fidelity/units";
import type { Dtype } from "./dtype.ts";
import type { OpDef } from "./op.ts";

/** The run-time type of a tensor: every dim is a number by the time a graph is built. */
export interface TensorType {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** `f32[2, 3]`. */
export function formatType(type: TensorType): string {
  return `${type.dtype}[${type.shape.join(", ")}]`;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

/** What an op is parametrised by, besides its inputs. Graphs and data arrays compare by identity. */
export type AttrValue =
  | number
  | string
  | boolean
  | readonly number[]
  | readonly boolean[]
  | Float64Array
  | Graph
  | object;
export type Attrs = Readonly<Record<string, AttrValue>>;

/** One application of an op. */
export interface Node {
  readonly id: number;
  readonly op: OpDef;
  readonly inputs: readonly Tensor[];
  /** Of one trace, equal attributes are one object. */
  readonly attrs: Attrs;
  readonly results: readonly Tensor[];
}

/**
 * A value of a graph. `S` is its shape in the type system (dims are literals or names, see `@fidelity/units`), `D` its
 * dtype; at run time both are in `type`. Tensors are immutable and hold no data.
 */
export class Tensor<S extends Shape = Shape, D extends Dtype = Dtype> {
  declare readonly _shape: S;
  declare readonly _dtype: D;
  readonly node: Node;
  /** Which of the node's results this is. */
  readonly index: number;
  readonly type: TensorType;

  constructor(node: Node, index: number, type: TensorType) {
    this.node = node;
    this.index = index;
    this.type = type;
  }

  get shape(): readonly number[] {
    return this.type.shape;
  }

  get dtype(): D {
    return this.type.dtype as D;
  }

  get rank(): number {
    return this.type.shape.length;
  }

  toString(): string {
    return `%${this.node.id}${this.node.results.length > 1 ? `#${this.index}` : ""}: ${formatType(this.type)}`;
  }
}

/** Parameters and results of a traced function. The nodes between them are found by walking back from the results. */
export interface Graph {
  readonly name: string;
  readonly parameters: readonly Tensor[];
  readonly results: readonly Tensor[];
}

/** A tensor operation outside `trace`, or with a tensor of another trace. */
export class TraceError extends FidelityError {}

let current: Trace | undefined;
let nextNodeId = 0;
let nextObjectId = 0;
const objectIds = new WeakMap<object, number>();

/** Runs `body` in a trace of its own, or in the one that is already open: derivatives of inner functions are traced
 * where they are used. */
export function inTrace<R>(body: () => R): R {
  if (current !== undefined) return body();
  current = new Trace();
  try {
    return body();
  } finally {
    current = undefined;
  }
}

const float = new Float64Array(1);
const floatWords = new Int32Array(float.buffer);

/** Two hashes as one, in which their order counts. */
function mix(hash: number, value: number): number {
  const product = Math.imul(hash ^ value, 0x9e37_79b1);
  return product ^ (product >>> 15);
}

/** Equal for values that are one by `sameAttr`. */
function hashAttr(value: AttrValue): number {
  if (typeof value === "number") {
    float[0] = value;
    return mix(floatWords[0]!, floatWords[1]!);
  }
  let hash = 1;
  if (typeof value === "string") {
    for (let i = 0; i < value.length; i++) hash = mix(hash, value.charCodeAt(i));
  } else if (typeof value === "boolean") hash = value ? 2 : 3;
  else if (isShort(value)) for (let i = 0; i < value.length; i++) hash = mix(hash, hashAttr(value[i]!));
  else hash = objectId(value);
  return hash;
}

/** Whether two attributes are the same to an op. 0 and -0 are different numbers, graphs and data one only if shared. */
function sameAttr(a: AttrValue, b: AttrValue): boolean {
  if (Object.is(a, b)) return true;
  if (!isShort(a) || !isShort(b) || Array.isArray(a) !== Array.isArray(b) || a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!sameAttr(a[i]!, b[i]!)) return false;
  return true;
}

/** Lists, and data of a few numbers: what is looked into. */
function isShort(value: AttrValue): value is readonly (number | boolean)[] | Float64Array {
  return Array.isArray(value) || (value instanceof Float64Array && value.length <= 8);
}

function objectId(value: object): number {
  let id = objectIds.get(value);
  if (id === undefined) objectIds.set(value, (id = nextObjectId++));
  return id;
}

/** The sum over attributes, so that their order does not count. */
function hashAttrs(attrs: Attrs, keys: readonly string[]): number {
  let hash = 0;
  for (let i = 0; i < keys.length; i++) hash = (hash + hashAttr(attrs[keys[i]!]!)) | 0;
  return hash;
}

function sameAttrs(a: Attrs, b: Attrs, keys: readonly string[]): boolean {
  if (keys.length !== Object.keys(b).length) return false;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    if (!(key in b) || !sameAttr(a[key]!, b[key]!)) return false;
  }
  return true;
}

const NO_ATTRS: Attrs = {};

/** The scope in which nodes are made unique. What has equal hashes stands at the next numbers that are free. */
class Trace {
  readonly #nodes = new Map<number, Node>();
  readonly #attrs = new Map<number, Attrs>();

  /** The one object for attributes like these. */
  attrsLike(attrs: Attrs): Attrs {
    const keys = Object.keys(attrs);
    if (keys.length === 0) return NO_ATTRS;
    let hash = hashAttrs(attrs, keys);
    for (let found = this.#attrs.get(hash); found !== undefined; found = this.#attrs.get(hash)) {
      if (found === attrs || sameAttrs(attrs, found, keys)) return found;
      hash = (hash + 1) | 0;
    }
    this.#attrs.set(hash, attrs);
    return attrs;
  }

  /** The node of an op on inputs, with attributes as `attrsLike` gives them; made where there is none. */
  nodeOf(op: OpDef, inputs: readonly Tensor[], attrs: Attrs): Node {
    let hash = mix(objectId(op), objectId(attrs));
    for (let i = 0; i < inputs.length; i++) hash = mix(mix(hash, inputs[i]!.node.id), inputs[i]!.index);
    for (let found = this.#nodes.get(hash); found !== undefined; found = this.#nodes.get(hash)) {
      if (found.op === op && found.attrs === attrs && sameTensors(found.inputs, inputs)) return found;
      hash = (hash + 1) | 0;
    }
    const node = makeNode(op, inputs, attrs);
    this.#nodes.set(hash, node);
    return node;
  }
}

function sameTensors(a: readonly Tensor[], b: readonly Tensor[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function makeNode(op: OpDef, inputs: readonly Tensor[], attrs: Attrs): Node {
  const types = op.infer(
    inputs.map((input) => input.type),
    attrs,
  );
  // As long as it gets: a list that grows keeps room for 16 more, in every node.
  const results = new Array<Tensor>(types.length);
  const node: Node = { id: nextNodeId++, op, inputs: [...inputs], attrs, results };
  for (let i = 0; i < types.length; i++) results[i] = new Tensor(node, i, Object.freeze(types[i]!));
  return node;
}

/**
 * Applies an op: checks the inputs by its shape rule, and gives the results of the node that does exactly this, made
 * now or found. Throws what the shape rule throws, and `TraceError` outside a trace.
 */
export function emit<A extends Attrs>(op: OpDef<A>, inputs: readonly Tensor[], attrs: A): readonly Tensor[] {
  const trace = openTrace(op.name);
  const simplified = op.simplify?.(inputs, attrs);
  if (simplified !== undefined) return simplified;
  return trace.nodeOf(op as unknown as OpDef, inputs, trace.attrsLike(attrs)).results;
}

/** The result of a node that is equal to no other, so that nobody looks for one: of an op without inputs. */
export function emitFresh<A extends Attrs>(op: OpDef<A>, attrs: A): Tensor {
  openTrace(op.name);
  return makeNode(op as unknown as OpDef, [], attrs).results[0]!;
}

function openTrace(what: string): Trace {
  if (current !== undefined) return current;
  throw new TraceError(`${what}: tensors only exist while a function is traced`, {
    hint: "call tensor functions inside a function given to trace(), compile() or grad()",
  });
}

/** `emit` for an op with one result. */
export function emitOne<A extends Attrs>(op: OpDef<A>, inputs: readonly Tensor[], attrs: A): Tensor {
  return emit(op, inputs, attrs)[0]!;
}

/**
 * Every node that the tensors depend on, inputs before users, each once; without what only nodes depend on for which
 * `enters` is false. Iterative: graphs are deeper than stacks.
 */
export function topologicalOrder(roots: readonly Tensor[], enters: (node: Node) => boolean = () => true): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  // Nodes whose inputs are being visited, and how many of them were.
  const path: Node[] = [];
  const visited: number[] = [];
  const begin = (node: Node): void => {
    if (seen.has(node)) return;
    seen.add(node);
    path.push(node);
    visited.push(0);
  };
  for (const root of roots) {
    begin(root.node);
    while (path.length > 0) {
      const last = path.length - 1;
      const node = path[last]!;
      const next = visited[last]!++;
      const input = next > 0 || enters(node) ? node.inputs[next] : undefined;
      if (input !== undefined) begin(input.node);
      else {
        order.push(node);
        path.pop();
        visited.pop();
      }
    }
  }
  return order;
}

/** Maps tensors to other tensors while a graph is rebuilt. */
export type Substitution = Map<Tensor, Tensor>;

/**
 * Rebuilds what `roots` depend on, with the tensors in `substitution` replaced. Nodes that do not depend on them are
 * kept as they are. `substitution` is extended with every tensor that was rebuilt.
 */
export function substitute(roots: readonly Tensor[], substitution: Substitution): Tensor[] {
  for (const node of topologicalOrder(roots)) {
    if (node.results.every((result) => substitution.has(result))) continue;
    if (!node.inputs.some((input) => substitution.get(input) !== undefined)) continue;
    const inputs = node.inputs.map((input) => substitution.get(input) ?? input);
    const results = emit(node.op, inputs, node.attrs);
    node.results.forEach((result, i) => {
      if (!substitution.has(result)) substitution.set(result, results[i]!);
    });
  }
  return roots.map((root) => substitution.get(root) ?? root);
}

/** Applies a graph to arguments: its results with the parameters replaced. */
export function inline(graph: Graph, args: readonly Tensor[]): Tensor[] {
  invariant(args.length === graph.parameters.length, `inline ${graph.name}: ${args.length} arguments`);
  return substitute(graph.results, new Map(graph.parameters.map((parameter, i) => [parameter, args[i]!])));
}
