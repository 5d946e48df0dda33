// custom_vjp: a function whose reverse-mode derivative its author writes, as in JAX. The node holds the function's
// graph, which is what runs; its jvp builds an opaque linear node, and the transpose of that calls the backward rule.
//
// The rules stay functions and are traced only where a derivative is taken, so that a rule may use the function that it
// belongs to. For the same reason none of the three functions may use tensors from outside: such a tensor could belong
// to a derivative that is finished by the time the rule runs.
//
// Forward mode needs a rule of its own, and is refused by name without one.

import { invariant } from "@fidelity/units";
import { closeGraph } from "../derive/close.ts";
import { NotDifferentiableError } from "../derive/errors.ts";
import { expandNode, linearize, tangentType } from "../derive/linearize.ts";
import type { Graph, Substitution, Tensor, TensorType } from "../graph.ts";
import { emit, formatType, inline, inTrace, sameType, substitute, topologicalOrder } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { isTensor, parameter, trace } from "../trace.ts";
import { flattenTree, mapTree, TreeMismatchError } from "../tree.ts";
import type { NamedLeaf } from "../tree.ts";
import { mul } from "./mul.ts";
import { zerosLike } from "./splat.ts";

/** The author's rules over trees, without their types: what a node keeps of a call. */
export interface CustomRule {
  readonly name: string;
  /** The arguments and the value of the call, whose leaves stand for structure and types. */
  readonly args: readonly unknown[];
  readonly value: unknown;
  readonly forward: (...args: readonly unknown[]) => { readonly value: unknown; readonly residuals: unknown };
  readonly backward: (residuals: unknown, cotangents: unknown) => readonly unknown[];
  /** Tangents of the value, for forward mode. */
  readonly jvp?: JvpRule;
}

/** Tangents of a function's value (a tree like it) from its arguments and theirs. */
export type JvpRule = (args: readonly unknown[], tangents: readonly unknown[]) => unknown;

export type CustomVjpAttrs = { readonly body: Graph; readonly rule: CustomRule };

export const customVjpOp: OpDef<CustomVjpAttrs> = {
  name: "custom_vjp",
  summary: "y = f(x), differentiated by the author's rule",
  infer(inputs, { body }) {
    const fits =
      inputs.length === body.parameters.length && inputs.every((type, i) => sameType(type, body.parameters[i]!.type));
    invariant(fits, "custom_vjp: inputs do not fit the body");
    return body.results.map(({ type }) => type);
  },
  evaluate: (inputs, { body }) => interpret(body, inputs),
  derivative: { kind: "rules", jvp: (node, tangents, attrs) => opaqueTangent(node.inputs, tangents, attrs.rule) },
  lowering: { kind: "expand", expand: (inputs, { body }) => inline(body, inputs) },
  sample(draw) {
    const type: TensorType = { dtype: "f32", shape: [draw.int(1, 5)] };
    const { graph: body } = trace("square", (x: Tensor) => mul(x, x), [type]);
    const rule: CustomRule = {
      name: "square",
      args: body.parameters,
      value: body.results[0],
      forward: (x) => ({ value: mul(x as Tensor, x as Tensor), residuals: x }),
      backward: (x, cotangent) => [mul(mul(x as Tensor, 2), cotangent as Tensor)],
    };
    return { inputs: [type], attrs: { body, rule } };
  },
};

export type OpaqueAttrs = {
  readonly rule: CustomRule;
  /** How many arguments come first: all leaves where the rule knows forward mode, which reads them, else none. */
  readonly args: number;
  /** The structure of the residuals, the next inputs of the node. */
  readonly residuals: { readonly tree: unknown; readonly count: number };
  /** Which of the call's inputs the other inputs of the node are the tangents of. */
  readonly active: readonly number[];
};

/** The derivative of a custom_vjp call: linear in its tangents, known by its transpose and its jvp, if it has one. */
export const customVjpTangentOp: OpDef<OpaqueAttrs> = {
  name: "custom_vjp_tangent",
  summary: "dy = J dx, known only through the author's transpose",
  infer: (_inputs, { rule }) => flattenTree(rule.value, isTensor).map(({ leaf }) => ({ ...tangentType(leaf.type)! })),
  evaluate: (inputs, attrs) => {
    const graph = inTrace(() => {
      const parameters = inputs.map(({ type }) => parameter("input", type));
      return { name: attrs.rule.name, parameters, results: forwardTangent(parameters, attrs) };
    });
    return interpret(graph, inputs);
  },
  derivative: {
    kind: "rules",
    jvp(node, tangents, attrs) {
      const parameters = node.inputs.map(({ type }) => parameter("input", type));
      const derivatives = linearize(forwardTangent(parameters, attrs), parameters, tangents);
      const map: Substitution = new Map(parameters.map((from, i) => [from, node.inputs[i]!]));
      return derivatives.map((derivative) => derivative && substitute([derivative], map)[0]!);
    },
    transpose: (node, cotangents, _linear, attrs) => customTranspose(node.inputs, cotangents, attrs),
  },
  lowering: { kind: "expand", expand: forwardTangent },
  sample: () => invariant(false, "custom_vjp_tangent: has no value of its own") as never,
};

function refuseForwardMode(name: string): never {
  throw new NotDifferentiableError(`${name} is differentiated by a custom backward rule, which knows no forward mode`, {
    op: name,
    expected: "reverse mode: grad, valueAndGrad or vjp",
    got: "jvp",
    hint: "give the rule a jvp, take jvp of grad instead of grad of jvp, or write the function without customVjp",
  });
}

/** Throws `NotDifferentiableError` if tangents that are about to be used as values come from a custom rule. */
export function requireForwardMode(tangents: readonly MaybeTensor[]): void {
  const pending = [tangents.filter(isTensor)];
  for (let roots = pending.pop(); roots !== undefined; roots = pending.pop()) {
    for (const node of topologicalOrder(roots)) {
      const attrs = node.attrs as Partial<OpaqueAttrs & { body: Graph }>;
      if ((node.op as unknown) === customVjpTangentOp && attrs.rule!.jvp === undefined) {
        refuseForwardMode(attrs.rule!.name);
      }
      if (attrs.body !== undefined) pending.push([...attrs.body.results]);
      // Its derivative is not in the graph yet.
      if (node.op.name === "checkpoint_tangent") pending.push([...expandNode(node)]);
    }
  }
}

function opaqueTangent(
  inputs: readonly Tensor[],
  tangents: readonly MaybeTensor[],
  rule: CustomRule,
): readonly Tensor[] {
  const active = tangents.flatMap((tangent, i) => (tangent === undefined ? [] : [i]));
  const { leaves, tree } = applyClosed(`${rule.name}: forward`, inputs, (placeholders) => {
    return rule.forward(...(refill(rule.args, placeholders) as readonly unknown[])).residuals;
  });
  const args = rule.jvp === undefined ? [] : inputs;
  const attrs: OpaqueAttrs = { rule, args: args.length, residuals: { tree, count: leaves.length }, active };
  return emit(customVjpTangentOp, [...args, ...leaves, ...active.map((i) => tangents[i]!)], attrs);
}

/** The author's forward rule, of the inputs of the opaque node. */
function forwardTangent(inputs: readonly Tensor[], { rule, args, residuals, active }: OpaqueAttrs): readonly Tensor[] {
  if (rule.jvp === undefined) return refuseForwardMode(rule.name);
  const tangents = inputs.slice(args + residuals.count);
  const given = Array.from({ length: args }, (_none, i) => tangents[active.indexOf(i)]);
  return applyJvpRule(rule.name, rule.jvp, { args: rule.args, value: rule.value }, inputs.slice(0, args), given);
}

/** Calls a forward rule: one tangent for each leaf of the value. Zeros stand for inputs without tangents. */
export function applyJvpRule(
  name: string,
  rule: JvpRule,
  call: { readonly args: readonly unknown[]; readonly value: unknown },
  inputs: readonly Tensor[],
  tangents: readonly MaybeTensor[],
): readonly Tensor[] {
  const given = inputs.map((input, i) => tangents[i] ?? zerosLike(input, tangentType(input.type)?.dtype));
  const { leaves } = applyClosed(`${name}: jvp`, [...inputs, ...given], (placeholders) => {
    const open = (leaves: readonly Tensor[]): readonly unknown[] => refill(call.args, leaves) as readonly unknown[];
    const answer = rule(open(placeholders.slice(0, inputs.length)), open(placeholders.slice(inputs.length)));
    return matchValue(name, answer, call.value);
  });
  return leaves;
}

function matchValue(name: string, answer: unknown, value: unknown): Tensor[] {
  const given = flattenTree(answer, isTensor);
  const expected = flattenTree(value, isTensor);
  for (let i = 0; i < Math.max(given.length, expected.length); i++) {
    const [want, got] = [expected[i], given[i]];
    const type = want && tangentType(want.leaf.type);
    if (got !== undefined && type !== undefined && got.path === want!.path && sameType(got.leaf.type, type)) continue;
    throw new TreeMismatchError(`${name}: jvp gives a tangent that does not fit the value`, {
      where: (want ?? got)!.path || "its root",
      expected: type === undefined ? "no leaf" : formatType(type),
      got: got === undefined ? "no leaf" : `${got.path} ${formatType(got.leaf.type)}`.trim(),
    });
  }
  return given.map(({ leaf }) => leaf);
}

function customTranspose(
  inputs: readonly Tensor[],
  cotangents: readonly MaybeTensor[],
  { rule, args: argCount, residuals, active }: OpaqueAttrs,
): MaybeTensor[] {
  const values = flattenTree(rule.value, isTensor);
  const given = values.map(({ leaf }, i) => cotangents[i] ?? zerosLike(leaf, tangentType(leaf.type)!.dtype));
  const args = rule.args.map((arg) => flattenTree(arg, isTensor));
  const kept = inputs.slice(argCount, argCount + residuals.count);
  const { leaves } = applyClosed(`${rule.name}: backward`, [...kept, ...given], (placeholders) => {
    const saved = refill(residuals.tree, placeholders.slice(0, kept.length));
    const answer = rule.backward(saved, refill(rule.value, placeholders.slice(kept.length)));
    return matchArguments(rule.name, answer, args);
  });
  return [...inputs.slice(0, argCount + kept.length).map(() => undefined), ...active.map((i) => leaves[i])];
}

/** One cotangent for each leaf of the arguments, zeros where the rule gave `undefined` for a whole argument. */
function matchArguments(
  name: string,
  answer: readonly unknown[],
  args: readonly (readonly NamedLeaf<Tensor>[])[],
): Tensor[] {
  if (!Array.isArray(answer) || answer.length !== args.length) {
    throw new TreeMismatchError(`${name}: backward gives the wrong number of cotangents`, {
      expected: `an array with one entry for each of ${args.length} arguments (undefined for none)`,
      got: Array.isArray(answer) ? `${answer.length} entries` : typeof answer,
    });
  }
  return args.flatMap((leaves, i) => {
    const zeros = leaves.map(({ leaf }) => zerosLike(leaf, tangentType(leaf.type)?.dtype));
    if (answer[i] === undefined) return zeros;
    const given = flattenTree(answer[i], isTensor);
    leaves.forEach(({ path, leaf }, at) => {
      const expected = tangentType(leaf.type);
      const got = given[at];
      if (expected === undefined || (got !== undefined && got.path === path && sameType(got.leaf.type, expected)))
        return;
      throw new TreeMismatchError(`${name}: backward gives a cotangent that does not fit its argument`, {
        where: path === "" ? `argument ${i}` : `argument ${i}, ${path}`,
        expected: formatType(expected),
        got: got === undefined ? "no leaf" : `${got.path} ${formatType(got.leaf.type)}`.trim(),
      });
    });
    return zeros.map((zero, at) => given[at]?.leaf ?? zero);
  });
}

/** Applies a function of the author's to tensors; throws `NotDifferentiableError` if it uses any others. */
export function applyClosed(
  what: string,
  inputs: readonly Tensor[],
  fn: (placeholders: readonly Tensor[]) => unknown,
): { tree: unknown; leaves: Tensor[]; graph: Graph } {
  const placeholders = inputs.map((input) => parameter("custom", input.type));
  const tree = fn(placeholders);
  const roots = flattenTree(tree, isTensor).map(({ leaf }) => leaf);
  const { constants } = closeGraph(what, placeholders, roots);
  const foreign = topologicalOrder(constants).find((node) => node.op.name === "parameter");
  if (foreign !== undefined) {
    throw new NotDifferentiableError(`${what} uses a tensor from outside`, {
      op: what,
      got: formatType(foreign.results[0]!.type),
      expected: "a function of its arguments alone",
      hint: "pass the tensor as an argument of the function, and through the residuals to backward",
    });
  }
  const graph: Graph = { name: what, parameters: placeholders, results: roots };
  return { tree, leaves: inline(graph, inputs), graph };
}

export function refill(tree: unknown, leaves: readonly Tensor[]): unknown {
  let next = 0;
  return mapTree(tree, isTensor, () => leaves[next++]!);
}

/**
 * Builds a call of `fn` that is differentiated by `rules`. The typed front is `customVjp` in furnace. Throws
 * `NotDifferentiableError` if `fn` uses tensors from outside, or gives integers.
 */
export function applyCustomVjp<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  rules: {
    readonly forward: (...args: A) => { readonly value: R; readonly residuals: unknown };
    readonly backward: (residuals: never, cotangents: never) => readonly unknown[];
    readonly jvp?: (primals: A, tangents: never) => unknown;
  },
  args: A,
): R {
  const name = fn.name || "custom function";
  const inputs = flattenTree(args, isTensor).map(({ leaf }) => leaf);
  const call = applyClosed(name, inputs, (placeholders) => fn(...(refill(args, placeholders) as A)));
  requireFloatResults("customVjp", name, call.graph);
  const rule: CustomRule = {
    name,
    args,
    value: call.tree,
    forward: rules.forward as unknown as CustomRule["forward"],
    backward: rules.backward as unknown as CustomRule["backward"],
    ...(rules.jvp !== undefined && { jvp: rules.jvp as unknown as JvpRule }),
  };
  const results = emit(customVjpOp, inputs, { body: call.graph, rule });
  return refill(call.tree, results) as R;
}

/** Throws `NotDifferentiableError` if a function with a derivative of its author's gives integers. */
export function requireFloatResults(front: string, name: string, { results }: Graph): void {
  const integer = results.find(({ type }) => tangentType(type) === undefined);
  if (integer === undefined) return;
  throw new NotDifferentiableError(`${name}: ${front} gives a result that has no derivative`, {
    op: name,
    got: formatType(integer.type),
    hint: "return integers and truth values from a function of their own",
  });
}
