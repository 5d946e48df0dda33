// Every op of the registry and its backward pass, random graphs, and every operation, as the cuda target generates them:
// their PTX is made, and assembled where ptxas is on the machine; they run on a GPU where there is one; and without one
// the same kernels run on the processor, generated for what a GPU's thread has, so that generators are tested anywhere.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import type { Program } from "@fidelity/core";
import { hasDerivative, SAMPLED_OPS } from "@fidelity/core/testing";
import { assertConforms, donationCases, gradientCase, graphCase, valueCase } from "../../testing-conformance.node.ts";
import type { ConformanceCase } from "../../testing-conformance.node.ts";
import { hostMachine } from "../native/machine.node.ts";
import { differencesOf, joinGraphs, joinPrograms, runGraphs, runJoined, whyNoNative } from "../native/testing.node.ts";
import { compileProgramToPtx } from "./compile.node.ts";
import { CudaDevice } from "./device.node.ts";
import { CUDA_VECTORS, SM_90 } from "./machine.ts";
import { bindArena, operationPrograms, runnerOn, temporaryPtxDirectory, whyNoCuda, whyNoPtx } from "./testing.node.ts";
import { assemblePtx, findPtxAssembler } from "./toolchain.node.ts";

const draw = <T>(arbitrary: fc.Arbitrary<T>, count: number): T[] => fc.sample(arbitrary, { numRuns: count, seed: 1 });
const seeds = fc.integer({ min: 1, max: 1e9 });

const graphs = fc
  .tuple(
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 70 }),
    fc.array(fc.integer({ min: 0, max: 65535 }), { minLength: 3, maxLength: 14 }),
    fc.integer({ min: 1, max: 1e6 }),
  )
  .map((drawn) => graphCase(...drawn));

// The same on every machine, so that PTX that was made where the tools are runs where a GPU is.
/** Every op, its gradient, random graphs and donations, in `count` groups of about as many. */
function conformanceGroups(count: number): ConformanceCase[][] {
  const ops = SAMPLED_OPS.flatMap((op) => {
    const values = draw(seeds, 1).map((seed) => valueCase(op, seed));
    if (!hasDerivative(op)) return values;
    return [...values, ...draw(seeds, 1).flatMap((seed) => gradientCase(op, seed) ?? [])];
  });
  const cases = [...ops, ...draw(graphs, 6), ...donationCases()];
  return Array.from({ length: count }, (_, group) => cases.filter((_each, i) => i % count === group));
}

const GROUPS = 2;
const groups = conformanceGroups(GROUPS);
const { programs, inputs } = operationPrograms();
let directory: ReturnType<typeof temporaryPtxDirectory>;
before(() => void (directory = temporaryPtxDirectory()));
after(() => directory.remove());

async function assertIsPtx(program: Program): Promise<void> {
  const ptx = await compileProgramToPtx(program);
  const entries = [...ptx.matchAll(/^\.visible \.entry kernel_(\d+)\(/gm)].map(([, number]) => Number(number));
  assert.deepEqual(
    entries,
    program.kernels.map((_, kernel) => kernel),
  );
  assert.doesNotMatch(ptx, /\.extern|call/, "nothing is left to a library");
  const assembler = findPtxAssembler();
  if (assembler === undefined) return;
  // The first level finds what is wrong as well as the others, in half the time.
  const resources = await assemblePtx(assembler, SM_90, ptx, 1);
  assert.equal(resources.length, program.kernels.length);
  assert.ok(resources.every(({ registers }) => registers > 0 && registers <= 255));
}

async function withDevice(use: (device: CudaDevice) => Promise<void>): Promise<void> {
  const device = new CudaDevice();
  try {
    await use(device);
  } finally {
    await device.close();
  }
}

for (const [i, cases] of groups.entries()) {
  test(`ops, gradients and random graphs are PTX, group ${i + 1}`, { skip: whyNoPtx() }, () =>
    assertIsPtx(bindArena(joinGraphs(cases, CUDA_VECTORS).joined)),
  );

  test(`ops, gradients and random graphs on a GPU, group ${i + 1}`, { skip: whyNoCuda() }, () =>
    withDevice(async (device) => {
      const results = await runJoined(cases, joinGraphs(cases, CUDA_VECTORS), runnerOn(device));
      cases.forEach((each, which) => assertConforms(each, results[which]));
    }),
  );
}

test("every operation is PTX", { skip: whyNoPtx() }, () => assertIsPtx(bindArena(joinPrograms(programs).joined)));

test("operations have the evaluator's results on a GPU", { skip: whyNoCuda() }, () =>
  withDevice(async (device) => {
    assert.deepEqual(await differencesOf(programs, inputs, runnerOn(device)), []);
  }),
);

test("kernels generated for a GPU's thread have the interpreter's values", { skip: whyNoNative() }, async () => {
  const cases = groups.flat();
  const results = await runGraphs(cases, hostMachine(), CUDA_VECTORS);
  cases.forEach((each, which) => assertConforms(each, results[which]));
});
