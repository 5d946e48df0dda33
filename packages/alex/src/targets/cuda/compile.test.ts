// From a program to PTX: what the text of a kernel looks like, what its accesses become, and what is kept on disk.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { F32, buildKernel, loopType } from "@fidelity/core";
import type { Kernel, Program } from "@fidelity/core";
import { findToolchain } from "../native/toolchain.node.ts";
import { whyNoNative } from "../native/testing.node.ts";
import { compileProgramToPtx, ptxDirectory } from "./compile.node.ts";
import { PtxMissingError } from "./errors.ts";
import { SM_90, cudaMachineOf } from "./machine.ts";
import { printGpuModule } from "./print-program.ts";
import { PtxAssemblerError, assemblePtx, findPtxAssembler } from "./toolchain.node.ts";

const skip = whyNoNative();
const directory = mkdtempSync(path.join(os.tmpdir(), "fidelity-test-"));
after(() => rmSync(directory, { recursive: true }));

/** y = x * x by vectors of four, `rowBytes` to a chunk, through scratch memory. */
function squareKernel(rowBytes: number): Kernel {
  return buildKernel("square", 2, (k, [x, y]) => {
    const kept = k.allocateScratch(16);
    const value = k.load(loopType("f32", 4), k.offset(x, k.chunk, rowBytes));
    k.store(k.binary("mul", value, value), kept);
    k.store(k.load(loopType("f32", 4), kept), k.offset(y, k.chunk, rowBytes));
    k.prefetch(x);
  });
}

function programOfKernel(kernel: Kernel, offsetBytes = 0): Program {
  const args = [
    { buffer: 0, offsetBytes: 0 },
    { buffer: 1, offsetBytes },
  ];
  return {
    name: kernel.name,
    kernels: [kernel],
    buffers: [0, 1].map((slot) => ({ name: `b${slot}`, sizeBytes: 4096, placement: { kind: "binding", slot } })),
    bindingCount: 2,
    arenaBytes: 0,
    scratchBytes: kernel.scratchBytes,
    schedule: [{ kind: "parallel", calls: [{ kernel: 0, chunks: 8, args, label: "square" }] }],
    constants: [],
  };
}

test("a kernel strides over chunks in the gpu dialect, with scratch memory of each thread's own", () => {
  const text = printGpuModule(programOfKernel(squareKernel(64)), SM_90);
  assert.match(text, /gpu\.module @program \{\n\/\/ square\ngpu\.func @kernel_0\(%chunks: i64, /);
  assert.match(text, /%buffer_0: i64, %buffer_1: i64\) kernel \{/);
  assert.match(text, /%scratch_stride = arith\.constant 64 : i64/);
  assert.match(text, /scf\.for %chunk = %thread to %chunks step %threads : i64 \{/);
  assert.match(text, /llvm\.load %\d+ \{alignment = 64 : i64\} : !llvm\.ptr<1> -> vector<4xf32>/);
  assert.doesNotMatch(text, /prefetch/);
});

test("aligned vectors are one access, others are as many as their alignment asks for", { skip }, async () => {
  const compile = (program: Program): Promise<string> => compileProgramToPtx(program, { directory });
  const aligned = await compile(programOfKernel(squareKernel(64)));
  assert.match(aligned, /ld\.global\.v4\.f32/);
  assert.match(aligned, /st\.global\.v4\.f32/);
  const odd = await compile(programOfKernel(squareKernel(20)));
  assert.equal(odd.match(/ld\.global\.f32/g)?.length, 4);
  const moved = await compile(programOfKernel(squareKernel(64), 8));
  assert.match(moved, /ld\.global\.v4\.f32/);
  assert.equal(moved.match(/st\.global\.v2\.f32/g)?.length, 2, "the result is bound 8 bytes further");
});

test("bytes are multiplied by dp4a", { skip }, async () => {
  const kernel = buildKernel("dot", 2, (k, [x, y]) => {
    const [bytes, sums] = [loopType("i8", 16), loopType("i32", 4)];
    k.store(k.dot4(k.load(bytes, x), k.load(bytes, x, 16), k.load(sums, y)), y);
  });
  const ptx = await compileProgramToPtx(programOfKernel(kernel), { directory });
  assert.equal(ptx.match(/dp4a\.s32\.s32/g)?.length, 4);
});

test("PTX that is kept is found without the tools, and made again when it was changed", { skip }, async () => {
  const own = mkdtempSync(path.join(directory, "own-"));
  const kernel = buildKernel("copy", 2, (k, [x, y]) => k.store(k.load(F32, x), y));
  const program = programOfKernel(kernel);
  const toolchain = findToolchain();
  const tools = process.env.FIDELITY_LLVM_BIN;
  process.env.FIDELITY_LLVM_BIN = own;
  try {
    await assert.rejects(compileProgramToPtx(program, { directory: own }), PtxMissingError);
    const made = await compileProgramToPtx(program, { directory: own, toolchain });
    assert.equal(await compileProgramToPtx(program, { directory: own }), made);
    const file = readdirSync(own).find((name) => name.endsWith(".ptx"));
    assert.ok(file !== undefined);
    writeFileSync(path.join(own, file), `${made}\n`);
    await assert.rejects(compileProgramToPtx(program, { directory: own }), PtxMissingError);
    assert.equal(await compileProgramToPtx(program, { directory: own, toolchain }), made);
  } finally {
    if (tools === undefined) delete process.env.FIDELITY_LLVM_BIN;
    else process.env.FIDELITY_LLVM_BIN = tools;
  }
});

test("where PTX is kept", () => {
  assert.equal(ptxDirectory({ FIDELITY_PTX_CACHE: "/a/ptx" }), "/a/ptx");
  assert.equal(ptxDirectory({ FIDELITY_CACHE_DIR: "/a/cache" }), "/a/cache/cuda");
});

test("a GPU runs what was made for it or for an earlier one", () => {
  assert.equal(cudaMachineOf(90), SM_90);
  assert.equal(cudaMachineOf(120), SM_90);
  assert.equal(cudaMachineOf(86)?.name, "sm_80");
  assert.equal(cudaMachineOf(75), undefined);
});

test("what ptxas says against PTX is told, and where it is missing nothing is assembled", async () => {
  assert.equal(findPtxAssembler({ PATH: directory })?.startsWith(directory) ?? false, false);
  const assembler = findPtxAssembler();
  if (assembler === undefined) return;
  await assert.rejects(assemblePtx(assembler, SM_90, "mov nothing;"), PtxAssemblerError);
});
