// Support for this folder's tests: kernels and programs compiled and instantiated over a small shared memory.

import assert from "node:assert/strict";
import { buildKernel, evaluateProgram } from "@fidelity/core";
import type { Kernel, KernelBuilder, KernelCall, LoopType, LoopValue, Program } from "@fidelity/core";
import { compileProgramToWasm, scratchStrideBytes } from "./emit-program.ts";
import type { WasmProgramExports } from "./emit-program.ts";
import { ADDRESS_BYTES, CONTROL_BYTES, startRun } from "../team.ts";

export const PAGES = 4;

/** Where things are put in memory. */
export const LAYOUT = { bindings: 64, control: 1024, scratch: 4096, arena: 32768 } as const;

/** What `run` takes after the member. */
export const ADDRESSES = [
  LAYOUT.bindings / ADDRESS_BYTES,
  LAYOUT.arena / ADDRESS_BYTES,
  LAYOUT.scratch / ADDRESS_BYTES,
  LAYOUT.control,
] as const;

export function sharedMemory(): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
}

/** The exports of a program's module over `memory`, and what starts a run of a team there. */
export function exportsOf(
  bytes: Uint8Array,
  memory: WebAssembly.Memory,
): WasmProgramExports & { start(control: number, epoch: number): void } {
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  return {
    run: run as WasmProgramExports["run"],
    start: (control, epoch) => startRun(new Int32Array(memory.buffer, control, CONTROL_BYTES / 4), epoch),
  };
}

/** A program that runs one kernel over buffers placed one after another in the arena, `sizeBytes` each. */
export function programOf(kernel: Kernel, sizeBytes: number, chunks = 1): Program {
  const buffers = Array.from({ length: kernel.bufferCount }, (_, i) => i);
  const call: KernelCall = {
    kernel: 0,
    chunks,
    args: buffers.map((buffer) => ({ buffer, offsetBytes: 0 })),
    label: kernel.name,
  };
  return {
    name: kernel.name,
    kernels: [kernel],
    buffers: buffers.map((i) => ({
      name: `b${i}`,
      sizeBytes,
      placement: { kind: "arena", offsetBytes: i * sizeBytes },
    })),
    bindingCount: 0,
    arenaBytes: sizeBytes * buffers.length,
    scratchBytes: kernel.scratchBytes,
    schedule: [{ kind: "parallel", calls: [call] }],
    constants: [],
  };
}

/** Runs a program once on a team of one. */
export function runAlone(program: Program, memory: WebAssembly.Memory): void {
  const { run } = exportsOf(compileProgramToWasm(program, { maximumPages: PAGES }), memory);
  if (scratchStrideBytes(program) > LAYOUT.arena - LAYOUT.scratch) throw new RangeError("too much scratch memory");
  run(0, ...ADDRESSES);
}

/**
 * Runs a program as WebAssembly and on the evaluator, both over arenas that begin with `inputs`, and asserts that they
 * leave the same bytes; two NaN count as the same whatever their payload.
 */
export function compareWithEvaluator(program: Program, inputs: Uint8Array): void {
  const memory = sharedMemory();
  new Uint8Array(memory.buffer).set(inputs, LAYOUT.arena);
  const expected = new Uint8Array(memory.buffer).slice().buffer;
  evaluateProgram(program, expected, [], LAYOUT.arena, LAYOUT.scratch);
  runAlone(program, memory);
  const got = new DataView(memory.buffer, LAYOUT.arena, program.arenaBytes);
  const wanted = new DataView(expected, LAYOUT.arena, program.arenaBytes);
  for (let at = 0; at + 4 <= program.arenaBytes; at += 4) {
    if (got.getInt32(at, true) === wanted.getInt32(at, true)) continue;
    const pair = at - (at % 8);
    const bothNaN =
      (Number.isNaN(got.getFloat32(at, true)) && Number.isNaN(wanted.getFloat32(at, true))) ||
      (Number.isNaN(got.getFloat64(pair, true)) && Number.isNaN(wanted.getFloat64(pair, true)));
    const bits = (view: DataView): string => view.getUint32(at, true).toString(16);
    assert.ok(bothNaN, `${program.name}: byte ${at} of the arena is ${bits(got)}, not ${bits(wanted)}`);
  }
}

/** Applies an elementwise function to an array by a compiled kernel; the array's length must divide into vectors. */
export function mapByKernel<Values extends Float32Array | Float64Array>(
  input: Values,
  type: LoopType,
  apply: (k: KernelBuilder, x: LoopValue) => LoopValue,
): Values {
  const bytes = input.BYTES_PER_ELEMENT;
  const kernel = buildKernel("map", 2, (k, [source, target]) => {
    k.loop(0, input.length, type.lanes, (i) => {
      k.store(apply(k, k.load(type, k.offset(source, i, bytes))), k.offset(target, i, bytes));
    });
  });
  const memory = sharedMemory();
  const create = input.constructor as new (buffer: ArrayBufferLike, offset: number, length: number) => Values;
  create.prototype.set.call(new create(memory.buffer, LAYOUT.arena, input.length), input);
  runAlone(programOf(kernel, input.byteLength), memory);
  return new create(memory.buffer, LAYOUT.arena + input.byteLength, input.length);
}
