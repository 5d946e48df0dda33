// Random kernels, run four ways over the same data: as TypeScript in this engine, by the evaluator of the typed IR, as
// loop IR by its evaluator and as WebAssembly. In float64 arithmetic with sums in their written order all four give the
// same bits; in float32 arithmetic the last two do, with vectors and without.

import assert from "node:assert/strict";
import { stripTypeScriptTypes } from "node:module";
import vm from "node:vm";
import { ADDRESS_BYTES, compileProgramToWasm, scratchStrideBytes } from "@fidelity/alex";
import type { WasmProgramExports } from "@fidelity/alex";
import { tensor, ternary, vector } from "@fidelity/alex/kernels";
import { compileKernelSource, formatDiagnostic } from "@fidelity/alex/kernels/compile";
import type { CompiledKernel } from "@fidelity/alex/kernels/compile";
import { decodeTensor, encodeTensor, evaluateProgram, interpret, roundUp, storageBytes } from "@fidelity/core";
import type { HostTensor, Program, TensorType } from "@fidelity/core";
import { COLUMNS, randomKernel, ROWS } from "./random-kernel.ts";
import { randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

export const kernelRuns: FuzzTarget = {
  name: "kernel-runs",
  about: "random kernels give the same bits as TypeScript, interpreted and compiled",
  open(seed) {
    return {
      run(index) {
        const random = randomFor(seed, index);
        const text = randomKernel(random);
        const data = randomData(random);
        try {
          return compareRuns(text, data);
        } catch (error) {
          throw new Error(`the kernel\n${text}`, { cause: error });
        }
      },
    };
  },
};

/** Values of the parameters of a random kernel, by name, row-major. */
export type Data = Readonly<Record<string, Float64Array>>;

export function randomData(random: Random): Data {
  const values = (count: number, draw: () => number): Float64Array => Float64Array.from({ length: count }, draw);
  const eighths = (): number => (random(65) - 32) / 8;
  return {
    w: values(ROWS * COLUMNS, () => random(3) - 1),
    m: values(ROWS * COLUMNS, eighths),
    x: values(COLUMNS, eighths),
    n: values(COLUMNS, () => random(COLUMNS)),
    s: values(1, eighths),
    out: values(COLUMNS, eighths),
    grid: values(ROWS * COLUMNS, eighths),
    codes: values(COLUMNS, () => random(9) - 4),
  };
}

const WRITTEN = ["out", "grid", "codes"];

/** What a kernel leaves in the arrays that it writes, and what it returns. */
export type Left = Readonly<Record<string, ArrayLike<number>>>;

function compareRuns(text: string, data: Data): string {
  const exact = compileOne(text, { arithmetic: "f64", strictSums: true });
  if (exact === undefined) return "refused";
  const interpreted = runInterpreted(exact, data);
  const evaluated = runProgram(exact, data, exact.program(), evaluate);
  const compiled = runProgram(exact, data, exact.program(), runWasm);
  same("the interpreter and the loops", interpreted, evaluated);
  same("the loops and WebAssembly", evaluated, compiled);
  const plain = runPlain(text, data);
  if (plain !== undefined) same("TypeScript and WebAssembly", plain, compiled);
  const fast = compileOne(text, { arithmetic: "f32" })!;
  const vectors = fast.program();
  same(
    "float32 loops and WebAssembly",
    runProgram(fast, data, vectors, evaluate),
    runProgram(fast, data, vectors, runWasm),
  );
  const strict = compileOne(text, { arithmetic: "f32", strictSums: true })!;
  const scalars = strict.program({ lanes: 1, joinsVectors: false });
  same(
    "vectors and scalars",
    runProgram(strict, data, strict.program(), runWasm),
    runProgram(strict, data, scalars, runWasm),
  );
  return plain === undefined ? "read alike, but for a row that JavaScript refused" : "compiled, and read alike";
}

export function compileOne(
  text: string,
  options: Parameters<typeof compileKernelSource>[1],
): CompiledKernel | undefined {
  const { kernels, diagnostics } = compileKernelSource(text, options);
  const [first] = diagnostics;
  if (first === undefined) return kernels[0];
  // An index may be outside for all values of its counter, and a variable may be a boolean at heart; nothing else.
  assert.ok(first.code === "FK009" || first.code === "FK013" || first.code === "FK008", formatDiagnostic(first));
  return undefined;
}

/** NaN are all alike, and so are the two zeros. */
export function same(what: string, a: Left, b: Left): void {
  for (const [name, values] of Object.entries(a)) {
    for (let i = 0; i < values.length; i++) {
      const [left, right] = [values[i], b[name][i]];
      const alike = left === right || (Number.isNaN(left) && Number.isNaN(right));
      assert.ok(alike, `${what} differ in ${name}[${i}]: ${left} and ${right}`);
    }
  }
}

/** Runs the text as TypeScript; undefined when it reads a row that is not there, which is an error in JavaScript. */
function runPlain(text: string, data: Data): Left | undefined {
  const script = new vm.Script(stripTypeScriptTypes(text));
  const fn = script.runInThisContext() as (...args: unknown[]) => number | void;
  const rows = (name: string): unknown => {
    const made = tensor([ROWS, COLUMNS]);
    made.forEach((row, r) => row.set(data[name].subarray(r * COLUMNS, (r + 1) * COLUMNS)));
    return made;
  };
  const floats = (name: string): Float32Array => Float32Array.from(data[name]);
  const out = floats("out");
  const grid = rows("grid") as Float32Array[];
  const codes = Int32Array.from(data.codes);
  const w = ternary([ROWS, COLUMNS], data.w, 0.5);
  const args = [w, rows("m"), floats("x"), Int32Array.from(data.n), data.s[0], out, grid, codes];
  try {
    const returned = fn(...args);
    const flat = Float64Array.from(grid.flatMap((row) => [...row]));
    return { out, grid: flat, codes, ...(typeof returned === "number" && { return: [returned] }) };
  } catch (error) {
    if (error instanceof Error && error.name === "TypeError") return undefined;
    throw error;
  }
}

// What scripts find: `kernel` gives the function back, as the real one does.
Object.assign(globalThis, { kernel: (fn: unknown) => fn, vector });

export function hostOf(type: TensorType, values: Float64Array): HostTensor {
  return { type, data: values.slice(), ...(type.dtype === "ternary" && { scales: Float64Array.of(0.5) }) };
}

function runInterpreted(kernel: CompiledKernel, data: Data): Left {
  const { inputs, results } = kernel.signature;
  const types = kernel.graph.parameters.map(({ type }) => type);
  const values = interpret(
    kernel.graph,
    inputs.map((array, i) => hostOf(types[i], data[array.name])),
  );
  return { ...unwritten(kernel, data), ...Object.fromEntries(results.map((array, i) => [array.name, values[i].data])) };
}

/** What a kernel does not write stays as it was. */
export function unwritten(kernel: CompiledKernel, data: Data): Left {
  const written = new Set(kernel.signature.results.map(({ name }) => name));
  return Object.fromEntries(WRITTEN.filter((name) => !written.has(name)).map((name) => [name, data[name]]));
}

type Run = (program: Program, memory: WebAssembly.Memory, places: Places) => void;

interface Places {
  readonly bindings: readonly number[];
  readonly arena: number;
  readonly scratch: number;
  readonly table: number;
  readonly control: number;
}

const evaluate: Run = (program, memory, { bindings, arena, scratch }) => {
  evaluateProgram(program, memory.buffer, bindings, arena, scratch);
};

export const runWasm: Run = (program, memory, { bindings, arena, scratch, table, control }) => {
  const pages = memory.buffer.byteLength / 65536;
  const binary = compileProgramToWasm(program, { maximumPages: pages });
  const module = new WebAssembly.Module(binary as Uint8Array<ArrayBuffer>);
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as WasmProgramExports;
  new Int32Array(memory.buffer, table, bindings.length).set(bindings.map((address) => address / ADDRESS_BYTES));
  run(0, table / ADDRESS_BYTES, arena / ADDRESS_BYTES, scratch / ADDRESS_BYTES, control);
};

/** Runs a program over a memory of its own that is full of NaN, and reads its results. */
export function runProgram(kernel: CompiledKernel, data: Data, program: Program, run: Run): Left {
  const { inputs, results, donations } = kernel.signature;
  const inputTypes = kernel.graph.parameters.map(({ type }) => type);
  const resultTypes = kernel.graph.results.map(({ type }) => type);
  let end = 1024;
  const place = (sizeBytes: number): number => {
    const at = end;
    end += roundUp(Math.max(sizeBytes, 1), 64);
    return at;
  };
  const [control, table] = [place(256), place(program.bindingCount * 4 + 64)];
  const parameters = inputTypes.map((type) => place(storageBytes(type)));
  const targets = resultTypes.map((type, i) => {
    const donation = donations.find(({ result }) => result === i);
    return donation === undefined ? place(storageBytes(type)) : parameters[donation.parameter];
  });
  const [arena, scratch] = [place(program.arenaBytes), place(scratchStrideBytes(program))];
  const pages = Math.ceil(end / 65536) + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  new Uint8Array(memory.buffer).fill(0xff, 1024 + 256);
  inputs.forEach((array, i) => {
    const bytes = new Uint8Array(memory.buffer, parameters[i], storageBytes(inputTypes[i]));
    encodeTensor(hostOf(inputTypes[i], data[array.name]), bytes);
  });
  const bindings = [...parameters, ...targets];
  run(program, memory, { bindings, arena, scratch, table, control });
  const read = results.map((array, i) => {
    const bytes = new Uint8Array(memory.buffer, targets[i], storageBytes(resultTypes[i]));
    return [array.name, decodeTensor(resultTypes[i], bytes).data] as const;
  });
  return { ...unwritten(kernel, data), ...Object.fromEntries(read) };
}
