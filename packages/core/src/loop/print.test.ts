// The printed text shows every instruction, and MLIR's own parser reads it where the tools are installed.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { buildKernel } from "./builder.ts";
import { F32, F64, loopType } from "./ir.ts";
import { expOf, sinOf } from "./math.ts";
import { printKernel, printProgram } from "./print.ts";
import type { Program } from "./program.ts";

const kernel = buildKernel('odd "name"', 2, (k, [a, b]) => {
  const f32x4 = loopType("f32", 4);
  const [sum] = k.for(0, 64, 4, [k.constant(f32x4, -0)], (i, [acc]) => [
    k.fma(expOf(k, k.load(f32x4, k.offset(a, i, 4))), k.loadSplat(f32x4, b, 8), acc),
  ]);
  const [value, twice] = k.if(
    k.compare("lt", k.chunk, k.index(3)),
    () => [k.extract(sum, 1), k.constant(F64, 1e-300)],
    () => [k.constant(F32, Infinity), k.constant(F64, NaN)],
  );
  k.store(sinOf(k, value), b, 4);
  k.store(twice, b, 8);
  k.store(k.load(loopType("i32", 4), a, 0, "u8"), b, 32, "i16");
  k.store(k.shuffle(sum, sum, [7, 6, 5, 4]), b, 16);
});

const program: Program = {
  name: "printed",
  kernels: [kernel],
  buffers: [
    { name: "a", sizeBytes: 256, placement: { kind: "arena", offsetBytes: 0 } },
    { name: "b", sizeBytes: 256, placement: { kind: "binding", slot: 0 } },
  ],
  bindingCount: 1,
  arenaBytes: 256,
  scratchBytes: 0,
  schedule: [
    {
      kind: "loop",
      count: 2,
      limit: { keeps: "last", cell: { buffer: 1, offsetBytes: 4 } },
      items: [
        {
          kind: "parallel",
          calls: [
            {
              kernel: 0,
              chunks: 4,
              label: "first",
              args: [
                { buffer: 0, offsetBytes: 0, strideBytes: [16] },
                { buffer: 1, offsetBytes: 0 },
              ],
            },
          ],
        },
      ],
    },
  ],
  constants: [],
};

test("prints one line an instruction with operands, attributes and types", () => {
  const text = printKernel(
    buildKernel("scale", 1, (k, [a]) => k.store(k.mul(k.load(F32, a, 4), k.constant(F32, 2)), a)),
  );
  assert.equal(
    text,
    `"loop.kernel"() ({
^bb0(%v0: index, %v1: index, %v2: index):
  %v3 = "loop.load"(%v2) {offset = 4 : i64} : (index) -> f32
  %v4 = "loop.const"() {value = 2.0 : f64} : () -> f32
  %v5 = "loop.mul"(%v3, %v4) : (f32, f32) -> f32
  "loop.store"(%v2, %v5) {offset = 0 : i64} : (index, f32) -> ()
  "loop.yield"() : () -> ()
}) {sym_name = "scale", scratch_bytes = 0 : i64} : () -> ()
`,
  );
});

const parser = "mlir-opt-19";
const missing = spawnSync(parser, ["--version"]).status !== 0;

test("MLIR parses a printed program", { skip: missing && `${parser} is not installed` }, () => {
  const result = spawnSync(parser, ["--allow-unregistered-dialect"], {
    input: printProgram(program),
    encoding: "utf8",
  });
  assert.equal(result.stderr, "");
  assert.equal(result.status, 0);
  assert.match(result.stdout, /"loop.call"\(\)/);
});
