// call: a function's graph as one node, wherever the function is used. What a program does the same way in many places,
// such as the update of each parameter, is traced once for each set of types, and one node stands for it until the
// program is compiled: tracing and finding a kept program (alex) take the less time for it. As the nested `jit` of JAX.
//
// Compiling puts the function in its place first, so that a call changes no bit and hides nothing from any pass, and so
// do derivatives.

import type { Graph, Tensor, TensorType } from "../graph.ts";
import { emit, formatType, inline, sameType } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { trace } from "../trace.ts";
import { applyClosed } from "./custom_vjp.ts";
import { mul } from "./mul.ts";
import { sin } from "./sin.ts";

export type CallAttrs = { readonly body: Graph };

export const callOp: OpDef<CallAttrs> = {
  name: "call",
  summary: "y = f(x), one node for a function's graph",
  infer(inputs, { body: { parameters, results } }) {
    const fits = inputs.length === parameters.length && inputs.every((type, i) => sameType(type, parameters[i]!.type));
    if (!fits) {
      const taken = parameters.map(({ type }) => formatType(type)).join(", ");
      requireShape(false, "call", `the body takes ${taken}`, inputs);
    }
    return results.map(({ type }) => type);
  },
  evaluate: (inputs, { body }) => interpret(body, inputs),
  derivative: { kind: "expand" },
  lowering: { kind: "expand", expand: (inputs, { body }) => inline(body, inputs) },
  sample(draw) {
    const type: TensorType = { dtype: "f32", shape: [draw.int(1, 5)] };
    const wave = (x: Tensor, y: Tensor): Tensor[] => [mul(sin(x), y), mul(x, y)];
    return { inputs: [type, type], attrs: { body: trace("wave", wave, [type, type]).graph } };
  },
};

/**
 * `fn` as a function that is traced once for each set of types, and is one node where it is used. Its results depend on
 * its arguments alone: a call throws `NotDifferentiableError` when it uses other tensors.
 */
export function traceOnce<A extends readonly Tensor[], R extends readonly Tensor[]>(
  name: string,
  fn: (...args: A) => R,
): (...args: A) => R {
  const bodies = new Map<string, Graph>();
  return (...args) => {
    const key = args.map(({ type }) => formatType(type)).join(", ");
    let body = bodies.get(key);
    if (body === undefined) {
      body = applyClosed(name, args, (placeholders) => fn(...(placeholders as unknown as A))).graph;
      bodies.set(key, body);
    }
    return emit(callOp, args, { body }) as unknown as R;
  };
}
