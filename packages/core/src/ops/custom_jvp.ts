// custom_jvp: a function whose forward-mode derivative its author writes. The rule is linear in the tangents, and made
// of ordinary ops, so that reverse mode transposes it like any other linear graph: one rule serves both modes.

import { invariant } from "@fidelity/units";
import type { Graph, Tensor, TensorType } from "../graph.ts";
import { emit, inline, sameType } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { isTensor, trace } from "../trace.ts";
import { flattenTree } from "../tree.ts";
import type { JvpRule } from "./custom_vjp.ts";
import { applyClosed, applyJvpRule, refill, requireFloatResults } from "./custom_vjp.ts";
import { mul } from "./mul.ts";

/** The author's rule over trees, and the arguments and the value of the call, which stand for structure and types. */
export interface CustomJvpRule {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly value: unknown;
  readonly jvp: JvpRule;
}

export type CustomJvpAttrs = { readonly body: Graph; readonly rule: CustomJvpRule };

export const customJvpOp: OpDef<CustomJvpAttrs> = {
  name: "custom_jvp",
  summary: "y = f(x), differentiated by the author's forward rule",
  infer(inputs, { body }) {
    const { parameters } = body;
    const fits = inputs.length === parameters.length && inputs.every((type, i) => sameType(type, parameters[i]!.type));
    invariant(fits, "custom_jvp: inputs do not fit the body");
    return body.results.map(({ type }) => type);
  },
  evaluate: (inputs, { body }) => interpret(body, inputs),
  derivative: {
    kind: "rules",
    jvp: ({ inputs }, tangents, { rule }) => applyJvpRule(rule.name, rule.jvp, rule, inputs, tangents),
  },
  lowering: { kind: "expand", expand: (inputs, { body }) => inline(body, inputs) },
  sample(draw) {
    const type: TensorType = { dtype: "f32", shape: [draw.int(1, 5)] };
    const { graph: body } = trace("square", (x: Tensor) => mul(x, x), [type]);
    const rule: CustomJvpRule = {
      name: "square",
      args: body.parameters,
      value: body.results[0],
      jvp: ([x], [dx]) => mul(mul(x as Tensor, 2), dx as Tensor),
    };
    return { inputs: [type], attrs: { body, rule } };
  },
};

/**
 * Builds a call of `fn` that is differentiated by `jvp`. The typed front is `customJvp` in furnace. Throws
 * `NotDifferentiableError` if `fn` uses tensors from outside, or gives integers.
 */
export function applyCustomJvp<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  jvp: (primals: A, tangents: never) => unknown,
  args: A,
): R {
  const name = fn.name || "custom function";
  const inputs = flattenTree(args, isTensor).map(({ leaf }) => leaf);
  const call = applyClosed(name, inputs, (placeholders) => fn(...(refill(args, placeholders) as A)));
  requireFloatResults("customJvp", name, call.graph);
  const rule: CustomJvpRule = { name, args, value: call.tree, jvp: jvp as unknown as JvpRule };
  return refill(call.tree, emit(customJvpOp, inputs, { body: call.graph, rule })) as R;
}
