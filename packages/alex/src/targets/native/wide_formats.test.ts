// What LLVM makes of formats that are wider than float64 (see docs/studies/extended-precision.md): f80 is code of the
// x87 unit, one number at a time, and needs no library; f128 is calls of a compiler's library, which is linked. What
// comes out is compared with arbitrary precision in bench/src/studies/extended-precision/formats.test.ts.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { loadFfi } from "@fidelity/barewire/node";
import { CompilerLibraryMissingError, findCompilerLibrary, librariesFor } from "./compiler_library.node.ts";
import { hostMachine } from "./machine.node.ts";
import { whyNoNative } from "./testing.node.ts";
import { buildLibrary, emitStages, findToolchain } from "./toolchain.node.ts";

const skip = whyNoNative() || (process.arch === "x64" ? false : "f80 is a format of x86");

/** `run(block)` adds block[1..3] in a format and writes the sum, rounded to float64, to block[0]. */
const sumOfThree = (format: string): string => `module {
  llvm.func @run(%block: !llvm.ptr) -> i32 {
    %0 = llvm.mlir.constant(0 : i32) : i32
${[1, 2, 3]
  .map(
    (i) => `    %p${i} = llvm.getelementptr %block[${i}] : (!llvm.ptr) -> !llvm.ptr, f64
    %v${i} = llvm.load %p${i} : !llvm.ptr -> f64
    %w${i} = arith.extf %v${i} : f64 to ${format}`,
  )
  .join("\n")}
    %a = arith.addf %w1, %w2 : ${format}
    %b = arith.addf %a, %w3 : ${format}
    %r = arith.truncf %b : ${format} to f64
    llvm.store %r, %block : f64, !llvm.ptr
    llvm.return %0 : i32
  }
}
`;

test("f80 adds with 64 bits, on the x87 unit", { skip }, async () => {
  const [toolchain, machine] = [findToolchain(), hostMachine()];
  const { assembly } = await emitStages(toolchain, machine, sumOfThree("f80"));
  assert.match(assembly, /\tfadd[lp]?\t/u);
  assert.doesNotMatch(assembly, /\bcall/u);
  const directory = await mkdtemp(path.join(os.tmpdir(), "fidelity-f80-"));
  try {
    const file = path.join(directory, "sum.so");
    await writeFile(file, await buildLibrary(toolchain, machine, [sumOfThree("f80")]));
    const { ffi } = loadFfi();
    assert.ok(ffi !== undefined);
    const { lib, functions } = ffi.dlopen(file, { run: { arguments: ["pointer"], return: "int32" } });
    const block = Float64Array.of(0, 1, 2 ** -60, -1);
    functions.run(ffi.getRawPointer(block.buffer));
    assert.equal(block[0], 2 ** -60);
    block.set([0, 1, 2 ** -70, -1]);
    functions.run(ffi.getRawPointer(block.buffer));
    assert.equal(block[0], 0, "70 bits are too many for f80");
    lib.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

const f128 = skip || (findCompilerLibrary("x86-64") === undefined && "needs a compiler's library");

test("f128 is linked with a compiler's library, and is a named error without one", { skip: f128 }, async () => {
  const [toolchain, machine] = [findToolchain(), hostMachine()];
  const library = await buildLibrary(toolchain, machine, [sumOfThree("f128")]);
  assert.ok(library.byteLength > 0);
  assert.deepEqual(librariesFor([sumOfThree("f80")], machine), [], "f80 needs none");
  assert.throws(
    () => librariesFor([sumOfThree("f128")], machine, { FIDELITY_COMPILER_LIBRARY: "/nowhere/libgcc.a" }),
    (error: unknown) => error instanceof CompilerLibraryMissingError && /double-double/u.test(error.message),
  );
});
