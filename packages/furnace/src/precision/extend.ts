// Computing a function in more precision than its tensors have: a transformation of graphs that keeps some ops as they
// are and computes others in float64, in double-double (or f80 or f128, where native code has them), or with exact
// accumulation, rounding where one meets the other. `doubleDouble` extends everything; `withPrecision` what a policy
// chooses. Since derivatives are graphs, what is extended after `grad`, `jvp` or `vjp` is the derivative itself, in
// every op of it: the derivative of a double-double computation is a double-double computation.
//
// A tensor is known by what stands for it: itself, a float64 tensor, or a pair. Composite ops (softmax, rms_norm,
// ...) are taken apart first, loops have their bodies extended. Left out: linear algebra and packed weights in
// double-double, branches and loops of unknown length (`NoExtendedRuleError` names the op).

import {
  cast,
  emit,
  formatType,
  inTrace,
  isFloat,
  isTensor,
  mapTree,
  matmulExact,
  parameter,
  sumExact,
  topologicalOrder,
} from "@fidelity/core";
import type { Attrs, ExtendedFormat, Graph, Node, Tensor, TensorPair, TensorType } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import { toPair } from "./double_double.ts";
import type { Extended } from "./extend_rules.ts";
import { PAIR_RULES } from "./extend_rules.ts";

/**
 * How an op is computed: in its tensors' own dtype; in float64; in double-double; in f80 or f128, where native code has
 * them, and in double-double elsewhere; or, for sums and products of matrices, exactly, rounded once to the dtype of
 * its result.
 */
export type Precision = "keep" | "f64" | ExtendedFormat | "exact";

const isPaired = (precision: Precision): precision is ExtendedFormat =>
  precision === "double-double" || precision === "f80" || precision === "f128";

/** Chooses for each op with a float result; called for what composite ops expand to, not for them. */
export type PrecisionPolicy = (node: Node) => Precision;

/** An op has no form in the precision that a policy asks for. */
export class NoExtendedRuleError extends FidelityError {
  readonly op: string;

  constructor(node: Node, precision: Precision) {
    const types = node.inputs.map(({ type }) => formatType(type)).join(", ");
    super(`${node.op.name} cannot be computed in ${precision}`, {
      got: `${node.op.name}(${types})`,
      expected: "elementwise ops, sums, products of matrices, ops that move elements, and scan",
      hint: 'keep this op ("keep"), or write it with those',
    });
    this.op = node.op.name;
  }
}

/** Sums and products of matrices in the precision given, everything else as it is. */
export function accumulations(precision: Precision): PrecisionPolicy {
  return ({ op }) => (op.name === "reduce_sum" || op.name === "matmul" ? precision : "keep");
}

/**
 * The graph with its ops computed as the policy says; parameters and results keep their types. For graphs that are not
 * differentiated any more: derivatives of an author's own are gone.
 */
export function extendGraph(graph: Graph, policy: PrecisionPolicy): Graph {
  return inTrace(() => {
    const extender = new Extender(policy);
    const results = graph.results.map((result) => extender.plain(result));
    return { ...graph, results };
  });
}

/**
 * `fn` over trees of tensors with its ops computed as the policy says. Works inside a trace, before `grad` or after it.
 * What has a derivative of its author's (`customVjp`, `customJvp`, `checkpoint`) stays whole, as it is.
 */
export function withPrecision<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  policy: PrecisionPolicy,
): (...args: A) => R {
  return (...args) => {
    const extender = new Extender(policy, true);
    const opened = mapTree(args, isTensor, (leaf, path) => {
      const made = parameter(path, leaf.type);
      extender.set(made, leaf);
      return made;
    }) as unknown as A;
    return mapTree(fn(...opened), isTensor, (leaf) => extender.plain(leaf)) as R;
  };
}

/** A tree of tensors whose float leaves are pairs. */
export type PairTree<T> = T extends Tensor
  ? TensorPair
  : T extends readonly unknown[] | { readonly [key: string]: unknown }
    ? { [K in keyof T]: PairTree<T[K]> }
    : T;

/** A tree whose leaves are tensors or pairs. */
export type PairOrTensorTree<T> = T extends Tensor
  ? T | TensorPair
  : T extends readonly unknown[] | { readonly [key: string]: unknown }
    ? { [K in keyof T]: PairOrTensorTree<T[K]> }
    : T;

const isPairOrTensor = (value: unknown): value is Tensor | TensorPair =>
  isTensor(value) || (typeof value === "object" && value !== null && "hi" in value && "lo" in value);

/**
 * `fn`, a function over float64 or float32 tensors, in double-double: its arguments are tensors, taken as exact, or
 * pairs, its results pairs. `doubleDouble(grad(f))` is the gradient in double-double. With a `format` it is computed in
 * f80 or f128 by native code that has it, each op rounded to a pair.
 * @throws NoExtendedRuleError that names an op without such a form
 */
export function doubleDouble<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  format: ExtendedFormat = "double-double",
): (...args: PairOrTensorTree<A> & readonly unknown[]) => PairTree<R> {
  return (...args) => {
    const extender = new Extender(() => format);
    const opened = mapTree(args, isPairOrTensor, (leaf, path) => {
      const type = "lo" in leaf ? leaf.hi.type : leaf.type;
      const made = parameter(path, type);
      extender.set(made, leaf);
      return made;
    }) as unknown as A;
    return mapTree(fn(...opened), isTensor, (leaf) => {
      return isFloat(leaf.dtype) ? extender.pair(leaf) : extender.plain(leaf);
    }) as PairTree<R>;
  };
}

/** Ops whose float results are the same numbers in more precision: no policy is asked. */
const SOURCES = new Set(["parameter", "constant", "splat", "iota"]);

class Extender {
  readonly #policy: PrecisionPolicy;
  /** Whether ops with derivatives of their own, which their expansions do not have, stay whole. */
  readonly #keepsRules: boolean;
  readonly #known = new Map<Tensor, Extended>();
  readonly #done = new Set<Node>();

  constructor(policy: PrecisionPolicy, keepsRules = false) {
    this.#policy = policy;
    this.#keepsRules = keepsRules;
  }

  set(tensor: Tensor, stands: Extended): void {
    this.#known.set(tensor, stands);
    this.#done.add(tensor.node);
  }

  /** What stands for a tensor. */
  #look(tensor: Tensor): Extended {
    for (const node of topologicalOrder([tensor])) this.#visit(node);
    return this.#known.get(tensor) ?? tensor;
  }

  /** The tensor rounded to its own dtype. */
  plain(tensor: Tensor): Tensor {
    const stands = this.#look(tensor);
    return cast("lo" in stands ? stands.hi : stands, tensor.dtype);
  }

  #float64(tensor: Tensor): Tensor {
    const stands = this.#look(tensor);
    return "lo" in stands ? stands.hi : cast(stands, "f64");
  }

  pair(tensor: Tensor): TensorPair {
    return toPair(this.#look(tensor));
  }

  #at(precision: Precision, tensor: Tensor): Extended {
    if (!isFloat(tensor.dtype)) return this.plain(tensor);
    if (precision === "f64") return this.#float64(tensor);
    return isPaired(precision) ? this.pair(tensor) : this.plain(tensor);
  }

  #visit(node: Node): void {
    if (this.#done.has(node)) return;
    this.#done.add(node);
    if (SOURCES.has(node.op.name)) return;
    for (const input of node.inputs) this.#visit(input.node);
    const results = this.#results(node);
    node.results.forEach((result, i) => this.#known.set(result, results[i]!));
  }

  #results(node: Node): readonly Extended[] {
    const { lowering, derivative } = node.op;
    if (lowering.kind === "expand" && this.#keepsRules && derivative.kind === "rules") {
      return emit(
        node.op,
        node.inputs.map((input) => this.plain(input)),
        node.attrs,
      );
    }
    if (lowering.kind === "expand") {
      const expansion = lowering.expand(node.inputs, node.attrs);
      return expansion.map((part) => this.#look(part));
    }
    const precision =
      node.results.some(({ dtype }) => isFloat(dtype)) || comparesFloats(node) ? this.#policy(node) : "keep";
    if (node.op.name === "scan") return this.#scan(node, precision);
    // A cast between float dtypes would round what is to be kept.
    const isExtended = precision === "f64" || isPaired(precision);
    if (isExtended && node.op.name === "cast" && isFloat(node.inputs[0]!.dtype) && isFloat(node.results[0]!.dtype)) {
      return [this.#look(node.inputs[0]!)];
    }
    const inputs = node.inputs.map((input) => this.#at(precision, input));
    if (isPaired(precision)) return this.#pairs(node, inputs, precision);
    if (precision === "exact") return [exactly(node, inputs as Tensor[])];
    return emit(node.op, inputs as Tensor[], precision === "f64" ? inFloat64(node.attrs) : node.attrs);
  }

  #pairs(node: Node, inputs: readonly Extended[], format: ExtendedFormat): readonly Extended[] {
    const rule = PAIR_RULES[format][node.op.name];
    if (rule !== undefined) return rule(inputs, node.attrs, node);
    // Integers made into numbers, and numbers into integers, need no more digits.
    if (node.op.name !== "cast") throw new NoExtendedRuleError(node, format);
    return emit(
      node.op,
      node.inputs.map((input) => this.plain(input)),
      inFloat64(node.attrs),
    );
  }

  /** The loop with its body extended; carries, slices and outputs are handed on in the precision of the loop. */
  #scan(node: Node, precision: Precision): readonly Extended[] {
    const body = node.attrs["body"] as Graph;
    const [constants, carries] = [Number(node.attrs["constants"]), Number(node.attrs["carries"])];
    if (node.attrs["limited"] === true && precision !== "keep") throw new NoExtendedRuleError(node, precision);
    const inner = new Extender(this.#policy, this.#keepsRules);
    const width = (tensor: Tensor): number => (isPaired(precision) && isFloat(tensor.dtype) ? 2 : 1);
    const opened = body.parameters.map((original) => this.#opened(inner, original, precision));
    const results = body.results.map((result) => partsOf(inner.#at(precision, result)));
    const count = (tensors: readonly Tensor[]): number => tensors.reduce((sum, tensor) => sum + width(tensor), 0);
    const inputs = node.inputs.flatMap((input) => partsOf(this.#at(precision, input)));
    const attrs = {
      ...node.attrs,
      body: { name: body.name, parameters: opened.flat(), results: results.flat() },
      constants: count(body.parameters.slice(0, constants)),
      carries: count(body.results.slice(0, carries)),
    };
    const emitted = [...emit(node.op, inputs, attrs)];
    return body.results.map((result) => {
      const [hi, lo] = emitted.splice(0, width(result));
      return lo === undefined ? hi! : { hi: hi!, lo };
    });
  }

  /** Parameters of an extended body that stand for one of the body's. */
  #opened(inner: Extender, original: Tensor, precision: Precision): readonly Tensor[] {
    const isExtended = isFloat(original.dtype) && (precision === "f64" || isPaired(precision));
    const type: TensorType = isExtended ? { dtype: "f64", shape: original.shape } : original.type;
    const hi = parameter("carry", type);
    if (!isExtended || precision === "f64") {
      inner.set(original, hi);
      return [hi];
    }
    const lo = parameter("carry_low", type);
    inner.set(original, { hi, lo });
    return [hi, lo];
  }
}

function partsOf(value: Extended): readonly Tensor[] {
  return "lo" in value ? [value.hi, value.lo] : [value];
}

function comparesFloats({ op, inputs }: Node): boolean {
  return ["lt", "le", "eq"].includes(op.name) && isFloat(inputs[0]!.dtype);
}

/** Attributes of an op that makes float tensors, for float64. */
function inFloat64(attrs: Attrs): Attrs {
  return attrs["dtype"] === "f32" ? { ...attrs, dtype: "f64" } : attrs;
}

function exactly(node: Node, inputs: readonly Tensor[]): Tensor {
  const { attrs } = node;
  if (node.op.name === "reduce_sum") return sumExact(inputs[0]!, attrs["axes"] as readonly number[], true);
  if (node.op.name !== "matmul") throw new NoExtendedRuleError(node, "exact");
  const flags = { transposeA: attrs["transposeA"] === true, transposeB: attrs["transposeB"] === true };
  return matmulExact(inputs[0]!, inputs[1]!, flags);
}
