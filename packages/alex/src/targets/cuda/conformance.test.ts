// Every op of the registry and its backward pass, and random graphs, as the cuda target generates them: their PTX is
// made, and assembled where ptxas is on the machine; they run on a GPU where there is one; and without one the same
// kernels run on the processor, generated for what a GPU's thread has, so that the generators are tested anywhere.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertConforms } from "../../testing-conformance.node.ts";
import { hostMachine } from "../native/machine.node.ts";
import { runGraphs, whyNoNative } from "../native/testing.node.ts";
import { compileProgramToPtx } from "./compile.node.ts";
import { CudaDevice } from "./device.node.ts";
import { CUDA_VECTORS, SM_90 } from "./machine.ts";
import {
  conformanceGroups,
  programOfCases,
  runOnDevice,
  temporaryPtxDirectory,
  whyNoCuda,
  whyNoPtx,
} from "./testing.node.ts";
import { assemblePtx, findPtxAssembler } from "./toolchain.node.ts";

const GROUPS = 2;
const groups = conformanceGroups(GROUPS);
let directory: ReturnType<typeof temporaryPtxDirectory>;
before(() => void (directory = temporaryPtxDirectory()));
after(() => directory.remove());

for (const [i, cases] of groups.entries()) {
  test(`programs of every op are PTX, group ${i + 1}`, { skip: whyNoPtx() }, async () => {
    const program = programOfCases(cases);
    const ptx = await compileProgramToPtx(program);
    const entries = [...ptx.matchAll(/^\.visible \.entry kernel_(\d+)\(/gm)].map(([, number]) => Number(number));
    assert.deepEqual(
      entries,
      program.kernels.map((_, kernel) => kernel),
    );
    assert.doesNotMatch(ptx, /\.extern|call/, "nothing is left to a library");
    const assembler = findPtxAssembler();
    if (assembler === undefined) return;
    const resources = await assemblePtx(assembler, SM_90, ptx);
    assert.equal(resources.length, program.kernels.length);
    assert.ok(resources.every(({ registers }) => registers > 0 && registers <= 255));
  });

  test(`ops, gradients and random graphs on a GPU, group ${i + 1}`, { skip: whyNoCuda() }, async () => {
    const device = new CudaDevice();
    try {
      const results = await runOnDevice(cases, device);
      cases.forEach((each, which) => assertConforms(each, results[which]));
    } finally {
      await device.close();
    }
  });
}

test("kernels generated for a GPU's thread have the interpreter's values", { skip: whyNoNative() }, async () => {
  const cases = groups.flat();
  const results = await runGraphs(cases, hostMachine(), CUDA_VECTORS);
  cases.forEach((each, which) => assertConforms(each, results[which]));
});
