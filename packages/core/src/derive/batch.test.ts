// Over the op table: an op over many examples at once gives what it gives for one example after another, whichever of
// its inputs hold examples; and compiled loops aside, all of it is a graph of ordinary ops that verifies.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isBlocked, isPacked, isTernary } from "../dtype.ts";
import type { Graph, Tensor } from "../graph.ts";
import { emit, inTrace } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { hostValues } from "../host.ts";
import { interpret } from "../interpreter.ts";
import type { OpCase, OpDef } from "../op.ts";
import { elementCount } from "../storage.ts";
import { drawCase, graphOf, randomInputs, relativeError, SAMPLED_OPS, seededRandom } from "../testing.ts";
import { parameter } from "../trace.ts";
import { verifyGraph } from "../verify.ts";
import { BatchError, batchTensors, everyExample } from "./batch.ts";
import { batchingOf } from "./batch_rules.ts";

const SIZE = 3;

/** The graph over examples; its parameters are those of the case, with the axis where `isBatched` says. */
function batchedGraph(op: OpDef, { inputs, attrs }: OpCase, isBatched: readonly boolean[]): Graph {
  return inTrace(() => {
    const ones = inputs.map((type, i) => parameter(`x${i}`, type));
    const results = emit(op, ones, attrs);
    const examples = new Map<Tensor, Tensor>();
    const parameters = ones.map((one, i) => {
      if (!isBatched[i]) return one;
      const many = parameter(`xs${i}`, { dtype: one.dtype, shape: [SIZE, ...one.shape] });
      examples.set(one, many);
      return many;
    });
    return { name: op.name, parameters, results: everyExample(batchTensors(results, examples, SIZE), SIZE) };
  });
}

/** Hosts of several examples as one, and one of them again. */
function stack(examples: readonly HostTensor[]): HostTensor {
  const { dtype, shape } = examples[0]!.type;
  const join = (arrays: readonly Float64Array[]): Float64Array => Float64Array.from(arrays.flatMap((x) => [...x]));
  const data = join(examples.map((example) => example.data));
  const type = { dtype, shape: [examples.length, ...shape] };
  return examples[0]!.scales === undefined
    ? { type, data }
    : { type, data, scales: join(examples.map((x) => x.scales!)) };
}

function subsets(count: number): boolean[][] {
  const all = Array.from({ length: 2 ** Math.min(count, 3) - 1 }, (_none, bits) =>
    Array.from({ length: count }, (_input, i) => ((bits + 1) >> Math.min(i, 2)) % 2 === 1),
  );
  return all;
}

const batchable = SAMPLED_OPS.filter((op) => !["source", "refuse"].includes(batchingOf(op.name).kind));

for (const op of batchable) {
  test(`${op.name}: many examples at once are one after another`, () => {
    for (const seed of [1, 2, 3]) {
      const opCase = drawCase(op, seed);
      for (const wanted of subsets(opCase.inputs.length)) {
        const isBatched = wanted.map(
          (flag, i) => flag && !isTernary(opCase.inputs[i]!.dtype) && !isBlocked(opCase.inputs[i]!.dtype),
        );
        if (!isBatched.includes(true)) continue;
        const graph = batchedGraph(op, opCase, isBatched);
        verifyGraph(graph);
        const random = seededRandom(seed);
        const common = randomInputs(opCase, random);
        const examples = Array.from({ length: SIZE }, () => {
          const own = randomInputs(opCase, random);
          return common.map((host, i) => (isBatched[i] ? own[i]! : host));
        });
        const given = common.map((host, i) => (isBatched[i] ? stack(examples.map((each) => each[i]!)) : host));
        const all = interpret(graph, given);
        const one = graphOf(op, opCase.inputs, opCase.attrs);
        examples.forEach((inputs, at) => {
          interpret(one, inputs).forEach((expected, i) => {
            if (isPacked(expected.type.dtype)) return;
            const count = elementCount(expected.type.shape);
            const got = hostValues(all[i]!).slice(at * count, (at + 1) * count);
            const error = relativeError(got, hostValues(expected));
            assert.ok(error < 1e-12, `seed ${seed}, batched ${isBatched.join()}, result ${i}: ${error}`);
          });
        });
      }
    }
  });
}

test("what cannot be batched is named, with the way to it", () => {
  const op = SAMPLED_OPS.find(({ name }) => name === "ternarize")!;
  assert.throws(
    () => batchedGraph(op, drawCase(op, 1), [true]),
    (error) => error instanceof BatchError && /ternarize cannot be batched/u.test(error.message),
  );
});
