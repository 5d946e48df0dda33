// Over the op table: the derivative of the backward pass along a direction, in forward mode, against central differences
// of the backward pass; and its transpose, reverse over reverse, against that.

import assert from "node:assert/strict";
import { test } from "node:test";
import { keepCarries } from "./ops/scan_derivative.ts";
import { linearize, tangentType } from "./derive/linearize.ts";
import { transpose } from "./derive/transpose.ts";
import type { Graph, Tensor } from "./graph.ts";
import { inTrace } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import { interpret } from "./interpreter.ts";
import type { MaybeTensor, OpDef } from "./op.ts";
import { zerosLike } from "./ops/splat.ts";
import {
  drawCase,
  hasDerivative,
  randomHost,
  randomInputs,
  relativeError,
  SAMPLED_OPS,
  seededRandom,
} from "./testing.ts";
import { buildDerivatives } from "./testing-derivatives.ts";
import { parameter } from "./trace.ts";

const STEP = 1e-5;

const isSurrogate = (op: OpDef): boolean => op.derivative.kind === "rules" && op.derivative.surrogate === true;
const smooth = SAMPLED_OPS.filter((op) => hasDerivative(op) && !isSurrogate(op));

/** (all inputs, tangents of those at `floats`) to tangents of the results; and the transpose of that. */
function differentiate(graph: Graph, floats: readonly number[]): { forward: Graph; backward: Graph } {
  return inTrace(() => {
    const roots = keepCarries(graph.results, graph.parameters);
    const wrt = floats.map((i) => graph.parameters[i]!);
    const tangents = wrt.map((x) => parameter("tangent", tangentType(x.type)!));
    const given: MaybeTensor[] = graph.parameters.map((_x, i) => tangents[floats.indexOf(i)]);
    const derivatives = linearize(roots, graph.parameters, given);
    const cotangents = roots.map((root) => parameter("cotangent", tangentType(root.type)!));
    const handed = transpose(derivatives, tangents, cotangents);
    const filled = (all: readonly MaybeTensor[], like: readonly Tensor[]): Tensor[] =>
      all.map((each, i) => each ?? zerosLike(like[i]!, tangentType(like[i]!.type)!.dtype));
    return {
      forward: { name: "forward", parameters: [...graph.parameters, ...tangents], results: filled(derivatives, roots) },
      backward: { name: "backward", parameters: [...graph.parameters, ...cotangents], results: filled(handed, wrt) },
    };
  });
}

const dot = (a: readonly HostTensor[], b: readonly HostTensor[]): number =>
  a.reduce((sum, x, i) => sum + x.data.reduce((part, value, j) => part + value * b[i]!.data[j]!, 0), 0);

for (const op of smooth) {
  test(`${op.name}: second derivatives are those of central differences, in both modes`, () => {
    for (const seed of [1, 2]) {
      const opCase = drawCase(op, seed);
      const random = seededRandom(seed);
      const { backward: first, floatInputs } = buildDerivatives(op, opCase);
      // Rounded and integer storage has no small differences to speak of.
      const isReal = ({ dtype }: { dtype: string }): boolean => ["f32", "f64"].includes(dtype);
      if (floatInputs.length === 0 || !floatInputs.every((i) => isReal(opCase.inputs[i]!))) continue;
      const given = [
        ...randomInputs(opCase, random),
        ...first.parameters.slice(opCase.inputs.length).map(({ type }) => randomHost(type, random)),
      ];
      const { forward, backward } = differentiate(first, floatInputs);
      const directions = floatInputs.map((i) => randomHost(given[i]!.type, random));
      const moved = (by: number): HostTensor[] =>
        given.map((x, i) => {
          const at = floatInputs.indexOf(i);
          return at < 0 ? x : { ...x, data: x.data.map((value, j) => value + by * directions[at]!.data[j]!) };
        });
      const [above, below] = [interpret(first, moved(STEP)), interpret(first, moved(-STEP))];
      const tangents = interpret(forward, [...given, ...directions]);
      tangents.forEach((tangent, i) => {
        const difference = above[i]!.data.map((value, j) => (value - below[i]!.data[j]!) / (2 * STEP));
        const error = relativeError(tangent.data, difference);
        assert.ok(error < 1e-6, `seed ${seed}, result ${i}: relative error ${error}`);
      });
      const cotangents = tangents.map(({ type }) => randomHost(type, random));
      const handed = interpret(backward, [...given, ...cotangents]);
      const [ahead, back] = [dot(cotangents, tangents), dot(handed, directions)];
      assert.ok(Math.abs(ahead - back) <= 1e-9 * Math.max(1, Math.abs(ahead)), `seed ${seed}: ${ahead} and ${back}`);
    }
  });
}
