// checkpoint: a function whose inner values are computed again in the backward pass instead of being kept (Griewank and
// Walther, "Algorithm 799: revolve", ACM TOMS 2000; Chen et al. 2016, arXiv 1604.06174). Kept are its inputs, its
// results, and inner values that a policy names.
//
// The node holds the function's graph, which is what runs. Its derivative is an op of its own (checkpoint_tangent),
// whose transpose computes the function again from copies of the inputs that become known only after the cotangents
// (after.ts): common-subexpression elimination cannot take the second computation for the first, and no schedule can
// move it to the front. What depends on parameters of the program alone is not computed again: those inputs are not
// copied, since they are there anyway.

import { closeGraph } from "../derive/close.ts";
import { linearize, tangentType } from "../derive/linearize.ts";
import { TENSORS, transposeWith } from "../derive/transpose.ts";
import type { Cotangents } from "../derive/transpose.ts";
import { isPacked } from "../dtype.ts";
import type { Graph, Node, Substitution, Tensor, TensorType } from "../graph.ts";
import { emit, formatType, inline, inTrace, sameType, substitute, topologicalOrder } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import type { CaseDraw, MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { isTensor, parameter, trace } from "../trace.ts";
import { flattenTree, mapTree } from "../tree.ts";
import { after } from "./after.ts";
import { mul } from "./mul.ts";
import { keepCarries } from "./scan_derivative.ts";
import { sin } from "./sin.ts";
import { zerosLike } from "./splat.ts";

/** The last results of the body, from `outputs` on, are inner values that are kept for the derivative. */
export type CheckpointAttrs = { readonly body: Graph; readonly outputs: number };

export const checkpointOp: OpDef<CheckpointAttrs> = {
  name: "checkpoint",
  summary: "y = f(x), computed again in the backward pass",
  infer(inputs, { body }) {
    requireBody("checkpoint", inputs, body.parameters);
    return body.results.map(({ type }) => type);
  },
  evaluate: (inputs, { body }) => interpret(body, inputs),
  derivative: { kind: "rules", jvp: checkpointJvp },
  lowering: { kind: "expand", expand: (inputs, { body }) => inline(body, inputs) },
  sample(draw) {
    const { body, type } = sampleBody(draw);
    return { inputs: [type, type], attrs: { body, outputs: 1 } };
  },
};

export type CheckpointTangentAttrs = CheckpointAttrs & {
  /** Which of the body's parameters the last inputs are the tangents of. */
  readonly active: readonly number[];
};

/** Inputs: those of the body, its kept values, tangents. Results: tangents of all results that have some. */
export const checkpointTangentOp: OpDef<CheckpointTangentAttrs> = {
  name: "checkpoint_tangent",
  summary: "dy = J(x) dx, with J computed again in the backward pass",
  infer(inputs, { body, outputs, active }) {
    const expected = [...body.parameters, ...body.results.slice(outputs)];
    requireBody("checkpoint_tangent", inputs.slice(0, expected.length), expected);
    requireShape(
      inputs.length === expected.length + active.length,
      "checkpoint_tangent",
      "tangents are missing",
      inputs,
    );
    return floatResults(body).map((i) => tangentType(body.results[i]!.type)!);
  },
  evaluate: (inputs, attrs) => interpret(tangentGraph(attrs), inputs),
  derivative: {
    kind: "rules",
    // Its derivative is that of a checkpoint of it, so that nested derivatives keep no inner values either.
    jvp(node, tangents, attrs) {
      const body = tangentGraph(attrs);
      return checkpointTangents(node.inputs, [], tangents, { body, outputs: body.results.length });
    },
    transpose: (node, cotangents, _linear, attrs) => checkpointTranspose(TENSORS, node, cotangents, attrs),
    transposeBody: checkpointTranspose,
  },
  lowering: { kind: "expand", expand: (inputs, attrs) => inline(tangentGraph(attrs), inputs) },
  sample(draw) {
    const { body, type } = sampleBody(draw);
    return { inputs: [type, type, type, type], attrs: { body, outputs: 1, active: [0] } };
  },
};

function sampleBody(draw: CaseDraw): { body: Graph; type: TensorType } {
  const type: TensorType = { dtype: "f32", shape: [draw.int(1, 5)] };
  const wave = (x: Tensor, y: Tensor): Tensor[] => {
    const kept = sin(mul(x, y));
    return [mul(kept, sin(x)), kept];
  };
  return { body: trace("wave", wave, [type, type]).graph, type };
}

function requireBody(op: string, inputs: readonly TensorType[], expected: readonly Tensor[]): void {
  const fits = inputs.length === expected.length && inputs.every((type, i) => sameType(type, expected[i]!.type));
  requireShape(fits, op, `the body takes ${expected.map(({ type }) => formatType(type)).join(", ")}`, inputs);
}

/** The results that have tangents. */
function floatResults(body: Graph): number[] {
  return body.results.flatMap(({ type }, i) => (tangentType(type) === undefined ? [] : [i]));
}

function checkpointJvp(node: Node, tangents: readonly MaybeTensor[], attrs: CheckpointAttrs): readonly MaybeTensor[] {
  const floats = floatResults(attrs.body);
  const derivatives = checkpointTangents(node.inputs, node.results.slice(attrs.outputs), tangents, attrs);
  return node.results.map((_result, i) => (floats.includes(i) ? derivatives[floats.indexOf(i)] : undefined));
}

function checkpointTangents(
  inputs: readonly Tensor[],
  kept: readonly Tensor[],
  tangents: readonly MaybeTensor[],
  attrs: CheckpointAttrs,
): readonly Tensor[] {
  const active = tangents.flatMap((tangent, i) => (tangent === undefined ? [] : [i]));
  return emit(checkpointTangentOp, [...inputs, ...kept, ...active.map((i) => tangents[i]!)], { ...attrs, active });
}

/** The body's derivative as a graph, linear in `tangents`; kept values are read instead of computed. */
interface LinearBody {
  readonly inputs: readonly Tensor[];
  readonly kept: readonly Tensor[];
  readonly tangents: readonly Tensor[];
  readonly derivatives: readonly MaybeTensor[];
}

function linearBody({ body, outputs, active }: CheckpointTangentAttrs): LinearBody {
  const inputs = body.parameters.map(({ type }) => parameter("input", type));
  const start: Substitution = new Map(body.parameters.map((from, i) => [from, inputs[i]!]));
  const results = keepCarries(substitute(body.results, start), inputs);
  const tangents = active.map((i) => parameter("tangent", tangentType(body.parameters[i]!.type)!));
  const given: MaybeTensor[] = inputs.map((_input, i) => tangents[active.indexOf(i)]);
  const derivatives = linearize(
    floatResults(body).map((i) => results[i]!),
    inputs,
    given,
  );
  // A kept value that is an input already stays that one.
  const keys = results.slice(outputs);
  const kept = keys.map(({ type }) => parameter("kept", type));
  const map: Substitution = new Map();
  keys.forEach((key, i) => {
    if (!inputs.includes(key)) map.set(key, kept[i]!);
  });
  return {
    inputs,
    kept,
    tangents,
    derivatives: derivatives.map((derivative) => derivative && substitute([derivative], map)[0]!),
  };
}

function tangentGraph(attrs: CheckpointTangentAttrs): Graph {
  return inTrace(() => {
    const { inputs, kept, tangents, derivatives } = linearBody(attrs);
    const zeros = (i: number): Tensor => {
      const result = attrs.body.results[floatResults(attrs.body)[i]!]!;
      return zerosLike(result, tangentType(result.type)!.dtype);
    };
    return {
      name: `${attrs.body.name}_tangent`,
      parameters: [...inputs, ...kept, ...tangents],
      results: derivatives.map((derivative, i) => derivative ?? zeros(i)),
    };
  });
}

function checkpointTranspose<C>(
  held: Cotangents<C>,
  node: Node,
  cotangents: readonly (C | undefined)[],
  attrs: CheckpointTangentAttrs,
): readonly (C | undefined)[] {
  const { inputs, kept, tangents, derivatives } = linearBody(attrs);
  const handed = transposeWith(held, derivatives, tangents, cotangents);
  const partsOf = (cotangent: C | undefined): readonly Tensor[] =>
    cotangent === undefined ? [] : held.partsOf(cotangent);
  const changed = (cotangent: C, change: (part: Tensor) => Tensor): C =>
    held.withParts(cotangent, held.partsOf(cotangent).map(change));
  const reals = node.inputs.slice(0, inputs.length);
  const copied = copiedInputs(reals);
  const received = cotangents.flatMap(partsOf);
  const map: Substitution = new Map();
  inputs.forEach((input, i) => map.set(input, copied[i]! ? afterComputed(reals[i]!, received) : reals[i]!));
  kept.forEach((value, i) => map.set(value, node.inputs[inputs.length + i]!));
  // Settled here: what stays has to be computed before anything goes on.
  const ready = handed.map((cotangent) => {
    return cotangent && changed(held.settle(cotangent), (part) => substitute([part], map)[0]!);
  });

  // What goes on to the function before waits for the rest, so that nothing of this one is kept for later.
  const goesOn = attrs.active.map((i) => copied[i]!);
  const stays = ready.flatMap((cotangent, i) => (goesOn[i] ? [] : partsOf(cotangent)));
  const first = node.inputs.length - tangents.length;
  return node.inputs.map((_input, i) => {
    const cotangent = i < first ? undefined : ready[i - first];
    return cotangent !== undefined && goesOn[i - first] && stays.length > 0
      ? changed(cotangent, (part) => afterComputed(part, stays))
      : cotangent;
  });
}

/** Which inputs are copied: those that are computed, or all if none is. */
function copiedInputs(inputs: readonly Tensor[]): boolean[] {
  const copyable = inputs.map(({ dtype, node }) => !isPacked(dtype) && (node.inputs.length > 0 || isParameter(node)));
  const computed = inputs.map(({ node }, i) => copyable[i]! && !isParameter(node));
  return computed.includes(true) ? computed : copyable;
}

function isParameter(node: Node): boolean {
  return node.op.name === "parameter";
}

/** `x` after those of `others` that something has to be computed for. */
function afterComputed(x: Tensor, others: readonly Tensor[]): Tensor {
  return after(
    x,
    others.filter(({ node }) => node.inputs.length > 0 || isParameter(node)),
  );
}

export interface CheckpointOptions {
  /** Inner values, named by `checkpointName`, that are kept instead of being computed again. */
  readonly save?: readonly string[];
}

/**
 * `fn`, whose inner values are not kept for its derivative but computed again from its arguments when the backward pass
 * comes to them. Its value and its derivatives are those of `fn`. Arguments and results are trees of tensors; `fn` may
 * use tensors from outside.
 */
export function checkpoint<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  { save = [] }: CheckpointOptions = {},
): (...args: A) => R {
  return (...args) => {
    const opened: Tensor[] = [];
    const tree = mapTree(args, isTensor, (leaf, path) => {
      const made = parameter(path, leaf.type);
      opened.push(made);
      return made;
    }) as unknown as A;
    const value = fn(...tree);
    const outputs = flattenTree(value, isTensor).map(({ leaf }) => leaf);
    const named = topologicalOrder(outputs).filter(({ op, attrs }) => {
      return op.name === "checkpoint_name" && save.some((saved) => saved === attrs["name"]);
    });
    // What a name stands for, and not the name itself: derivatives of the op that made it read the former.
    const results = [...outputs, ...named.map((node) => node.inputs[0]!)];
    const { graph, constants } = closeGraph(fn.name || "checkpoint", opened, results);
    const inputs = [...constants, ...flattenTree(args, isTensor).map(({ leaf }) => leaf)];
    const emitted = emit(checkpointOp, inputs, { body: graph, outputs: outputs.length });
    let next = 0;
    return mapTree(value, isTensor, () => emitted[next++]!) as R;
  };
}
