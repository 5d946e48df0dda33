// Double-double and exact sums give the same bits on every target: the interpreter, wasm, and native code of every
// machine that this processor can be, on random numbers of all sizes and on the edges. Of a GPU's code it is seen that
// every operation is rounded by itself, and in targets/cuda that it has the evaluator's results.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Graph, HostTensor, OpDef, TensorType } from "@fidelity/core";
import { interpret, OPS } from "@fidelity/core";
import { drawCase, graphOf, randomInputs, seededRandom } from "@fidelity/core/testing";
import type { Random } from "@fidelity/core/testing";
import { compileGraph } from "./compile.ts";
import { compileProgramToPtx, CUDA_VECTORS } from "./targets/cuda/index.node.ts";
import { temporaryPtxDirectory } from "./targets/cuda/testing.node.ts";
import { runGraphs, runnableMachines, whyNoNative } from "./targets/native/testing.node.ts";
import { runCompiled } from "./testing.ts";

interface BitCase {
  readonly name: string;
  readonly graph: Graph;
  readonly inputs: readonly HostTensor[];
}

const PAIR_OPS: readonly OpDef[] = [OPS.double_double, OPS.double_double_sum, OPS.double_double_matmul];
const UNARY = ["sqrt", "exp", "log", "tanh", "sin", "cos"];
const BINARY = ["add", "sub", "mul", "div"];
const EDGES = [0, -0, 1, -1, Infinity, -Infinity, NaN, 1e308, -1e308, 5e-324, -1e-310, 709.9, -745.5, 2 ** 30, 0.5];

/** Numbers of all sizes, with cancellation and zeros. */
function wildNumbers(count: number, random: Random, exponents: number): number[] {
  const made: number[] = [];
  for (let i = 0; i < count; i++) {
    const scale = 2 ** Math.floor((random() - 0.5) * exponents);
    const number = random() < 0.1 ? 0 : (random() - 0.5) * scale;
    made.push(random() < 0.2 && i > 0 ? -made[i - 1] : number);
  }
  return made;
}

function caseOf(op: OpDef, types: readonly TensorType[], attrs: object, data: readonly (readonly number[])[]): BitCase {
  const inputs = types.map((type, i) => ({
    type,
    data: Float64Array.from(data[i], type.dtype === "f32" ? Math.fround : Number),
  }));
  return { name: `${op.name} ${JSON.stringify(attrs)}`, graph: graphOf(op, types, attrs as never), inputs };
}

function pairCases(): BitCase[] {
  const sampled = PAIR_OPS.flatMap((op) =>
    [1, 2].map((seed) => {
      const opCase = drawCase(op, seed);
      const inputs = randomInputs(opCase, seededRandom(seed));
      return { name: `${op.name}, seed ${seed}`, graph: graphOf(op, opCase.inputs, opCase.attrs), inputs };
    }),
  );
  const zeros = EDGES.map(() => 0);
  const type: TensorType = { dtype: "f64", shape: [EDGES.length] };
  const edges = UNARY.map((fn) => caseOf(OPS.double_double, [type, type], { fn }, [EDGES, zeros]));
  const shifted = [...EDGES.slice(4), ...EDGES.slice(0, 4)];
  const both = BINARY.map((fn) =>
    caseOf(OPS.double_double, [type, type, type, type], { fn }, [EDGES, zeros, shifted, zeros]),
  );
  return [...sampled, ...edges, ...both];
}

/** The same ops asked for in a format that a target may lack: double-double then. */
function wideCases(): BitCase[] {
  return PAIR_OPS.flatMap((op) =>
    (["f80", "f128"] as const).map((format) => {
      const opCase = drawCase(op, 4);
      const attrs = { ...opCase.attrs, format };
      const inputs = randomInputs(opCase, seededRandom(4));
      return { name: `${op.name} in ${format}`, graph: graphOf(op, opCase.inputs, attrs), inputs };
    }),
  );
}

function sumCases(): BitCase[] {
  const random = seededRandom(3);
  const sums = (["f32", "f64"] as const).flatMap((dtype) =>
    [1, 17, 150].map((columns) => {
      const type: TensorType = { dtype, shape: [5, columns] };
      return caseOf(OPS.sum_exact, [type], {}, [wildNumbers(5 * columns, random, dtype === "f32" ? 200 : 1800)]);
    }),
  );
  const products = (["f32", "f64"] as const).map((dtype) => {
    const [a, b]: TensorType[] = [
      { dtype, shape: [2, 3, 40] },
      { dtype, shape: [2, 40, 3] },
    ];
    const exponents = dtype === "f32" ? 100 : 700;
    return caseOf(OPS.matmul_exact, [a, b], {}, [
      wildNumbers(240, random, exponents),
      wildNumbers(240, random, exponents),
    ]);
  });
  const edges = [
    [1, 2 ** -24, 2 ** -60],
    [1, 2 ** -24, -(2 ** -60)],
    [1 + 2 ** -23, 2 ** -24, 0],
    [3e38, 3e38, -3e38],
    [Infinity, -Infinity, 1],
    [Infinity, 1, 1],
    [NaN, 1, 1],
  ];
  const ties = caseOf(OPS.sum_exact, [{ dtype: "f32", shape: [edges.length, 3] }], {}, [edges.flat()]);
  const halves = [
    [1, 2 ** -53, 2 ** -110],
    [1, 2 ** -53, -(2 ** -110)],
    [1 + 2 ** -52, 2 ** -53, 0],
    [1e300, 1, -1e300],
  ];
  const wide = caseOf(OPS.sum_exact, [{ dtype: "f64", shape: [halves.length, 3] }], {}, [halves.flat()]);
  return [...sums, ...products, ties, wide];
}

function assertSameBits({ name, graph, inputs }: BitCase, results: readonly HostTensor[]): void {
  interpret(graph, inputs).forEach((want, i) => {
    assert.deepEqual([...results[i].data], [...want.data], `${name}, result ${i}`);
  });
}

test("wasm has the interpreter's bits", () => {
  const cases = [...pairCases(), ...wideCases(), ...sumCases()];
  for (const each of cases) assertSameBits(each, runCompiled(each.graph, each.inputs));
});

test("sums over many blocks are carried between them", () => {
  const type: TensorType = { dtype: "f32", shape: [1, 140_000] };
  const random = seededRandom(9);
  const each = caseOf(OPS.sum_exact, [type], {}, [wildNumbers(140_000, random, 60)]);
  assertSameBits(each, runCompiled(each.graph, each.inputs));
});

// The best machine, and the plainest, which has no fused multiply-add.
const skip = whyNoNative();
const machines = skip === false ? runnableMachines() : [];
for (const machine of machines.filter((_machine, i) => i === 0 || i === machines.length - 1)) {
  test(`native code has the interpreter's bits, ${machine.name}`, async () => {
    const cases = [...pairCases(), ...sumCases()];
    const results = await runGraphs(cases, machine);
    cases.forEach((each, i) => assertSameBits(each, results[i]));
  });
}

test(
  "a GPU's code for double-double fuses no multiply-add, which would not leave a product's error",
  { skip },
  async () => {
    const directory = temporaryPtxDirectory();
    try {
      for (const op of PAIR_OPS) {
        const opCase = drawCase(op, 1);
        const graph = graphOf(op, opCase.inputs, { ...opCase.attrs, format: "f80" });
        const ptx = await compileProgramToPtx(compileGraph(graph, { target: CUDA_VECTORS }));
        assert.match(ptx, /add\.rn\.f64/u, "rounded where it stands: the assembler may fuse what does not say so");
        assert.doesNotMatch(ptx, /\b(?:fma|(?:add|sub|mul)\.f64)/u);
      }
    } finally {
      directory.remove();
    }
  },
);

test("a sum is the same for every order of its terms", () => {
  const random = seededRandom(5);
  const values = wildNumbers(60, random, 200);
  const type: TensorType = { dtype: "f32", shape: [1, values.length] };
  const sum = (order: readonly number[]): number => {
    const { graph, inputs } = caseOf(OPS.sum_exact, [type], {}, [order]);
    return runCompiled(graph, inputs)[0].data[0];
  };
  const want = sum(values);
  for (let i = 0; i < 5; i++) {
    const keyed = values.map((value) => ({ value, key: random() })).sort((a, b) => a.key - b.key);
    assert.equal(sum(keyed.map(({ value }) => value)), want);
  }
});
