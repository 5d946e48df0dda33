// while_loop: steps while a condition on the carry holds.
//
// Inputs [constants (C)..., carries (K)...], results [carries (K)...]; `condition` and `body` are closed graphs over
// both, to a bool scalar and to the next carries. Compiled programs run it as a `scan` that is limited: a step whose
// condition fails lowers the limit to the steps taken. With `maxSteps` the loop ends after that many in any case, and
// has both modes of differentiation: the scan keeps the carries of the steps that it takes, and the backward pass goes
// over these only. Without it the loop has forward mode only: nobody knows how much a backward pass would have to keep.

import { FidelityError } from "@fidelity/units";
import { closeTogether } from "../derive/close.ts";
import { linearize, tangentType } from "../derive/linearize.ts";
import type { Graph, Node, Substitution, Tensor, TensorType } from "../graph.ts";
import { emit, formatType, inline, sameType, substitute } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { isTensor, parameter, trace } from "../trace.ts";
import { flattenTree, mapTree, TreeMismatchError } from "../tree.ts";
import { add } from "./add.ts";
import { lt } from "./lt.ts";
import { mul } from "./mul.ts";
import { emitLoop } from "./scan.ts";
import { keepCarries } from "./scan_derivative.ts";
import { select } from "./select.ts";
import { sin } from "./sin.ts";
import { splat, zerosLike } from "./splat.ts";

export type WhileLoopAttrs = {
  readonly condition: Graph;
  readonly body: Graph;
  /** How many of the inputs are constants. */
  readonly constants: number;
  /** Steps after which the loop ends in any case; 0 for no limit. */
  readonly maxSteps: number;
};

/** A loop without a limit went on for longer than anybody waits. */
export class UnboundedLoopError extends FidelityError {}

/** The interpreter gives up on a loop without a limit after this many steps. */
const INTERPRETED_STEPS_MAX = 2 ** 20;

export const whileLoopOp: OpDef<WhileLoopAttrs> = {
  name: "while_loop",
  summary: "carry = body(constants, carry) while condition(constants, carry)",
  infer(inputs, { condition, body, constants, maxSteps }) {
    const name = "while_loop";
    requireShape(Number.isSafeInteger(maxSteps) && maxSteps >= 0, name, `cannot end after ${maxSteps} steps`, inputs);
    for (const { parameters } of [condition, body]) {
      const fits =
        inputs.length === parameters.length && inputs.every((type, i) => sameType(type, parameters[i]!.type));
      requireShape(fits, name, `the graphs take ${parameters.map(({ type }) => formatType(type)).join(", ")}`, inputs);
    }
    const test = condition.results[0]?.type;
    requireShape(test?.dtype === "bool" && test.shape.length === 0, name, "the condition is not a bool scalar", inputs);
    const carries = inputs.slice(constants);
    const keeps =
      carries.length === body.results.length && carries.every((type, i) => sameType(type, body.results[i]!.type));
    requireShape(keeps, name, "the body gives another carry than it takes", inputs);
    return carries;
  },
  evaluate: evaluateWhile,
  derivative: {
    kind: "rules",
    jvp: (node, tangents, attrs) =>
      attrs.maxSteps > 0 ? boundedJvp(node, tangents) : unboundedJvp(node, tangents, attrs),
    reverseHint: "give the loop maxSteps, which makes it a loop of known length, or use forward mode (jvp)",
  },
  lowering: { kind: "expand", expand: limitedLoop },
  sample(draw) {
    const type: TensorType = { dtype: "f32", shape: [draw.int(1, 4)] };
    const count: TensorType = { dtype: "i32", shape: [] };
    const types = [type, count, type];
    const last = draw.int(1, 3);
    const { graph: condition } = trace("condition", (_gain: Tensor, t: Tensor) => lt(t, last) as Tensor, types);
    const step = (gain: Tensor, t: Tensor, h: Tensor): Tensor[] => [add(t, 1), add(sin(h), mul(gain, h))];
    const { graph: body } = trace("body", step, types);
    return {
      inputs: types,
      attrs: { condition, body, constants: 1, maxSteps: draw.int(1, 4) },
      ranges: [undefined, [0, 3], undefined],
    };
  },
};

function evaluateWhile(inputs: readonly HostTensor[], attrs: WhileLoopAttrs): readonly HostTensor[] {
  const { condition, body, constants, maxSteps } = attrs;
  const fixed = inputs.slice(0, constants);
  let carry = inputs.slice(constants);
  const limit = maxSteps === 0 ? INTERPRETED_STEPS_MAX : maxSteps;
  for (let step = 0; step < limit; step++) {
    if (interpret(condition, [...fixed, ...carry])[0]!.data[0] === 0) return carry;
    carry = interpret(body, [...fixed, ...carry]);
  }
  if (maxSteps > 0) return carry;
  throw new UnboundedLoopError(`while_loop: the condition still holds after ${limit} steps`, {
    hint: "give the loop maxSteps",
  });
}

/** Steps that a compiled loop without `maxSteps` takes at most: the most that a schedule counts. */
const COMPILED_STEPS_MAX = 2 ** 31 - 1;

/** The loop as a limited scan, which also carries the number of steps taken. */
function limitedLoop(inputs: readonly Tensor[], attrs: WhileLoopAttrs): readonly Tensor[] {
  const { condition, body, constants, maxSteps } = attrs;
  const length = maxSteps === 0 ? COMPILED_STEPS_MAX : maxSteps;
  const fixed = inputs.slice(0, constants);
  const carries = inputs.slice(constants).map((init) => ({ parameter: parameter("carry", init.type), init }));
  const next = inline(body, [...fixed, ...carries.map((carry) => carry.parameter)]);
  const count: TensorType = { dtype: "i32", shape: [] };
  const [limit, steps] = [parameter("limit", count), parameter("steps", count)];
  const taken = add(steps, 1) as Tensor;
  const limitAfter = (carry: readonly Tensor[], stepsTaken: Tensor): Tensor => {
    const goesOn = inline(condition, [...fixed, ...carry])[0]! as Tensor<readonly [], "bool">;
    return select(goesOn, splat(length, [], "i32"), stepsTaken as Tensor<readonly [], "i32">) as Tensor;
  };
  const none = splat(0, [], "i32") as Tensor;
  return emitLoop({
    name: "while_body",
    limit: { parameter: limit, init: limitAfter(inputs.slice(constants), none), next: limitAfter(next, taken) },
    carries: [
      ...carries.map((carry, i) => ({ ...carry, next: next[i]! })),
      { parameter: steps, init: none, next: taken },
    ],
    slices: [],
    outputs: [],
    length,
    reverse: false,
  }).carries.slice(0, carries.length);
}

function boundedJvp(node: Node, tangents: readonly MaybeTensor[]): readonly MaybeTensor[] {
  const parameters = node.inputs.map(({ type }) => parameter("input", type));
  const roots = keepCarries(limitedLoop(parameters, node.attrs as WhileLoopAttrs), parameters);
  const derivatives = linearize(roots, parameters, tangents);
  const map: Substitution = new Map(parameters.map((from, i) => [from, node.inputs[i]!]));
  return derivatives.map((derivative) => derivative && substitute([derivative], map)[0]!);
}

/** The same loop, which also carries the tangents of its carries. */
function unboundedJvp(node: Node, tangents: readonly MaybeTensor[], attrs: WhileLoopAttrs): readonly MaybeTensor[] {
  const { condition, body, constants } = attrs;
  const fresh = (i: number): Tensor => parameter("tangent", tangentType(body.parameters[i]!.type)!);
  const given: MaybeTensor[] = tangents.map((tangent, i) => (tangent === undefined ? undefined : fresh(i)));
  const roots = keepCarries(body.results, body.parameters);
  let derivatives = linearize(roots, body.parameters, given);
  // A carry that turns active may turn others active; there are at most as many rounds as carries.
  for (;;) {
    const grown = derivatives.flatMap((derivative, i) => (derivative && given[constants + i] === undefined ? [i] : []));
    if (grown.length === 0) break;
    for (const i of grown) given[constants + i] = fresh(constants + i);
    derivatives = linearize(roots, body.parameters, given);
  }
  const zeros = (of: Tensor): Tensor => zerosLike(of, tangentType(of.type)!.dtype);
  const isActive = (i: number): boolean => given[i] !== undefined;
  const all = body.parameters.map((_parameter, i) => i);
  const fixed = all.filter((i) => i < constants && isActive(i));
  const carried = all.filter((i) => i >= constants && isActive(i));
  const parameters = [
    ...body.parameters.slice(0, constants),
    ...fixed.map((i) => given[i]!),
    ...body.parameters.slice(constants),
    ...carried.map((i) => given[i]!),
  ];
  const test = closedTest(
    condition,
    constants,
    fixed.map((i) => given[i]!),
    carried.map((i) => given[i]!),
  );
  const next = carried.map((i) => derivatives[i - constants] ?? zeros(body.parameters[i]!));
  const emitted = emit(
    whileLoopOp,
    [
      ...node.inputs.slice(0, constants),
      ...fixed.map((i) => tangents[i]!),
      ...node.inputs.slice(constants),
      ...carried.map((i) => tangents[i] ?? zeros(node.inputs[i]!)),
    ],
    {
      condition: test,
      body: { name: `${body.name}_jvp`, parameters, results: [...body.results, ...next] },
      constants: constants + fixed.length,
      maxSteps: 0,
    },
  );
  return node.results.map((_result, i) => {
    const at = carried.indexOf(constants + i);
    return at < 0 ? undefined : emitted[node.results.length + at];
  });
}

/** The condition as a graph that takes tangents too, and does not read them. */
function closedTest(test: Graph, constants: number, fixed: readonly Tensor[], carried: readonly Tensor[]): Graph {
  const ignored = (tensors: readonly Tensor[]): Tensor[] => tensors.map(({ type }) => parameter("ignored", type));
  const parameters = [
    ...test.parameters.slice(0, constants),
    ...ignored(fixed),
    ...test.parameters.slice(constants),
    ...ignored(carried),
  ];
  return { ...test, parameters };
}

export interface WhileLoopOptions {
  /** Steps after which the loop ends in any case. Reverse mode needs it, and keeps the carry of as many steps. */
  readonly maxSteps?: number;
}

/**
 * Applies `body` to the carry, from `init` on, while `condition` of it holds, and gives the last carry. The carry keeps
 * its structure, shapes and dtypes; both functions may use tensors from outside. Without `maxSteps` the loop has no
 * reverse mode, and the interpreter gives up on it some time (`UnboundedLoopError`). Throws `TreeMismatchError` where
 * the carry changes.
 */
export function whileLoop<C>(
  condition: (carry: C) => Tensor<readonly [], "bool">,
  body: (carry: C) => C,
  init: C,
  { maxSteps = 0 }: WhileLoopOptions = {},
): C {
  const first = flattenTree(init, isTensor);
  const open = (): { tree: C; parameters: Tensor[] } => {
    const parameters: Tensor[] = [];
    const tree = mapTree(init, isTensor, (leaf, path) => {
      const made = parameter(path, leaf.type);
      parameters.push(made);
      return made;
    }) as C;
    return { tree, parameters };
  };
  const [tested, stepped] = [open(), open()];
  const next = flattenTree(body(stepped.tree), isTensor);
  for (let i = 0; i < Math.max(first.length, next.length); i++) {
    const [a, b] = [first[i], next[i]];
    if (a !== undefined && b !== undefined && a.path === b.path && sameType(a.leaf.type, b.leaf.type)) continue;
    throw new TreeMismatchError("whileLoop: the body gives another carry than it takes", {
      where: (a ?? b)!.path || "the carry",
      expected: a === undefined ? "no leaf" : `${a.path} ${formatType(a.leaf.type)}`.trim(),
      got: b === undefined ? "no leaf" : `${b.path} ${formatType(b.leaf.type)}`.trim(),
    });
  }
  const { graphs, constants } = closeTogether([
    { name: "while_condition", parameters: tested.parameters, results: [condition(tested.tree)] },
    { name: "while_body", parameters: stepped.parameters, results: next.map(({ leaf }) => leaf) },
  ]);
  const attrs: WhileLoopAttrs = { condition: graphs[0]!, body: graphs[1]!, constants: constants.length, maxSteps };
  const emitted = emit(whileLoopOp, [...constants, ...first.map(({ leaf }) => leaf)], attrs);
  let at = 0;
  return mapTree(init, isTensor, () => emitted[at++]!) as C;
}
