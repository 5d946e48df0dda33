// composite_tangent: the derivative of a composite op as one node, where the op is differentiated as what it expands
// to. Its body is linearised once for each op, attributes and types, and transposed once: reverse mode gives one `call`
// for each use of the op. The some twenty nodes that the gradient of a normalisation takes are put in its place only
// when a program is compiled, where they meet those of the values and are shared with them. As JAX does with the nested
// `jit` that its functions of this kind are.

import { linearize, tangentType } from "../derive/linearize.ts";
import { transpose } from "../derive/transpose.ts";
import type { Attrs, Graph, Node, Substitution, Tensor, TensorType } from "../graph.ts";
import { emit, formatType, inline, inTrace, sameType, substitute } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import type { Derivative, MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { parameter } from "../trace.ts";
import { callOp } from "./call.ts";
import { mul } from "./mul.ts";
import { sin } from "./sin.ts";
import { zerosLike } from "./splat.ts";

export type CompositeTangentAttrs = {
  /** From the op's inputs, and then tangents of some of them, to the tangents of its results. */
  readonly body: Graph;
  /** How many of the inputs, the last ones, are tangents. */
  readonly tangents: number;
};

export const compositeTangentOp: OpDef<CompositeTangentAttrs> = {
  name: "composite_tangent",
  summary: "dy = J(x) dx of a composite op, one node for what it expands to",
  infer(inputs, { body: { parameters, results } }) {
    const fits = inputs.length === parameters.length && inputs.every((type, i) => sameType(type, parameters[i]!.type));
    const expected = `the body takes ${parameters.map(({ type }) => formatType(type)).join(", ")}`;
    requireShape(fits, "composite_tangent", expected, inputs);
    return results.map(({ type }) => type);
  },
  evaluate: (inputs, { body }) => interpret(body, inputs),
  derivative: {
    kind: "rules",
    jvp({ inputs }, tangents, { body: { parameters, results } }) {
      const derivatives = linearize(results, parameters, tangents);
      const map: Substitution = new Map(parameters.map((made, i) => [made, inputs[i]!]));
      return derivatives.map((derivative) => derivative && substitute([derivative], map)[0]!);
    },
    transpose({ inputs, results }, cotangents, linear, { body, tangents }) {
      const first = inputs.length - tangents;
      const received = results.map((result, i) => cotangents[i] ?? zerosLike(result));
      const handed = emit(callOp, [...inputs.slice(0, first), ...received], { body: reversed(body, first) });
      return inputs.map((_input, i) => (i >= first && linear[i] ? handed[i - first] : undefined));
    },
  },
  lowering: { kind: "expand", expand: (inputs, { body }) => inline(body, inputs) },
  sample(draw) {
    const type: TensorType = { dtype: "f32", shape: [draw.int(1, 5)] };
    const expand = ([x]: readonly Tensor[]): readonly Tensor[] => [mul(sin(x!), x!)];
    return { inputs: [type, type], attrs: { body: linearised("wave", expand, [type], [true]), tangents: 1 } };
  },
};

/** The derivative of an op whose lowering is an expansion, which uses its inputs and nothing else. */
export const COMPOSITE_DERIVATIVE: Derivative<Attrs> = {
  kind: "rules",
  jvp(node, tangents) {
    const given = tangents.filter((tangent) => tangent !== undefined);
    return emit(compositeTangentOp, [...node.inputs, ...given], {
      body: tangentBody(node, tangents),
      tangents: given.length,
    });
  },
};

/** By op, and by attributes, types and which inputs have tangents. */
const tangentBodies = new Map<OpDef, Map<string, Graph>>();

function tangentBody({ op, inputs, attrs }: Node, tangents: readonly MaybeTensor[]): Graph {
  let bodies = tangentBodies.get(op);
  if (bodies === undefined) tangentBodies.set(op, (bodies = new Map<string, Graph>()));
  const moves = tangents.map((tangent) => tangent !== undefined);
  const types = inputs.map(({ type }) => type);
  const key = JSON.stringify([attrs, moves, types.map(formatType)]);
  let body = bodies.get(key);
  if (body === undefined) {
    const { lowering } = op;
    if (lowering.kind !== "expand") throw new TypeError(`${op.name} has no expansion to be differentiated`);
    body = linearised(op.name, (opened) => lowering.expand(opened, attrs), types, moves);
    bodies.set(key, body);
  }
  return body;
}

function linearised(
  name: string,
  expand: (inputs: readonly Tensor[]) => readonly Tensor[],
  types: readonly TensorType[],
  moves: readonly boolean[],
): Graph {
  return inTrace(() => {
    const opened = types.map((type) => parameter("input", type));
    const moved = types.map((type, i) => (moves[i] ? parameter("tangent", tangentType(type)!) : undefined));
    const values = expand(opened);
    const results = linearize(values, opened, moved).map((tangent, i) => tangent ?? zerosLike(values[i]!));
    const given = moved.filter((tangent) => tangent !== undefined);
    return { name: `${name}_tangent`, parameters: [...opened, ...given], results };
  });
}

const reversedBodies = new WeakMap<Graph, Graph>();

/** The cotangents of a body's tangents, from the `first` parameters before those and the cotangents of its results. */
function reversed(body: Graph, first: number): Graph {
  let made = reversedBodies.get(body);
  if (made === undefined) {
    made = inTrace(() => {
      const { name, parameters, results } = body;
      const received = results.map(({ type }) => parameter("cotangent", type));
      const moved = parameters.slice(first);
      const handed = transpose(results, moved, received).map((cotangent, i) => cotangent ?? zerosLike(moved[i]!));
      return { name: `${name}_transpose`, parameters: [...parameters.slice(0, first), ...received], results: handed };
    });
    reversedBodies.set(body, made);
  }
  return made;
}
