import assert from "node:assert/strict";
import { test } from "node:test";
import { visitBlocks } from "./testing.ts";
import { compileKernelSource, KernelError, printKernelIr } from "./index.compile.ts";
import type { CompiledKernel } from "./index.compile.ts";

function compileOne(text: string): CompiledKernel {
  const { kernels, diagnostics } = compileKernelSource(text);
  if (diagnostics.length > 0) throw new KernelError(diagnostics);
  return kernels[0]!;
}

/** The intents of a kernel as "line: name, what: how". */
function intentsOf(text: string): string[] {
  const { intents, source } = compileOne(text);
  return intents.map(({ name, what, how, span }) => `${source.position(span.start).line}: ${name}, ${what}: ${how}`);
}

test("a ternary switch is an accumulation, for many rows side by side", () => {
  const text = `kernel(function f(w: Ternary<[64, 80]>, x: Vector<80>, out: Vector<64>) {
    for (let i = 0; i < 64; i++) {
      out[i] = 0;
      for (let j = 0; j < 80; j++) {
        switch (w[i][j]) { case -1: out[i] -= x[j]; break; case 1: out[i] += x[j]; break; default: break; }
      }
    }
  });`;
  assert.deepEqual(intentsOf(text), ["5: ternary_accumulate, w into out element: i side by side; shared out by i"]);
});

test("a switch that does something else with a weight is none", () => {
  const text = `kernel(function f(w: Ternary<[64, 80]>, x: Vector<80>, out: Vector<64>) {
    for (let i = 0; i < 64; i++) {
      let sum = 0;
      for (let j = 0; j < 80; j++) switch (w[i][j]) { case 1: sum += x[j]; break; case -1: sum += x[j]; break; }
      out[i] = sum;
    }
  });`;
  assert.ok(!intentsOf(text).some((intent) => intent.includes("ternary")));
});

test("a recurrence over time is shared out by channel and runs over channels side by side", () => {
  const text = `kernel(function f(f: Matrix<40, 96>, i: Matrix<40, 96>, h: Matrix<40, 96>) {
    for (let t = 0; t < 40; t++) {
      for (let c = 0; c < 96; c++) {
        const before = t > 0 ? h[t - 1][c] : 0;
        h[t][c] = f[t][c] * before + i[t][c];
      }
    }
  });`;
  assert.deepEqual(intentsOf(text), ["5: linear_recurrence, h over t: side by side; shared out by c"]);
  const { analysis, signature } = compileOne(text);
  assert.deepEqual(
    signature.inputs.map(({ name }) => name),
    ["f", "i"],
    "h is written before it is read",
  );
  assert.equal(analysis.stages.length, 1);
});

test("a recurrence by channel keeps its state in registers", () => {
  const text = `kernel(function f(f: Matrix<40, 96>, i: Matrix<40, 96>, h: Matrix<40, 96>) {
    for (let c = 0; c < 96; c++) {
      let state = 0;
      for (let t = 0; t < 40; t++) {
        state = f[t][c] * state + i[t][c];
        h[t][c] = state;
      }
    }
  });`;
  assert.deepEqual(intentsOf(text), ["5: linear_recurrence, state over t: c side by side; shared out by c"]);
});

test("sums, products and extremes are reductions", () => {
  const text = `kernel(function f(x: Vector<64>, y: Vector<64>): number {
    let dot = 0, largest = x[0], least = 1;
    for (let i = 0; i < 64; i++) {
      dot += x[i] * y[i];
      if (x[i] > largest) largest = x[i];
      least = Math.min(least, y[i]);
    }
    return dot + largest + least;
  });`;
  const how = "side by side; on one thread: its statements share variables";
  assert.deepEqual(intentsOf(text), [
    `4: reduction, sum of products into dot: ${how}`,
    `5: reduction, max into largest: ${how}`,
    `6: reduction, min into least: ${how}`,
  ]);
});

test("what is not done is explained", () => {
  const reason = (body: string): string => {
    const text = `kernel(function f(m: Matrix<8, 8>, n: Vector<8, "i32">, x: Vector<8>, out: Vector<8>) { ${body} });`;
    return intentsOf(text).join("\n");
  };
  assert.match(reason("for (let i = 0; i < 8; i++) out[i] = m[i][0];"), /one by one: m is not read side by side/);
  assert.match(reason("for (let i = 0; i < 8; i++) out[n[i]] = 1;"), /one by one: iterations may meet in out/);
  assert.match(reason("for (let i = 1; i < 8; i++) out[i] = out[i - 1] + x[i];"), /iterations may meet in out/);
  assert.match(reason("for (let i = 0; i < 8; i += 2) out[i] = x[i];"), /it counts by 2/);
  assert.match(reason("let s = 0; for (let i = 0; i < 8; i++) { s = x[i] - s; out[i] = s; }"), /s is carried/);
});

test("every value of a program has a place in the text, near where it is written", () => {
  const text = `kernel(function f(x: Vector<64>, out: Vector<64>) {
    for (let i = 0; i < 64; i++) out[i] = Math.exp(x[i]) + 1;
  });`;
  const compiled = compileOne(text);
  const program = compiled.program();
  const [kernel] = program.kernels;
  const positions = compiled.positions.get(kernel!.name);
  assert.ok(positions !== undefined);
  const texts = new Set<string>();
  visitBlocks(kernel!.body, (inst) => {
    const span = "result" in inst && inst.result !== undefined ? positions.get(inst.result.id) : undefined;
    if (span !== undefined) texts.add(text.slice(span.start, span.end));
  });
  for (const part of ["x[i]", "Math.exp(x[i])", "Math.exp(x[i]) + 1"]) assert.ok(texts.has(part), part);
});

test("a kernel shows its words and its typed form, with places", () => {
  const text = `kernel(function f(n: i32, x: Vector<8>, out: Vector<8>) {
    const half = n / 2; // the middle
    for (let i = 0; i < 8; i++) if (x[i] > half) out[i] = x[i];
  });`;
  const { tokens, ir, source } = compileOne(text);
  assert.deepEqual(
    tokens.slice(0, 6).map((token) => `${token.kind} ${token.text}`),
    ["keyword function", "name f", "punctuator (", "name n", "punctuator :", "name i32"],
  );
  for (const token of tokens) assert.equal(source.text.slice(token.span.start, token.span.end), token.text);
  assert.deepEqual(
    printKernelIr(ir).map((line) => line.text),
    [
      "kernel f(n: i32[], x: f32[8], out: f32[8]) in f32 {",
      "  const n.0: i32 = n[]",
      "  const half.1: f32 = div(f32(n.0), 2:f32)",
      "  for i.2 from 0 to 8 by 1 {",
      "    if gt(x[i.2], half.1) {",
      "      out[i.2] = x[i.2]",
      "    }",
      "  }",
      "}",
    ],
  );
});
