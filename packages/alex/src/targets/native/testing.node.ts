// Support for tests of native code: many small programs joined to one, which is compiled, loaded and run once, since
// starting the tools costs more than any of these programs; and why a machine cannot run them.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { decodeTensor, encodeTensor, evaluateProgram, storageBytes } from "@fidelity/core";
import type {
  BufferArgument,
  CompileOptions,
  Graph,
  HostTensor,
  Kernel,
  Program,
  ProgramBuffer,
  ScheduleItem,
  VectorTarget,
} from "@fidelity/core";
import { compileGraph } from "../../compile.ts";
import { ADDRESS_BYTES } from "../team.ts";
import { scratchStrideBytes } from "../wasm/index.ts";
import { LibraryCache } from "./cache.node.ts";
import { openNative } from "./entry.node.ts";
import { createNativeTarget } from "./index.node.ts";
import type { NativeTarget } from "./index.node.ts";
import { hostMachine } from "./machine.node.ts";
import { machineOf, vectorsOf } from "./machine.ts";
import type { NativeMachine } from "./machine.ts";
import { printModules } from "./print-program.ts";
import { buildLibrary, findToolchain, searchTools } from "./toolchain.node.ts";

const GRANULE_BYTES = 64;
const PAGE_BYTES = 65536;

const roundUp = (bytes: number): number => Math.ceil(Math.max(bytes, 1) / GRANULE_BYTES) * GRANULE_BYTES;

/** Why native code cannot be made and run here, or false: for `skip`. */
export function whyNoNative(): string | false {
  const { missing } = searchTools();
  if (missing.length > 0) return `needs ${missing.map((tool) => `${tool}-19`).join(", ")} (tools/setup.sh)`;
  if (process.platform !== "linux") return `runs on Linux, not on ${process.platform}`;
  return false;
}

/** The machines of this processor's kind that it can run: the best one, and those that all of its kind can run. */
export function runnableMachines(): NativeMachine[] {
  const host = hostMachine({});
  const names = ["x86-64-v4", "x86-64-v3", "x86-64", "x86-64+ssse3", "aarch64", "riscv64"];
  const others = names.map(machineOf).filter((machine) => {
    if (machine.architecture !== host.architecture || machine.name === host.name) return false;
    return [...machine.features].every((feature) => host.features.has(feature));
  });
  return [host, ...others];
}

/** The native target with a cache of its own, which is to be removed at the end. */
export function temporaryNativeTarget(): { readonly target: NativeTarget; remove(): void } {
  const directory = mkdtempSync(path.join(os.tmpdir(), "fidelity-test-"));
  const target = createNativeTarget({ cache: new LibraryCache(directory) });
  return { target, remove: () => rmSync(directory, { recursive: true }) };
}

/** A program's place in a joined one: offsets in its arena, of each binding and of the program's own arena. */
export interface PlacedProgram {
  readonly bindings: readonly number[];
  readonly arena: number;
}

/**
 * One program that runs others one after the other, with all of their buffers in its arena. `slotBytes` says what each
 * program's bindings take at least.
 */
export function joinPrograms(
  programs: readonly Program[],
  slotBytes: readonly (readonly number[])[] = [],
): { readonly joined: Program; readonly placed: readonly PlacedProgram[] } {
  const kernels: Kernel[] = [];
  const known = new Map<string, number>();
  const buffers: ProgramBuffer[] = [];
  const schedule: ScheduleItem[] = [];
  let end = 0;
  const place = (sizeBytes: number): number => {
    const at = end;
    end += roundUp(sizeBytes);
    return at;
  };
  const placed = programs.map((program, i): PlacedProgram => {
    const sizes = Array.from({ length: program.bindingCount }, (_, slot) => slotBytes[i]?.[slot] ?? 0);
    for (const { placement, sizeBytes } of program.buffers) {
      if (placement.kind === "binding") sizes[placement.slot] = Math.max(sizes[placement.slot], sizeBytes);
    }
    const bindings = sizes.map(place);
    const arena = place(program.arenaBytes);
    const firstBuffer = buffers.length;
    const numbers = program.kernels.map((kernel) => {
      const text = JSON.stringify(kernel, exactNumber);
      if (!known.has(text)) known.set(text, kernels.push(kernel) - 1);
      return known.get(text) ?? 0;
    });
    for (const { placement, ...rest } of program.buffers) {
      const at = placement.kind === "binding" ? bindings[placement.slot] : arena + placement.offsetBytes;
      buffers.push({ ...rest, placement: { kind: "arena", offsetBytes: at } });
    }
    const moved = (argument: BufferArgument): BufferArgument => {
      return { ...argument, buffer: firstBuffer + argument.buffer };
    };
    const move = (item: ScheduleItem): ScheduleItem => {
      if (item.kind === "loop") {
        const { limit } = item;
        const ends = limit === undefined ? {} : { limit: { ...limit, cell: moved(limit.cell) } };
        return { ...item, ...ends, items: item.items.map(move) };
      }
      const calls = item.calls.map((call) => ({ ...call, kernel: numbers[call.kernel], args: call.args.map(moved) }));
      return { ...item, calls };
    };
    schedule.push(...program.schedule.map(move));
    return { bindings, arena };
  });
  const scratchBytes = programs.reduce((most, program) => Math.max(most, program.scratchBytes), 0);
  const joined: Program = {
    name: "joined",
    kernels,
    buffers,
    bindingCount: 0,
    arenaBytes: end,
    scratchBytes,
    schedule,
    constants: [],
  };
  return { joined, placed };
}

/** JSON has no infinities, NaN or -0; kernels have. */
function exactNumber(_key: string, value: unknown): unknown {
  return typeof value === "number" ? `${value} ${1 / value}` : value;
}

/** Memory for a program: zeros, the arena at `arena` and the scratch of one member at `scratch`. */
export interface TestMemory {
  readonly memory: WebAssembly.Memory;
  readonly arena: number;
  readonly scratch: number;
}

export function testMemory(program: Program): TestMemory {
  const arena = 1024;
  const scratch = arena + roundUp(program.arenaBytes);
  const pages = Math.ceil((scratch + scratchStrideBytes(program)) / PAGE_BYTES);
  return { memory: new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }), arena, scratch };
}

/** Compiles a program for a machine and runs it once, on the calling thread. */
export async function runNative(program: Program, machine: NativeMachine, place: TestMemory): Promise<void> {
  const { modules } = printModules(program, machine, os.availableParallelism());
  const library = await buildLibrary(findToolchain(), machine, modules);
  const directory = mkdtempSync(path.join(os.tmpdir(), "fidelity-test-"));
  try {
    const file = path.join(directory, "program.so");
    writeFileSync(file, library);
    const entry = openNative(file, place.memory);
    entry.run(0, 0, place.arena / ADDRESS_BYTES, place.scratch / ADDRESS_BYTES, 0);
    entry.close?.();
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** How tests run a joined program once. */
export type RunJoined = (joined: Program, place: TestMemory) => Promise<void>;

/** As `differencesOf`, on the processor. */
export function differencesFromEvaluator(
  programs: readonly Program[],
  inputs: Uint8Array,
  machine: NativeMachine,
): Promise<string[]> {
  return differencesOf(programs, inputs, (joined, place) => runNative(joined, machine, place));
}

/**
 * Runs programs whose buffers are all in their arenas, each over an arena that begins with `inputs`, by `run` and on
 * the evaluator. Gives what differs, in words; two NaN are the same whatever their payload.
 */
export async function differencesOf(
  programs: readonly Program[],
  inputs: Uint8Array,
  run: RunJoined,
): Promise<string[]> {
  const { joined, placed } = joinPrograms(programs);
  const place = testMemory(joined);
  const bytes = new Uint8Array(place.memory.buffer);
  for (const { arena } of placed) bytes.set(inputs, place.arena + arena);
  const expected = bytes.slice().buffer;
  programs.forEach((program, i) =>
    evaluateProgram(program, expected, [], place.arena + placed[i].arena, place.scratch),
  );
  await run(joined, place);
  return programs.flatMap((program, i) => {
    const at = place.arena + placed[i].arena;
    const views = [place.memory.buffer, expected].map((buffer) => new DataView(buffer, at, program.arenaBytes));
    return difference(program.name, views[0], views[1]);
  });
}

/** The first difference between two arenas; two NaN are the same whatever their payload. */
export function difference(name: string, got: DataView, wanted: DataView): string[] {
  for (let at = 0; at + 4 <= got.byteLength; at += 4) {
    if (got.getInt32(at, true) === wanted.getInt32(at, true)) continue;
    const pair = at - (at % 8);
    const bothNaN =
      (Number.isNaN(got.getFloat32(at, true)) && Number.isNaN(wanted.getFloat32(at, true))) ||
      (Number.isNaN(got.getFloat64(pair, true)) && Number.isNaN(wanted.getFloat64(pair, true)));
    const bits = (view: DataView): string => view.getUint32(at, true).toString(16).padStart(8, "0");
    if (!bothNaN) return [`${name}: byte ${at} of the arena is ${bits(got)}, not ${bits(wanted)}`];
  }
  return [];
}

/** A graph to run, on these inputs. */
export interface GraphRun {
  readonly graph: Graph;
  readonly inputs: readonly HostTensor[];
  readonly options?: CompileOptions;
}

/** Graphs compiled for a target and joined to one program. */
export interface JoinedGraphs {
  readonly programs: readonly Program[];
  readonly joined: Program;
  readonly placed: readonly PlacedProgram[];
}

/** Compiles graphs for what generators know of a target, and joins their programs. */
export function joinGraphs(runs: readonly GraphRun[], target: VectorTarget): JoinedGraphs {
  const programs = runs.map(({ graph, options }) => compileGraph(graph, { ...options, target, verify: true }));
  const slotBytes = runs.map(({ graph }) =>
    [...graph.parameters, ...graph.results].map(({ type }) => storageBytes(type)),
  );
  return { programs, ...joinPrograms(programs, slotBytes) };
}

/** Compiles graphs for a machine, as one library, and runs them once; memory that they have not written is NaN. */
export function runGraphs(
  runs: readonly GraphRun[],
  machine: NativeMachine,
  target: VectorTarget = vectorsOf(machine),
): Promise<HostTensor[][]> {
  return runJoined(runs, joinGraphs(runs, target), (joined, place) => runNative(joined, machine, place));
}

/** Runs joined graphs once by `run`, with their inputs in memory; what they have not written is NaN. */
export async function runJoined(
  runs: readonly GraphRun[],
  { programs, joined, placed }: JoinedGraphs,
  run: RunJoined,
): Promise<HostTensor[][]> {
  const place = testMemory(joined);
  new Uint8Array(place.memory.buffer).fill(0xff);
  const slotOf = (i: number, slot: number, sizeBytes: number): Uint8Array =>
    new Uint8Array(place.memory.buffer, place.arena + placed[i].bindings[slot], sizeBytes);
  runs.forEach(({ inputs }, i) => {
    inputs.forEach((input, slot) => encodeTensor(input, slotOf(i, slot, storageBytes(input.type))));
    for (const { buffer, bytes } of programs[i].constants) {
      const { placement } = programs[i].buffers[buffer];
      if (placement.kind === "binding") slotOf(i, placement.slot, bytes.byteLength).set(bytes);
    }
  });
  await run(joined, place);
  return runs.map(({ graph, options }, i) =>
    graph.results.map(({ type }, result) => {
      const donor = options?.donations?.find((donation) => donation.result === result);
      const slot = donor?.parameter ?? graph.parameters.length + result;
      return decodeTensor(type, slotOf(i, slot, storageBytes(type)));
    }),
  );
}
