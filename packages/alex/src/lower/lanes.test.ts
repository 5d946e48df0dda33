// Every op of the registry, and the graph of its backward pass, lowered for vectors of every width and run by the loop
// IR's evaluator: what a target's generators make must be right before any target prints it.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Graph, HostTensor, OpDef } from "@fidelity/core";
import {
  encodeTensor,
  evaluateProgram,
  decodeTensor,
  hostValues,
  interpret,
  roundUp,
  storageBytes,
} from "@fidelity/core";
import {
  SAMPLED_OPS,
  drawCase,
  hasDerivative,
  graphOf,
  randomHost,
  randomInputs,
  relativeError,
  seededRandom,
} from "@fidelity/core/testing";
import { buildDerivatives } from "@fidelity/core/testing/derivatives";
import { compileGraph } from "../compile.ts";

const LANES = [4, 8, 16];
const SEEDS = [11, 12, 13];
/** Gradients divide by values near zero, where float32 has fewer digits left. */
const GRADIENT_TOLERANCE = 1e-4;

/** Runs a graph compiled for `lanes` on the evaluator, over memory that is full of NaN. */
function evaluate(graph: Graph, inputs: readonly HostTensor[], lanes: number): HostTensor[] {
  const program = compileGraph(graph, {
    target: { lanes, joinsVectors: false, registers: lanes === 16 ? 32 : 16 },
    verify: true,
  });
  let end = 0;
  const place = (sizeBytes: number): number => {
    const at = end;
    end += roundUp(Math.max(sizeBytes, 1), 64);
    return at;
  };
  const parameters = graph.parameters.map(({ type }) => place(storageBytes(type)));
  const results = graph.results.map(({ type }) => place(storageBytes(type)));
  const constants = program.constants.map(({ bytes }) => place(bytes.byteLength));
  const [arena, scratch] = [place(program.arenaBytes), place(program.scratchBytes)];
  const memory = new ArrayBuffer(end);
  const bytesAt = (address: number, sizeBytes: number): Uint8Array => new Uint8Array(memory, address, sizeBytes);
  new Uint8Array(memory).fill(0xff);
  inputs.forEach((input, i) => encodeTensor(input, bytesAt(parameters[i]!, storageBytes(input.type))));
  const bindings = [...parameters, ...results];
  program.constants.forEach(({ buffer, bytes }, i) => {
    bytesAt(constants[i]!, bytes.byteLength).set(bytes);
    const { placement } = program.buffers[buffer]!;
    if (placement.kind === "binding") bindings[placement.slot] = constants[i]!;
  });
  evaluateProgram(program, memory, bindings, arena, scratch);
  return graph.results.map(({ type }, i) => decodeTensor(type, bytesAt(results[i]!, storageBytes(type))));
}

function check(name: string, graph: Graph, inputs: readonly HostTensor[], lanes: number, tolerance: number): void {
  const expected = interpret(graph, inputs);
  evaluate(graph, inputs, lanes).forEach((actual, i) => {
    const error = relativeError(hostValues(actual), hostValues(expected[i]!));
    assert.ok(error <= tolerance, `${name}, ${lanes} lanes: result ${i} differs by ${error}`);
  });
}

function checkGradient(op: OpDef, seed: number, lanes: number): void {
  const opCase = drawCase(op, seed);
  const { backward, floatInputs } = buildDerivatives(op, opCase);
  if (floatInputs.length === 0) return;
  const random = seededRandom(seed);
  const cotangents = backward.parameters.slice(opCase.inputs.length);
  const inputs = [...randomInputs(opCase, random), ...cotangents.map(({ type }) => randomHost(type, random))];
  check(`gradient of ${op.name}, seed ${seed}`, backward, inputs, lanes, GRADIENT_TOLERANCE);
}

for (const lanes of LANES) {
  test(`every op of the registry is right with ${lanes} lanes`, () => {
    for (const op of SAMPLED_OPS) {
      for (const seed of SEEDS) {
        const opCase = drawCase(op, seed);
        const graph = graphOf(op, opCase.inputs, opCase.attrs);
        const inputs = randomInputs(opCase, seededRandom(seed));
        check(`${op.name}, seed ${seed}`, graph, inputs, lanes, op.tolerance ?? 1e-5);
      }
    }
  });
  test(`every backward pass is right with ${lanes} lanes`, () => {
    for (const op of SAMPLED_OPS.filter(hasDerivative)) {
      checkGradient(op, SEEDS[lanes % SEEDS.length]!, lanes);
    }
  });
}
