// Derivatives of an op that has kernels of its own for its values and for its reverse pass, and that is a composition
// of other ops besides. Its tangent is one op more, linear in the tangents, whose transpose is the op of the reverse
// pass:
// reverse mode never computes it. Forward mode and nested derivatives are those of the composition.

import { linearize } from "../derive/linearize.ts";
import { transpose } from "../derive/transpose.ts";
import type { Graph, Tensor } from "../graph.ts";
import { emit, inline, inTrace, sameType } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { parameter } from "../trace.ts";
import type { NoAttrs } from "./elementwise.ts";
import { keepCarries } from "./scan_derivative.ts";
import { zerosLike } from "./splat.ts";

export type Composition = (inputs: readonly Tensor[]) => readonly Tensor[];

export interface ComposedSpec {
  /** The op whose derivative this is. */
  readonly forward: () => OpDef<NoAttrs>;
  /** What it computes, of other ops. */
  readonly compose: Composition;
  /** The cotangents of all inputs, from the inputs and the cotangents of all results. */
  readonly reverse: (inputs: readonly Tensor[], cotangents: readonly Tensor[]) => readonly Tensor[];
}

/** The op of the tangents; its inputs are those of the op, and then their tangents. */
export function composedTangent(name: string, spec: ComposedSpec): OpDef<NoAttrs> {
  const expand: Composition = (inputs) => {
    const half = inputs.length / 2;
    return tangentsOf(spec.compose, inputs.slice(0, half), inputs.slice(half));
  };
  const op: OpDef<NoAttrs> = {
    name,
    summary: "dy = J(x) dx, which reverse mode transposes and never computes",
    infer(inputs) {
      const half = inputs.length / 2;
      requireShape(Number.isInteger(half), name, "takes one tangent an input", inputs);
      const fits = inputs.slice(half).every((type, i) => sameType(type, inputs[i]!));
      requireShape(fits, name, "tangents are not of the inputs' types", inputs);
      return spec.forward().infer(inputs.slice(0, half), {});
    },
    evaluate(inputs) {
      const graph = inTrace((): Graph => {
        const parameters = inputs.map(({ type }) => parameter("input", type));
        return { name, parameters, results: expand(parameters) };
      });
      return interpret(graph, inputs);
    },
    derivative: {
      kind: "rules",
      jvp({ inputs }, tangents) {
        const half = inputs.length / 2;
        const filled = fill(inputs, tangents);
        const isLinear = tangents.slice(0, half).every((tangent) => tangent === undefined);
        return isLinear
          ? emit(op, [...inputs.slice(0, half), ...filled.slice(half)], {})
          : tangentsOf(expand, inputs, filled);
      },
      transpose({ inputs, results }, cotangents, linear) {
        const half = inputs.length / 2;
        const handed = spec.reverse(inputs.slice(0, half), fill(results, cotangents));
        return inputs.map((_input, i) => (i >= half && linear[i] ? handed[i - half] : undefined));
      },
    },
    lowering: { kind: "expand", expand },
    sample(draw) {
      const { inputs, ranges = [] } = spec.forward().sample(draw);
      const all = inputs.map((_type, i) => ranges[i]);
      return { inputs: [...inputs, ...inputs], attrs: {}, ranges: [...all, ...inputs.map(() => undefined)] };
    },
  };
  return op;
}

/** The tangents of an op's results, of which absent ones are zero. */
export function emitTangent(
  op: OpDef<NoAttrs>,
  inputs: readonly Tensor[],
  tangents: readonly MaybeTensor[],
): readonly Tensor[] {
  return emit(op, [...inputs, ...fill(inputs, tangents)], {});
}

/** The cotangents of a composition's inputs, from those of its results. */
export function cotangentsOf(
  compose: Composition,
  inputs: readonly Tensor[],
  cotangents: readonly Tensor[],
): readonly Tensor[] {
  const { opened, moved, tangents } = linearized(compose, inputs);
  const received = cotangents.map(({ type }) => parameter("cotangent", type));
  const results = fill(opened, transpose(tangents, moved, received));
  return inline({ name: "reverse", parameters: [...opened, ...received], results }, [...inputs, ...cotangents]);
}

function tangentsOf(compose: Composition, inputs: readonly Tensor[], tangents: readonly Tensor[]): readonly Tensor[] {
  const { opened, moved, tangents: results } = linearized(compose, inputs);
  return inline({ name: "tangent", parameters: [...opened, ...moved], results }, [...inputs, ...tangents]);
}

/** The composition's tangents over parameters that stand for its inputs and for their tangents. */
function linearized(
  compose: Composition,
  inputs: readonly Tensor[],
): { opened: readonly Tensor[]; moved: readonly Tensor[]; tangents: readonly Tensor[] } {
  const opened = inputs.map(({ type }) => parameter("input", type));
  const moved = inputs.map(({ type }) => parameter("tangent", type));
  const results = keepCarries(compose(opened), opened);
  return { opened, moved, tangents: fill(results, linearize(results, opened, moved)) };
}

function fill(like: readonly Tensor[], given: readonly MaybeTensor[]): Tensor[] {
  return like.map((tensor, i) => given[i] ?? zerosLike(tensor));
}
