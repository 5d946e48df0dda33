// The text of modules: an assembler that is not ours takes it, and what it makes of it runs like the module.

import assert from "node:assert/strict";
import { test } from "node:test";
import binaryen from "binaryen";
import { emit, matmul, OPS, softmax, tensorType, trace } from "@fidelity/core";
import type { OpDef, Tensor } from "@fidelity/core";
import type { Program } from "@fidelity/core";
import { compileGraph } from "../../compile.ts";
import { disassemble, DisassemblyError, printWat } from "./disassemble.ts";
import { compileProgramToWasm } from "./emit-program.ts";
import { OP, SIMD } from "./opcodes.ts";
import { MNEMONICS } from "./mnemonics.ts";

const TARGET = { lanes: 4, joinsVectors: true } as const;

function classifier(): Program {
  const types = [tensorType("f32", [4, 8]), tensorType("f32", [8, 3])] as const;
  const { graph } = trace("classify", (x, weight) => softmax(matmul(x, weight)), types);
  return compileGraph(graph, { target: TARGET });
}

test("an assembler takes the text of a program, and its module is valid", () => {
  const bytes = compileProgramToWasm(classifier(), { maximumPages: 16 });
  const text = printWat(disassemble(bytes));
  const module = binaryen.parseText(text);
  module.setFeatures(binaryen.Features.All);
  assert.equal(module.validate(), 1);
  const emitted = module.emitBinary();
  assert.ok(WebAssembly.validate(emitted as Uint8Array<ArrayBuffer>));
  module.dispose();
});

test("kernels have their names, parameters the given ones, blocks are indented", () => {
  const program = classifier();
  const wat = disassemble(compileProgramToWasm(program, { maximumPages: 16 }), {
    parameters: (name, count) => Array.from({ length: count }, (_, i) => `${name}_${i}`),
  });
  program.kernels.forEach(({ name }, i) => {
    const { name: found, lines } = wat.functions[i]!;
    assert.equal(found, name);
    assert.ok(lines[0]!.text.startsWith(`  (func $${name}.${i} (param $${name}_0 i32)`), lines[0]!.text);
    const depths = lines.map(({ text }) => text.search(/\S/));
    assert.ok(Math.max(...depths) > 4);
    assert.ok(
      lines.filter(({ offset }) => offset >= 0).every(({ offset }, j, all) => j === 0 || offset > all[j - 1]!.offset),
    );
  });
});

test("every opcode that targets use has a name", () => {
  for (const opcode of [...Object.values(OP), ...Object.values(SIMD)]) assert.ok(MNEMONICS.has(opcode), String(opcode));
});

test("samples of all ops assemble", () => {
  let seed = 7;
  const draw = {
    int: (low: number, high: number) => low + ((seed = (seed * 48271) % 0x7fffffff) % (high - low + 1)),
    pick: <T>(options: readonly T[]) => options[draw.int(0, options.length - 1)]!,
  };
  for (const op of Object.values(OPS) as readonly OpDef[]) {
    if (op.lowering.kind !== "elementwise" && op.lowering.kind !== "kernel") continue;
    const { inputs, attrs } = op.sample(draw);
    const { graph } = trace(op.name, (...args) => emit(op, args as Tensor[], attrs), inputs);
    const bytes = compileProgramToWasm(compileGraph(graph, { target: TARGET }), { maximumPages: 16 });
    const module = binaryen.parseText(printWat(disassemble(bytes)));
    module.setFeatures(binaryen.Features.All);
    assert.equal(module.validate(), 1, op.name);
    module.dispose();
  }
});

test("what is no module, or not one of ours, is refused", () => {
  assert.throws(() => disassemble(new Uint8Array(8)), DisassemblyError);
  const bytes = compileProgramToWasm(classifier(), { maximumPages: 16 });
  for (const size of [9, 20, bytes.length >> 1, bytes.length - 3]) {
    assert.throws(() => disassemble(bytes.subarray(0, size)), DisassemblyError, `${size} bytes`);
  }
});
