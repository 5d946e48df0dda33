// Over the op table: tangents against central differences in float64, and transposes against tangents by
// <c, J v> = <J^T c, v>. Straight-through estimators are wrong on purpose in the first and right in the second.

import assert from "node:assert/strict";
import { test } from "node:test";
import { tangentType } from "./derive/linearize.ts";
import { isPacked, isStorageOnly } from "./dtype.ts";
import { inTrace } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import { hostValues } from "./host.ts";
import { interpret } from "./interpreter.ts";
import type { OpDef } from "./op.ts";
import {
  drawCase,
  graphOf,
  hasDerivative,
  randomHost,
  randomInputs,
  relativeError,
  SAMPLED_OPS,
  seededRandom,
} from "./testing.ts";
import { parameter } from "./trace.ts";
import { buildDerivatives } from "./testing-derivatives.ts";

const SEEDS = [1, 2, 3, 4];
const STEP = 1e-5;

const isSurrogate = (op: OpDef): boolean => op.derivative.kind === "rules" && op.derivative.surrogate === true;
/** A custom backward rule has no forward mode, by design. */
const differentiable = SAMPLED_OPS.filter((op) => hasDerivative(op) && op.name !== "custom_vjp");
const smooth = differentiable.filter((op) => !isSurrogate(op));

function dot(a: readonly HostTensor[], b: readonly HostTensor[]): number {
  return a.reduce((sum, x, i) => sum + x.data.reduce((part, value, j) => part + value * b[i]!.data[j]!, 0), 0);
}

/** x + step * direction, for the float inputs. */
function moved(
  inputs: readonly HostTensor[],
  floats: readonly number[],
  directions: readonly HostTensor[],
  step: number,
): HostTensor[] {
  return inputs.map((x, i) => {
    const at = floats.indexOf(i);
    return at < 0 ? x : { ...x, data: x.data.map((value, j) => value + step * directions[at]!.data[j]!) };
  });
}

for (const op of smooth) {
  test(`${op.name}: tangents are those of central differences`, () => {
    for (const seed of SEEDS) {
      const opCase = drawCase(op, seed);
      const graph = graphOf(op, opCase.inputs, opCase.attrs);
      const types = [...opCase.inputs, ...graph.results.map((result) => result.type)];
      // Rounded and integer storage has no small differences to speak of.
      if (types.some(({ dtype }) => isStorageOnly(dtype) || isPacked(dtype))) continue;
      const random = seededRandom(seed);
      const inputs = randomInputs(opCase, random);
      const { forward, floatInputs, floatResults } = buildDerivatives(op, opCase);
      const directions = floatInputs.map((i) => randomHost(opCase.inputs[i]!, random));
      const tangents = interpret(forward, [...inputs, ...directions]);
      const above = interpret(graph, moved(inputs, floatInputs, directions, STEP));
      const below = interpret(graph, moved(inputs, floatInputs, directions, -STEP));
      floatResults.forEach((i, at) => {
        const difference = above[i]!.data.map((value, j) => (value - below[i]!.data[j]!) / (2 * STEP));
        const error = relativeError(tangents[at]!.data, difference);
        assert.ok(error < 1e-6, `seed ${seed}, result ${i}: relative error ${error}`);
      });
    }
  });
}

for (const op of differentiable) {
  test(`${op.name}: transposition agrees with the tangents`, () => {
    for (const seed of SEEDS) {
      const opCase = drawCase(op, seed);
      const random = seededRandom(seed);
      const inputs = randomInputs(opCase, random);
      const { forward, backward, floatInputs } = buildDerivatives(op, opCase);
      const directions = floatInputs.map((i) => randomHost(tangentType(opCase.inputs[i]!)!, random));
      const tangents = interpret(forward, [...inputs, ...directions]);
      const cotangents = tangents.map((tangent) => randomHost(tangent.type, random));
      const handed = interpret(backward, [...inputs, ...cotangents]);
      const [ahead, back] = [dot(cotangents, tangents), dot(handed, directions)];
      assert.ok(Math.abs(ahead - back) <= 1e-9 * Math.max(1, Math.abs(ahead)), `seed ${seed}: ${ahead} and ${back}`);
    }
  });
}

test("every op that is differentiated by expansion computes what it expands to", () => {
  for (const op of SAMPLED_OPS.filter(({ lowering }) => lowering.kind === "expand")) {
    for (const seed of SEEDS) {
      const opCase = drawCase(op, seed);
      const inputs = randomInputs(opCase, seededRandom(seed));
      const expanded = inTrace(() => {
        const parameters = opCase.inputs.map((type, i) => parameter(`x${i}`, type));
        assert.ok(op.lowering.kind === "expand");
        return { name: op.name, parameters, results: op.lowering.expand(parameters, opCase.attrs) };
      });
      const direct = interpret(graphOf(op, opCase.inputs, opCase.attrs), inputs);
      interpret(expanded, inputs).forEach((value, i) => {
        assert.deepEqual(value.type, direct[i]!.type, op.name);
        const error = relativeError(hostValues(value), hostValues(direct[i]!));
        assert.ok(error < 1e-12, `${op.name}, seed ${seed}: ${error}`);
      });
    }
  }
});
