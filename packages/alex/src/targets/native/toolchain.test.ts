// The tools when they are missing, fail or hang: errors that name them, and files for the reader.

import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { FileError } from "@fidelity/barewire/node";
import { buildKernel, F32 } from "@fidelity/core";
import { programOf } from "../wasm/testing.node.ts";
import { machineOf } from "./machine.ts";
import { printModules } from "./print-program.ts";
import { whyNoNative } from "./testing.node.ts";
import {
  ToolFailedError,
  ToolMissingError,
  buildLibrary,
  emitStages,
  findToolchain,
  toolVersions,
} from "./toolchain.node.ts";

const base = mkdtempSync(path.join(os.tmpdir(), "fidelity-tools-"));
after(() => rmSync(base, { recursive: true }));
const skip = whyNoNative();

const machine = machineOf("x86-64-v3");
const double = buildKernel("double", 1, (k, [a]) => k.store(k.mul(k.load(F32, a), k.constant(F32, 2)), a));
const { modules } = printModules(programOf(double, 64), machine, 1);

/** A program that is no tool. */
function script(name: string, text: string): string {
  const file = path.join(base, name);
  writeFileSync(file, `#!/bin/sh\n${text}\n`);
  chmodSync(file, 0o700);
  return file;
}

test("tools that are missing are named, with what to install", () => {
  const environment = { FIDELITY_LLVM_BIN: base, PATH: process.env.PATH };
  assert.throws(
    () => findToolchain(environment),
    (error: unknown) => {
      assert.ok(error instanceof ToolMissingError);
      assert.deepEqual(error.tools, ["mlir-opt", "mlir-translate", "opt", "llc", "ld.lld"]);
      assert.match(error.message, /apt-get install mlir-19-tools llvm-19 lld-19/);
      return true;
    },
  );
});

test("a tool that fails is named with what it said, and the files are kept", { skip }, async () => {
  const toolchain = findToolchain();
  const llc = script("llc", "echo 'llc: error: no such thing' >&2; exit 3");
  const broken = { ...toolchain, paths: { ...toolchain.paths, llc } };
  await assert.rejects(buildLibrary(broken, machine, modules), (error: unknown) => {
    assert.ok(error instanceof ToolFailedError);
    assert.equal(error.tool, "llc");
    assert.match(error.message, /no such thing/);
    assert.equal(readFileSync(path.join(error.directory, "module0.mlir"), "utf8"), modules[0]);
    rmSync(error.directory, { recursive: true });
    return true;
  });
});

test("a disk without room for a tool's files is named, and nothing is kept on it", { skip }, async () => {
  const toolchain = findToolchain();
  const opt = script("opt-full", "echo 'error: No space left on device' >&2; exit 1");
  const full = { ...toolchain, paths: { ...toolchain.paths, opt } };
  const refused = (code: string) => (error: unknown) => {
    assert.ok(error instanceof FileError);
    assert.equal(error.code, code);
    assert.match(error.message, /TMPDIR/);
    assert.ok(!error.path.includes("fidelity-native-") || !existsSync(error.path));
    return true;
  };
  await assert.rejects(buildLibrary(full, machine, modules), refused("ENOSPC"));
  const before = process.env.TMPDIR;
  process.env.TMPDIR = opt;
  try {
    await assert.rejects(buildLibrary(toolchain, machine, modules), refused("ENOTDIR"));
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
});

test("text that is no MLIR fails where it is read", { skip }, async () => {
  await assert.rejects(buildLibrary(findToolchain(), machine, ["module { nonsense }"]), (error: unknown) => {
    assert.ok(error instanceof ToolFailedError);
    assert.equal(error.tool, "mlir-opt");
    rmSync(error.directory, { recursive: true });
    return true;
  });
});

test("a tool that hangs is ended", { skip }, async () => {
  const toolchain = findToolchain();
  const opt = script("opt", "exec sleep 60");
  const stuck = { ...toolchain, paths: { ...toolchain.paths, opt }, stageMsMax: 500 };
  await assert.rejects(buildLibrary(stuck, machine, modules), (error: unknown) => {
    assert.ok(error instanceof ToolFailedError);
    assert.match(error.message, /nothing in 0\.5 s/);
    rmSync(error.directory, { recursive: true });
    return true;
  });
});

test("each stage can be read", { skip }, async () => {
  const { llvmDialect, llvm, assembly } = await emitStages(findToolchain(), machine, modules[0]);
  assert.match(llvmDialect, /llvm\.fmul/);
  assert.match(llvm, /define hidden void @kernel_0/);
  assert.match(assembly, /kernel_0:/);
  assert.match([...(await toolVersions(findToolchain())).values()].join(), /19\.\d/);
});
