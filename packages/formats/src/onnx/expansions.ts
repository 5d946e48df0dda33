// Core's ops that ONNX has no operator for, as others that it has. Packed numbers are what they stand for: a product of
// int8 codes with ternary ones is a product of floats, equal up to rounding. What core itself takes apart before
// compiling (rms_norm, silu, ...) is taken apart here as well.
//
// Left out: loops over time (scan, selective_scan, linear_recurrence, ...), which ONNX could only express by control
// flow, and caches: positions must be known.

import { broadcastTo, constant, elementCount, emit, inTrace, reduceMax, reduceSum, reshape } from "@fidelity/core";
import { topologicalOrder } from "@fidelity/core";
import type { Attrs, Graph, Node, Tensor } from "@fidelity/core";
import { UnsupportedFormatError } from "../errors.ts";
import { knownValues } from "./node-context.ts";
import { add, apply, binary, div, matrixIndices, mul, product, sliceOf, sub, transposed, where } from "./tensors.ts";

/** What an op becomes: its results of inputs that are already made of ONNX's operators. */
type Expansion = (inputs: readonly Tensor[], attrs: Attrs, once: Once) => readonly Tensor[];
/** The same constant for the same key. */
type Once = (key: string, make: () => Tensor) => Tensor;

/** A graph with no op but those in `direct`. Throws `UnsupportedFormatError` for one that cannot be taken apart. */
export function expandGraph(graph: Graph, direct: (op: string) => boolean): Graph {
  const constants = new Map<string, Tensor>();
  const once: Once = (key, make) => {
    const made = constants.get(key) ?? make();
    constants.set(key, made);
    return made;
  };
  // What is made is its own image: ops that simplify may give what lies below the inputs of an expansion.
  const made = new Map(graph.parameters.map((parameter) => [parameter, parameter]));
  const isMade = ({ results }: Node): boolean => results.every((result) => made.has(result));
  const rewrite = (roots: readonly Tensor[]): Tensor[] => {
    for (const node of topologicalOrder(roots, (each) => !isMade(each))) {
      if (isMade(node)) continue;
      const inputs = node.inputs.map((input) => made.get(input)!);
      const isDirect = direct(node.op.name);
      const results = isDirect
        ? emit(node.op, inputs, node.attrs)
        : rewrite(expansionOf(node)(inputs, node.attrs, once));
      if (isDirect) for (const result of results) made.set(result, result);
      node.results.forEach((result, i) => made.set(result, results[i]));
    }
    return roots.map((root) => made.get(root)!);
  };
  return inTrace(() => ({ ...graph, results: rewrite(graph.results) }));
}

function expansionOf({ op }: Node): Expansion {
  const own = Object.hasOwn(EXPANSIONS, op.name) ? EXPANSIONS[op.name] : undefined;
  if (own !== undefined) return own;
  const { lowering } = op;
  if (lowering.kind === "expand") return (inputs, attrs) => lowering.expand(inputs, attrs);
  throw new UnsupportedFormatError(`the op ${op.name} has no form in ONNX`, {
    expected: "elementwise ops, products, reductions, norms, attention without a cache, and what moves elements",
    got: op.summary,
    hint: "write another format: GGUF, safetensors and Fidelity's own hold every architecture",
  });
}

const same: Expansion = ([x]) => [x];

/** x over its largest magnitude of a row, rounded to 8 bits and back. */
function quantized(x: Tensor): Tensor {
  const largest = binary("max", reduceMax(apply("abs", [x]) as never, -1, true), 1e-5);
  const codes = apply("round", [mul(x, div(127, largest))]);
  return mul(binary("min", binary("max", codes, -128), 127), div(largest, 127));
}

/** Weights of -s, 0 and s, where s is the mean magnitude. */
function ternarized(w: Tensor): Tensor {
  const total = reduceSum(apply("abs", [w]) as never, [0, 1], true) as Tensor;
  const scale = binary("max", div(total, elementCount(w.shape)), 1e-5);
  return mul(binary("min", binary("max", apply("round", [div(w, scale)]), -1), 1), scale);
}

function knownPosition(op: string, position: Tensor): number {
  const values = knownValues(position);
  if (values !== undefined) return values[0];
  throw new UnsupportedFormatError(`${op} at a position that is only known at run time has no form in ONNX`, {
    expected: "a whole sequence, from its first token on",
    got: "a sequence that continues a cache",
    hint: "trace the model without a past",
  });
}

/** See core's attention.ts: scores of queries [B, T, H, D] and keys [B, S, G, D], of values [B, S, G, E]. */
const attention: Expansion = ([q, k, v, at], attrs) => {
  const {
    scale,
    softcap,
    window,
    causal = true,
  } = attrs as {
    readonly scale: number;
    readonly softcap?: number;
    readonly window?: number;
    readonly causal?: boolean;
  };
  const [, time, heads] = q.shape;
  const capacity = k.shape[1];
  const position = knownPosition("attention", at);
  const products = product(transposed(q, [0, 2, 1, 3]), repeated(transposed(k, [0, 2, 3, 1]), heads));
  const scaled = mul(products, scale);
  const capped = softcap === undefined ? scaled : mul(apply("tanh", [div(scaled, softcap)]), softcap);
  let scores = capped;
  if (causal || position + time < capacity) {
    const { row, column } = matrixIndices(time, capacity);
    const last = causal ? add(row, position) : add(mul(row, 0), position + time - 1);
    let isSeen = binary("le", column, last);
    if (window !== undefined) isSeen = binary("logical_and", isSeen, binary("lt", sub(last, window), column));
    scores = where(isSeen, capped, add(mul(capped, 0), -Infinity));
  }
  const o = product(apply("softmax", [scores]), repeated(transposed(v, [0, 2, 1, 3]), heads));
  const largest = reduceMax(scores as never, -1, true) as Tensor;
  const total = reduceSum(apply("exp", [sub(scores, largest)]) as never, -1, true) as Tensor;
  const lse = add(largest, apply("log", [total]));
  return [transposed(o, [0, 2, 1, 3]), reshape(lse, lse.shape.slice(0, -1))];
};

/** [B, G, ...] with each of the G repeated, so that there are `heads`. */
function repeated(x: Tensor, heads: number): Tensor {
  const [batch, groups, ...rest] = x.shape;
  if (groups === heads) return x;
  const wide = broadcastTo(reshape(x, [batch, groups, 1, ...rest]), [batch, groups, heads / groups, ...rest]);
  return reshape(wide, [batch, heads, ...rest]);
}

/** See core's rope.ts: pairs of elements of x [B, T, H, D], turned by angles that are constants here. */
const rope: Expansion = ([x, at], attrs, once) => {
  const given = attrs as {
    readonly theta: number;
    readonly pairing: "adjacent" | "halves";
    readonly inverse: boolean;
    readonly dims?: number;
    readonly divisors?: readonly number[];
    readonly magnitude?: number;
  };
  const [batch, time, heads, size] = x.shape;
  const { pairing, dims = size, magnitude = 1 } = given;
  const position = knownPosition("rope", at);
  const pairs = dims / 2;
  const table = (of: (angle: number) => number): Tensor => {
    const values = Float64Array.from({ length: time * pairs }, (_, i) => {
      const pair = i % pairs;
      const frequency = given.theta ** ((-2 * pair) / dims) / (given.divisors?.[pair] ?? 1);
      return magnitude * of((position + Math.floor(i / pairs)) * frequency);
    });
    return constant(values, pairing === "halves" ? [1, time, 1, pairs] : [1, time, 1, pairs, 1]) as Tensor;
  };
  const key = JSON.stringify([given, position, time, dims]);
  const cos = once(`cos ${key}`, () => table(Math.cos));
  const sin = once(`sin ${key}`, () => table(given.inverse ? (angle) => -Math.sin(angle) : Math.sin));
  const turned = sliceOf(x, 3, 0, dims);
  const parts = pairing === "halves" ? turned : reshape(turned, [batch, time, heads, pairs, 2]);
  const axis = parts.rank - 1;
  const half = parts.shape[axis] / 2;
  const [a, b] = [sliceOf(parts, axis, 0, half), sliceOf(parts, axis, half, 2 * half)];
  const y = apply("concat", [sub(mul(a, cos), mul(b, sin)), add(mul(a, sin), mul(b, cos))], { axis });
  const flat = reshape(y, turned.shape);
  return [dims === size ? flat : apply("concat", [flat, sliceOf(x, 3, dims, size)], { axis: 3 })];
};

const EXPANSIONS: Readonly<Record<string, Expansion>> = {
  after: same,
  attention,
  checkpoint_name: same,
  dequantize: same,
  quantize_activations: ([x]) => [quantized(x)],
  rope,
  rsqrt: ([x]) => [div(1, apply("sqrt", [x]))],
  stop_gradient: same,
  ternarize: ([w]) => [ternarized(w)],
  ternary_linear: ([x, w]) => [product(x, w, { transposeB: true })],
};
