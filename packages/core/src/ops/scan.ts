// scan: the general loop. A body graph is applied to one slice after another along the leading axis of its inputs, and
// hands a carry from step to step. What the body uses from outside becomes an explicit input (closure conversion), and
// what in it does not change from step to step is computed before the loop.
//
// Layout of the node, with C constants, K carries, X inputs and Y outputs over T steps:
//   inputs   [constants (C)..., initial carries (K)..., stacked xs (X) of shape [T, ...slice]...]
//   results  [final carries (K)..., stacked ys (Y) of shape [T, ...slice]...]
//   body     parameters [constants (C)..., carries (K)..., x slices (X)...], results [carries (K)..., y slices (Y)...]
// With `reverse` the steps run from T - 1 to 0; step t reads slice t of xs and writes slice t of ys either way. A body
// may give a parameter as a result, and the same tensor as several results. The body is closed: it depends on nothing
// but its parameters.
//
// A `limited` loop takes fewer than T steps: its first carry is an i32 scalar, and the steps that run are those whose
// index t is below it. A loop that goes up looks before every step, and leaves there how many steps it took: so it may
// stop itself (`while_loop`). One with `reverse` looks once, and begins with the step below the limit. Slices of ys of
// steps that did not run are not defined (zeros in the reference): who reads them has the same limit.
//
// Left out: `limited` in the front end; `while_loop` is that.

import type { Shape } from "@fidelity/units";
import { isPacked } from "../dtype.ts";
import type { Graph, Tensor, TensorType } from "../graph.ts";
import { emit, formatType, sameType } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { zerosHost } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { requireShape, ShapeMismatchError } from "../op.ts";
import { elementCount } from "../storage.ts";
import { closeGraph } from "../derive/close.ts";
import { isTensor, parameter, trace } from "../trace.ts";
import { flattenTree, mapTree, TreeMismatchError } from "../tree.ts";
import type { NamedLeaf } from "../tree.ts";
import { add } from "./add.ts";
import { iota } from "./iota.ts";
import { lt } from "./lt.ts";
import { mul } from "./mul.ts";
import { scanJvp, scanTranspose } from "./scan_derivative.ts";
import { select } from "./select.ts";

export type ScanAttrs = {
  readonly body: Graph;
  /** How many of the inputs are constants, and how many are carries. */
  readonly constants: number;
  readonly carries: number;
  /** Number of steps. */
  readonly length: number;
  readonly reverse: boolean;
  readonly limited?: true;
};

export const scanOp: OpDef<ScanAttrs> = {
  name: "scan",
  summary: "carry[t+1], y[t] = body(constants, carry[t], x[t])",
  infer: inferScan,
  evaluate: evaluateScan,
  derivative: { kind: "rules", jvp: scanJvp, transpose: scanTranspose },
  lowering: { kind: "loop" },
  sample(draw) {
    const [steps, width] = [draw.int(1, 4), draw.int(1, 4)];
    const slice: TensorType = { dtype: "f32", shape: [width] };
    const recurrence = (gain: Tensor, h: Tensor, x: Tensor): Tensor[] => {
      const next = add(mul(gain, h), x);
      return [next, mul(next, h)];
    };
    const { graph: body } = trace("recurrence", recurrence, [slice, slice, slice]);
    const attrs: ScanAttrs = { body, constants: 1, carries: 1, length: steps, reverse: draw.int(0, 1) === 1 };
    return { inputs: [slice, slice, stackedType(slice, steps)], attrs };
  },
};

function stackedType(slice: TensorType, length: number): TensorType {
  return { dtype: slice.dtype, shape: [length, ...slice.shape] };
}

function inferScan(inputs: readonly TensorType[], attrs: ScanAttrs): TensorType[] {
  const { body, constants, carries, length } = attrs;
  requireShape(Number.isInteger(length) && length >= 1, "scan", `cannot run ${length} steps`, inputs);
  const { parameters, results } = body;
  requireShape(inputs.length === parameters.length, "scan", `the body takes ${parameters.length} inputs`, inputs);
  requireShape(results.length >= carries, "scan", `the body gives ${results.length} of ${carries} carries`, inputs);
  if (attrs.limited) {
    const limit = inputs[constants]!;
    requireShape(
      carries > 0 && limit.dtype === "i32" && limit.shape.length === 0,
      "scan",
      "the limit is no i32 scalar",
      inputs,
    );
  }
  parameters.forEach(({ type }, i) => {
    const isSlice = i >= constants + carries;
    const expected = isSlice ? stackedType(type, length) : type;
    const fits = sameType(inputs[i]!, expected) && !(isSlice && isPacked(type.dtype));
    requireShape(fits, "scan", `input ${i} should be ${formatType(expected)}`, inputs);
  });
  return results.map(({ type }, i) => {
    if (i >= carries) {
      requireShape(!isPacked(type.dtype), "scan", `${type.dtype} slices cannot be stacked`, inputs);
      return stackedType(type, length);
    }
    const carry = parameters[constants + i]!.type;
    requireShape(
      sameType(type, carry),
      "scan",
      `carry ${i} goes in as ${formatType(carry)} and comes out as ${formatType(type)}`,
      inputs,
    );
    return type;
  });
}

function evaluateScan(inputs: readonly HostTensor[], attrs: ScanAttrs, types: readonly TensorType[]): HostTensor[] {
  const { body, constants, carries, length, reverse, limited } = attrs;
  const fixed = inputs.slice(0, constants);
  let carry = inputs.slice(constants, constants + carries);
  const limit = (): number => (limited ? carry[0]!.data[0]! : length);
  const stacks = inputs.slice(constants + carries);
  const ys = types.slice(carries).map(zerosHost);
  for (let step = 0; step < length; step++) {
    const t = reverse ? length - 1 - step : step;
    if (t >= limit() && !reverse) break;
    if (t >= limit()) continue;
    const slices = stacks.map((stack, i) => {
      const { type } = body.parameters[constants + carries + i]!;
      const size = elementCount(type.shape);
      return { type, data: stack.data.subarray(t * size, (t + 1) * size) };
    });
    const results = interpret(body, [...fixed, ...carry, ...slices]);
    carry = results.slice(0, carries);
    ys.forEach((y, i) => {
      const slice = results[carries + i]!.data;
      y.data.set(slice, t * slice.length);
    });
  }
  return [...carry, ...ys];
}

/** The tensor that stands for a carry in the body, its first value, and its next one. */
export interface LoopCarry {
  readonly parameter: Tensor;
  readonly init: Tensor;
  readonly next: Tensor;
}

/** One loop to emit. */
export interface LoopParts {
  readonly name: string;
  /** The limit of a `limited` loop. */
  readonly limit?: LoopCarry;
  readonly carries: readonly LoopCarry[];
  readonly slices: readonly { readonly parameter: Tensor; readonly stack: Tensor }[];
  /** What each step gives besides the carries. */
  readonly outputs: readonly Tensor[];
  readonly length: number;
  readonly reverse: boolean;
}

/** Closes the body over what it uses from outside, drops slices that it does not read, and emits the loop. */
export function emitLoop(parts: LoopParts): { carries: readonly Tensor[]; stacks: readonly Tensor[] } {
  const { name, limit, slices, outputs, length, reverse } = parts;
  const carries = limit === undefined ? parts.carries : [limit, ...parts.carries];
  const results = [...carries.map(({ next }) => next), ...outputs];
  const parameters = [...carries, ...slices].map((part) => part.parameter);
  const { graph, constants, used } = closeGraph(name, parameters, results);
  const read = slices.filter(({ parameter: slice }) => used.has(slice.node));
  const unread = new Set(slices.filter((slice) => !read.includes(slice)).map((slice) => slice.parameter));
  const body: Graph = { ...graph, parameters: graph.parameters.filter((tensor) => !unread.has(tensor)) };
  const inputs = [...constants, ...carries.map(({ init }) => init), ...read.map(({ stack }) => stack)];
  const attrs: ScanAttrs = { body, constants: constants.length, carries: carries.length, length, reverse };
  const emitted = emit(scanOp, inputs, limit === undefined ? attrs : { ...attrs, limited: true });
  const own = emitted.slice(carries.length - parts.carries.length, carries.length);
  return { carries: own, stacks: emitted.slice(carries.length) };
}

/** A limited loop as one that takes all T steps, of which those that the limit stops keep the carries. */
export function withoutLimit(attrs: ScanAttrs): { readonly attrs: ScanAttrs; readonly indices: Tensor } {
  const { body, constants, carries, length, reverse } = attrs;
  const index = parameter("step", { dtype: "i32", shape: [] });
  const goesOn = lt(index, body.parameters[constants]! as Tensor<readonly [], "i32">);
  const kept = body.parameters.slice(constants, constants + carries);
  const results = body.results.map((result, i) => (i < carries ? select(goesOn as never, result, kept[i]!) : result));
  const guarded: Graph = { name: body.name, parameters: [...body.parameters, index], results: results as Tensor[] };
  return {
    attrs: { body: guarded, constants, carries, length, reverse },
    indices: iota([length]) as unknown as Tensor,
  };
}

/** The tree with the leading axis of each leaf taken away. */
export type SliceOf<T> =
  T extends Tensor<infer S, infer D>
    ? Tensor<S extends readonly [unknown, ...infer Rest extends Shape] ? Rest : S, D>
    : T extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof T]: SliceOf<T[K]> }
      : T;

/** The tree with a leading axis given to each leaf. */
export type StackOf<T> =
  T extends Tensor<infer S, infer D>
    ? Tensor<readonly [number, ...S], D>
    : T extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof T]: StackOf<T[K]> }
      : T;

export interface ScanOptions {
  /** Number of steps; needed only when `xs` has no leaves. */
  readonly length?: number;
  /** Run from the last slice to the first. */
  readonly reverse?: boolean;
}

/**
 * Runs `body` over the slices of `xs` along their leading axis (of the same size T in all leaves), handing the carry
 * on: `{ carry, y } = body(carry, x)`. Gives the last carry and the ys, stacked along a new leading axis. The carry
 * keeps its structure, shapes and dtypes. `body` may use tensors from outside; it is traced once.
 *
 * Its derivative keeps the carry of every step (T times the carry's size) and computes everything else of a step again.
 * Throws `ShapeMismatchError` where leading axes differ or there is no step, and `TreeMismatchError` where the carry
 * changes.
 */
export function scan<C, X, Y>(
  body: (carry: C, x: SliceOf<X>) => { readonly carry: C; readonly y: Y },
  init: C,
  xs: X,
  options: ScanOptions = {},
): { carry: C; ys: StackOf<Y> } {
  const first = flattenTree(init, isTensor);
  const stacks = flattenTree(xs, isTensor);
  const length = commonLength(stacks, options.length);
  const carryParameters: Tensor[] = [];
  const sliceParameters: Tensor[] = [];
  const carryTree = mapTree(init, isTensor, (leaf, path) => {
    const made = parameter(path, leaf.type);
    carryParameters.push(made);
    return made;
  }) as C;
  const sliceTree = mapTree(xs, isTensor, (leaf, path) => {
    const made = parameter(path, { dtype: leaf.dtype, shape: leaf.shape.slice(1) });
    sliceParameters.push(made);
    return made;
  }) as SliceOf<X>;
  const step = body(carryTree, sliceTree);
  const next = flattenTree(step.carry, isTensor);
  requireSameCarry(first, next);
  const loop = emitLoop({
    name: "scan_body",
    carries: carryParameters.map((made, i) => ({ parameter: made, init: first[i]!.leaf, next: next[i]!.leaf })),
    slices: sliceParameters.map((made, i) => ({ parameter: made, stack: stacks[i]!.leaf })),
    outputs: flattenTree(step.y, isTensor).map(({ leaf }) => leaf),
    length,
    reverse: options.reverse ?? false,
  });
  return { carry: replaceLeaves(init, loop.carries) as C, ys: replaceLeaves(step.y, loop.stacks) as StackOf<Y> };
}

function replaceLeaves(tree: unknown, leaves: readonly Tensor[]): unknown {
  let next = 0;
  return mapTree(tree, isTensor, () => leaves[next++]!);
}

function commonLength(stacks: readonly NamedLeaf<Tensor>[], given: number | undefined): number {
  const types = stacks.map(({ leaf }) => leaf.type);
  const length = given ?? stacks[0]?.leaf.shape[0];
  if (length === undefined) {
    throw new ShapeMismatchError(
      "scan",
      "the number of steps is unknown",
      types,
      "give xs with a leading axis, or options.length",
    );
  }
  for (const { path, leaf } of stacks) {
    const named = path === "" ? "xs" : `xs.${path}`;
    requireShape(leaf.shape[0] === length, "scan", `the leading axis of ${named} is not ${length}`, [leaf.type]);
  }
  return length;
}

function requireSameCarry(first: readonly NamedLeaf<Tensor>[], next: readonly NamedLeaf<Tensor>[]): void {
  const places = Math.max(first.length, next.length);
  const show = (leaf: NamedLeaf<Tensor> | undefined): string => {
    return leaf === undefined ? "no leaf" : `${leaf.path} ${formatType(leaf.leaf.type)}`.trim();
  };
  for (let i = 0; i < places; i++) {
    const [a, b] = [first[i], next[i]];
    if (a !== undefined && b !== undefined && a.path === b.path && sameType(a.leaf.type, b.leaf.type)) continue;
    throw new TreeMismatchError("scan: the body gives another carry than it takes", {
      where: (a ?? b)!.path || "the carry",
      expected: show(a),
      got: show(b),
    });
  }
}
