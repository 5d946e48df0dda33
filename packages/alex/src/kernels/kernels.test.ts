import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { add, createInterpreter, mul, tensorType, trace, verifyProgram } from "@fidelity/core";
import type { Device, Shape, Tensor } from "@fidelity/core";
import { bestTarget, createDevice } from "../index.node.ts";
import { compileKernel, compileKernelSource, KernelError } from "./index.compile.ts";
import type { CompiledKernel, KernelOptions } from "./index.compile.ts";
import { kernel, matrix, t, tensor, ternary, vector } from "./index.ts";
import { loadKernels } from "./index.node.ts";

const EXAMPLES = new URL("../../../../examples/", import.meta.url);

/** Every device of this machine. */
let devices: Device[] = [];

before(() => {
  devices = [createInterpreter(), createDevice({ threads: 2, target: "wasm" })];
  if (bestTarget() === "native") devices.push(createDevice({ threads: 2, target: "native" }));
});
after(async () => {
  for (const device of devices) await device.close();
});

function numbersIn(value: unknown): number[] {
  if (typeof value === "number") return [value];
  if (ArrayBuffer.isView(value)) return [...(value as Float32Array)];
  return Array.isArray(value) ? value.flatMap(numbersIn) : [];
}

/** Asserts that all numbers agree to `tolerance` of the largest. */
function assertClose(got: unknown, expected: unknown, tolerance: number, what: string): void {
  const [left, right] = [numbersIn(got), numbersIn(expected)];
  const largest = right.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  assert.equal(left.length, right.length, what);
  assert.ok(right.length > 0 && largest > 0, `${what}: nothing to compare`);
  right.forEach((value, i) => {
    const off = Math.abs(value - left[i]!);
    assert.ok(off <= tolerance * largest, `${what}: number ${i} is ${left[i]}, not ${value}`);
  });
}

interface Example {
  readonly inputs: () => readonly unknown[];
}

for (const file of readdirSync(EXAMPLES).filter((name) => name.endsWith(".ts") && name !== "compare.ts")) {
  test(`examples/${file}: compiled, it gives what it gives as TypeScript`, async () => {
    const url = new URL(file, EXAMPLES);
    const module = (await import(url.href)) as Example & Readonly<Record<string, unknown>>;
    for (const compiled of (await loadKernels(url)).kernels) {
      const fn = module[compiled.name] as (...args: unknown[]) => unknown;
      const expected = module.inputs();
      const returned = fn(...expected);
      for (const device of devices) {
        const onDevice = await compileKernel(device, compiled);
        const args = module.inputs();
        const got = onDevice(...args);
        assertClose([...args, got], [...expected, returned], 2e-6, `${compiled.name} on ${device.target}`);
        onDevice.free();
      }
    }
  });
}

/** The one kernel of a text. */
function compileOne(text: string, options: KernelOptions = {}): CompiledKernel {
  const { kernels, diagnostics } = compileKernelSource(text, options);
  if (diagnostics.length > 0) throw new KernelError(diagnostics);
  const [compiled] = kernels;
  assert.ok(compiled !== undefined);
  verifyProgram(compiled.program());
  return compiled;
}

/** Runs the one kernel of a text on every device; gives the arguments and what was returned, of the last. */
async function runEverywhere(text: string, args: () => unknown[], tolerance = 1e-6): Promise<unknown[]> {
  const compiled = compileOne(text);
  let first: unknown[] | undefined;
  for (const device of devices) {
    const onDevice = await compileKernel(device, compiled);
    const given = args();
    const got = [...given, onDevice(...given)];
    first ??= got;
    assertClose(got, first, tolerance, device.target);
    onDevice.free();
  }
  return first!;
}

test("a kernel of run time is compiled from its own text, with the types that it was given", async () => {
  const gain = 0.5;
  const twice = (x: number): number => 2 * x;
  const scaled = kernel(
    [t.vector(10), t.vector(10)],
    (x, out) => {
      for (let i = 0; i < 10; i++) out[i] = twice(x[i]) * gain + 1;
    },
    { gain, twice },
  );
  const x = vector(10);
  x.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  for (const device of devices) {
    const onDevice = await compileKernel(device, scaled);
    const out = vector(10);
    onDevice(x, out);
    assert.deepEqual([...out], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    onDevice.free();
  }
  const plain = vector(10);
  scaled(x, plain);
  assert.deepEqual([...plain], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "it is still the function that it was");
});

test("a kernel of run time that uses what it was not given says so", async () => {
  const hidden = 3;
  const broken = kernel([t.vector(4)], (x) => {
    x[0] = hidden;
  });
  await assert.rejects(compileKernel(devices[0]!, broken), /FK004 hidden is not known/);
});

test("the tensors of a kernel can be used without copies, and hold the state between runs", async () => {
  const compiled = compileOne(
    "kernel(function step(state: Vector<6>) { for (let i = 0; i < 6; i++) state[i] = state[i] * 2 + 1; });",
  );
  for (const device of devices) {
    const step = await compileKernel(device, compiled);
    step.tensors[0]!.f32().fill(1);
    step.run();
    await step.runAsync();
    assert.deepEqual([...step.tensors[0]!.f32()], [7, 7, 7, 7, 7, 7]);
    step.free();
  }
});

test("arguments of the wrong shape are refused by name", async () => {
  const compiled = compileOne("kernel(function k(m: Matrix<2, 3>, out: Vector<3>) { out[0] = m[0][0]; });");
  const onDevice = await compileKernel(devices[0]!, compiled);
  assert.throws(() => onDevice(matrix(2, 4), vector(3)), /argument m does not fit/);
  assert.throws(() => onDevice(matrix(2, 3)), /takes 2 arguments/);
  assert.throws(() => onDevice(3, vector(3)), /argument m does not fit/);
});

test("control flow: break, continue, early return, switch with shared and default cases", async () => {
  const text = `kernel(function flow(x: Vector<9>, n: i32, out: Vector<9>) {
    if (n < 0) return;
    for (let i = 0; i < 9; i++) {
      if (x[i] === 3) continue;
      if (x[i] > 6) break;
      switch (i % 4) {
        case 0:
        case 2: out[i] = 10; break;
        case 1: out[i] = 20; break;
        default: out[i] = 30;
      }
      for (let j = i; j >= 0 && x[j] > 2; j -= 2) out[i] += 1;
    }
  });`;
  const x = vector(9);
  x.set([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const got = await runEverywhere(text, () => [x, 1, vector(9)]);
  assert.deepEqual([...(got[2] as Float32Array)], [10, 20, 0, 31, 12, 22, 0, 0, 0]);
  const none = await runEverywhere(text, () => [x, -1, vector(9)]);
  assert.deepEqual([...(none[2] as Float32Array)], [0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

test("indices that are not proved are guarded: reads give NaN or 0, writes are dropped", async () => {
  const text = `kernel(function gather(at: Vector<5, "i32">, x: Vector<4>, n: Vector<4, "i32">, out: Vector<5>, k: Vector<5, "i32">, hit: Vector<4>) {
    for (let i = 0; i < 5; i++) {
      out[i] = x[at[i]];
      k[i] = n[at[i]];
      hit[at[i]] = 1;
    }
  });`;
  const at = vector(5, "i32");
  at.set([0, 3, -1, 4, 2147483647]);
  const x = vector(4);
  x.set([1, 2, 3, 4]);
  const n = vector(4, "i32");
  n.set([5, 6, 7, 8]);
  const compiled = compileOne(text);
  for (const device of devices) {
    const onDevice = await compileKernel(device, compiled);
    const [out, k, hit] = [vector(5), vector(5, "i32"), vector(4)];
    onDevice(at, x, n, out, k, hit);
    assert.deepEqual([...out], [1, 4, NaN, NaN, NaN], device.target);
    assert.deepEqual([...k], [5, 8, 0, 0, 0]);
    assert.deepEqual([...hit], [1, 0, 0, 1]);
    onDevice.free();
  }
});

test("elementary functions agree with JavaScript", async () => {
  const names = [
    "exp",
    "log",
    "tanh",
    "sin",
    "cos",
    "sqrt",
    "log2",
    "log10",
    "floor",
    "ceil",
    "round",
    "trunc",
    "sign",
  ];
  const body = names.map((name, row) => `out[${row}][i] = Math.${name}(x[i]);`).join("\n");
  const text = `kernel(function f(x: Vector<33>, out: Matrix<${names.length}, 33>) { for (let i = 0; i < 33; i++) {\n${body}\n} });`;
  const x = vector(33);
  x.forEach((_, i) => (x[i] = 0.1 + i * 0.25));
  const got = await runEverywhere(text, () => [x, tensor([names.length, 33])], 1e-5);
  const rows = got[1] as Float32Array[];
  names.forEach((name, row) => {
    const fn = Math[name as "exp"];
    assertClose(
      rows[row],
      Float32Array.from(x, (value) => fn(value)),
      1e-5,
      name,
    );
  });
});

test("in float64 arithmetic a kernel gives the bits of TypeScript", async () => {
  const text = `kernel(function norm(x: Vector<37>, out: Vector<37>): number {
    let sum = 0;
    for (let i = 0; i < 37; i++) sum += x[i] * x[i];
    const scale = 1 / Math.sqrt(sum / 37 + 1e-6);
    for (let i = 0; i < 37; i++) out[i] = x[i] * scale;
    return scale;
  });`;
  const x = vector(37);
  x.forEach((_, i) => (x[i] = Math.fround(Math.sin(i) / 3)));
  let sum = 0;
  for (let i = 0; i < 37; i++) sum += x[i] * x[i];
  const scale = 1 / Math.sqrt(sum / 37 + 1e-6);
  const compiled = compileOne(text, { arithmetic: "f64", strictSums: true });
  for (const device of devices) {
    const onDevice = await compileKernel(device, compiled);
    const out = vector(37);
    assert.equal(onDevice(x, out), scale, device.target);
    assert.deepEqual(
      out,
      Float32Array.from(x, (value) => value * scale),
    );
    onDevice.free();
  }
});

test("views of rows, and extremes over a strided axis, from infinity", async () => {
  const text = `kernel(function largest(m: Tensor<[2, 3, 5]>, out: Vector<5>) {
    for (let k = 0; k < m[0][0].length; k++) {
      let best = -Infinity;
      for (let i = 0; i < 2; i++) {
        const plane = m[i];
        for (let j = 0; j < plane.length; j++) {
          const row = plane[j];
          if (row[k] > best) best = row[k];
        }
      }
      out[k] = best;
    }
  });`;
  const m = tensor([2, 3, 5]);
  m.forEach((plane, i) =>
    plane.forEach((row, j) => row.forEach((_, k) => (row[k] = ((i * 7 + j * 5 + k * 3) % 11) - 20))),
  );
  const got = await runEverywhere(text, () => [m, vector(5)]);
  const expected = [0, 1, 2, 3, 4].map((k) => Math.max(...m.flatMap((plane) => plane.map((row) => row[k]!))));
  assert.deepEqual([...(got[1] as Float32Array)], expected);
});

test("results do not depend on the number of threads", async () => {
  const text = `kernel(function big(w: Ternary<[300, 200]>, x: Vector<200>, out: Vector<300>) {
    for (let i = 0; i < 300; i++) {
      let sum = 0;
      for (let j = 0; j < 200; j++) switch (w[i][j]) { case 1: sum += x[j]; break; case -1: sum -= x[j]; break; }
      out[i] = sum;
    }
  });`;
  const compiled = compileOne(text);
  const [stage] = compiled.analysis.stages;
  assert.equal(stage!.sharing.kind, "parallel");
  const weights = ternary(
    [300, 200],
    Array.from({ length: 60_000 }, (_, i) => ((i * 7919) % 3) - 1),
  );
  const x = vector(200);
  x.forEach((_, i) => (x[i] = Math.sin(i)));
  const one = createDevice({ threads: 1, target: "wasm" });
  const results: Float32Array[] = [];
  for (const device of [one, devices[1]!]) {
    const onDevice = await compileKernel(device, compiled);
    const out = vector(300);
    onDevice(weights, x, out);
    results.push(out);
  }
  await one.close();
  assert.deepEqual(results[0], results[1]);
});

test("a library says which kernels it has, and gives all diagnostics of a file", async () => {
  const library = await loadKernels(new URL("ternary-accumulate.ts", EXAMPLES));
  assert.throws(() => library.get("other"), /no kernel called "other"/);
  await assert.rejects(loadKernels(new URL("missing.ts", EXAMPLES)), { code: "ENOENT" });
  await assert.rejects(
    compileKernel(devices[0]!, () => 1),
    /types of the kernel .* are not known/,
  );
});

test("a kernel is an op inside a model, on every device", async () => {
  const squares = compileOne(
    "kernel(function squares(x: Vector<9>, out: Vector<9>) { for (let i = 0; i < 9; i++) out[i] = x[i] * x[i]; });",
  );
  type F32 = Tensor<Shape, "f32">;
  const model = (x: F32): F32 => add(squares.apply(mul(x, 2))[0] as F32, x);
  const { graph } = trace("model", model, [tensorType("f32", [9])]);
  for (const device of devices) {
    const executable = await device.compile(graph);
    const [x, y] = [device.tensor(tensorType("f32", [9])), device.tensor(tensorType("f32", [9]))];
    executable.bind([x], [y]);
    x.f32().set([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    executable.run();
    assert.deepEqual([...y.f32()], [0, 5, 18, 39, 68, 105, 150, 203, 264], device.target);
  }
  assert.throws(
    () => trace("wrong", (x: F32) => squares.apply(x), [tensorType("f32", [8])]),
    /kernel.squares: takes x: f32\[9\]/,
  );
});

test("a tensor that is both updated and read is read as it was", async () => {
  const reverse = compileOne(
    "kernel(function reverse(x: Vector<9>, y: Vector<9>) { for (let i = 0; i < 9; i++) x[i] = x[i] + y[8 - i]; });",
  );
  type F32 = Tensor<Shape, "f32">;
  const model = (x: F32): F32 => {
    const twice = mul(x, 2);
    return reverse.apply(twice, twice)[0] as F32;
  };
  const { graph } = trace("model", model, [tensorType("f32", [9])]);
  for (const device of devices) {
    const executable = await device.compile(graph);
    const [x, y] = [device.tensor(tensorType("f32", [9])), device.tensor(tensorType("f32", [9]))];
    executable.bind([x], [y]);
    x.f32().set([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    executable.run();
    assert.deepEqual([...y.f32()], [16, 16, 16, 16, 16, 16, 16, 16, 16], device.target);
  }
});
