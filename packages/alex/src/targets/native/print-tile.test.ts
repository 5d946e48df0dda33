// Matrix registers become AMX instructions, which LLVM takes; a processor that has them runs them like the evaluator.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildKernel } from "@fidelity/core";
import type { Kernel } from "@fidelity/core";
import { programOf } from "../wasm/testing.node.ts";
import { hostMachine } from "./machine.node.ts";
import { machineOf } from "./machine.ts";
import { NativeTargetError } from "./errors.ts";
import { printModules } from "./print-program.ts";
import { differencesFromEvaluator, whyNoNative } from "./testing.node.ts";
import { buildLibrary, findToolchain } from "./toolchain.node.ts";

const skip = whyNoNative();
const BUFFER_BYTES = 4096;

/** Two products added, in rows of 128 bytes. */
const kernel: Kernel = buildKernel("tiles", 2, (k, [input, output]) => {
  k.tileZero(0);
  k.tileLoad(1, input!, 0, 128);
  k.tileLoad(7, input!, 64, 128);
  k.loop(0, 2, 1, () => k.tileMultiply(0, 1, 7));
  k.tileStore(0, output!, 64, 128);
});

test("products of matrix registers are AMX code", { skip }, async () => {
  const machine = machineOf("x86-64-v4+amx-tile+amx-int8");
  const { modules } = printModules(programOf(kernel, BUFFER_BYTES), machine, 1);
  for (const name of ["ldtilecfg", "tilezero", "tileloadd64", "tdpbsud", "tilestored64", "tilerelease"]) {
    assert.match(modules.join(""), new RegExp(`llvm.x86.${name}"`));
  }
  assert.ok((await buildLibrary(findToolchain(), machine, modules)).byteLength > 0);
});

test("a machine without matrix registers is named", () => {
  const program = programOf(kernel, BUFFER_BYTES);
  assert.throws(() => printModules(program, machineOf("x86-64-v4"), 1), NativeTargetError);
});

const host = skip === false ? hostMachine({}) : undefined;
// No install brings matrix registers, so a machine without them has nothing to skip.
if (host?.features.has("amx-int8") === true) {
  test("AMX computes what the evaluator does", async () => {
    const inputs = Uint8Array.from({ length: BUFFER_BYTES }, (_, i) => (i * 151 + 7) & 0xff);
    assert.deepEqual(await differencesFromEvaluator([programOf(kernel, BUFFER_BYTES)], inputs, host), []);
  });
}
