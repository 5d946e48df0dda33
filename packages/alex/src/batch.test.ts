// Every op of the registry over many examples at once, compiled to wasm, against the reference interpreter: values, and
// the gradients of one example taken for all.

import { test } from "node:test";
import { BatchError, batchTensors, emit, everyExample, inTrace, parameter } from "@fidelity/core";
import type { Graph, HostTensor, OpCase, OpDef, Tensor } from "@fidelity/core";
import { drawCase, hasDerivative, randomHost, randomInputs, SAMPLED_OPS, seededRandom } from "@fidelity/core/testing";
import { buildDerivatives } from "@fidelity/core/testing/derivatives";
import { assertConforms } from "./testing-conformance.node.ts";
import { runCompiled } from "./testing.ts";

const SIZE = 3;

/** A graph over examples of all of its parameters but ternary ones. */
function overExamples(graph: Graph): Graph {
  return inTrace(() => {
    const examples = new Map<Tensor, Tensor>();
    const parameters = graph.parameters.map((one) => {
      if (one.dtype === "ternary" || one.dtype === "ternary5") return one;
      const many = parameter("examples", { dtype: one.dtype, shape: [SIZE, ...one.shape] });
      examples.set(one, many);
      return many;
    });
    return { name: graph.name, parameters, results: everyExample(batchTensors(graph.results, examples, SIZE), SIZE) };
  });
}

function valueGraph(op: OpDef, { inputs, attrs }: OpCase): Graph {
  return inTrace(() => {
    const parameters = inputs.map((type, i) => parameter(`x${i}`, type));
    return { name: op.name, parameters, results: emit(op, parameters, attrs) };
  });
}

/** Inputs of `SIZE` examples, drawn as those of a case are. */
function stacked(op: OpCase, cotangents: readonly Tensor[], seed: number): HostTensor[] {
  const random = seededRandom(seed);
  const draws = Array.from({ length: SIZE }, () => [
    ...randomInputs(op, random),
    ...cotangents.map(({ type }) => randomHost(type, random)),
  ]);
  return draws[0]!.map((first, i) => {
    if (first.type.dtype === "ternary" || first.type.dtype === "ternary5") return first;
    const join = (part: (host: HostTensor) => Float64Array): Float64Array =>
      Float64Array.from(draws.flatMap((draw) => [...part(draw[i]!)]));
    const type = { dtype: first.type.dtype, shape: [SIZE, ...first.type.shape] };
    const data = join((host) => host.data);
    return first.scales === undefined ? { type, data } : { type, data, scales: join((host) => host.scales!) };
  });
}

/** What batching gives, or undefined for an op that refuses it. */
function tryBatch(graph: Graph): Graph | undefined {
  try {
    return overExamples(graph);
  } catch (error) {
    if (error instanceof BatchError) return undefined;
    throw error;
  }
}

for (const op of SAMPLED_OPS) {
  test(`many examples of ${op.name} on wasm are the interpreter's`, () => {
    for (const seed of [1, 2, 3]) {
      const opCase = drawCase(op, seed);
      if (opCase.inputs.length === 0) return;
      const graph = tryBatch(valueGraph(op, opCase));
      if (graph === undefined) return;
      const inputs = stacked(opCase, [], seed);
      const tolerance = op.tolerance ?? 1e-5;
      assertConforms({ name: `${op.name}, seed ${seed}`, graph, inputs, tolerance }, runCompiled(graph, inputs));
      if (!hasDerivative(op)) continue;
      const { backward, floatInputs } = buildDerivatives(op, opCase);
      const gradients = floatInputs.length === 0 ? undefined : tryBatch(backward);
      if (gradients === undefined) continue;
      const given = stacked(opCase, backward.parameters.slice(opCase.inputs.length), seed);
      const name = `gradient of ${op.name}, seed ${seed}`;
      assertConforms({ name, graph: gradients, inputs: given, tolerance: 1e-4 }, runCompiled(gradients, given));
    }
  });
}
