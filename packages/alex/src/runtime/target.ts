// What a target of the processor gives the runtime: programs as something that every member of a team can load, and a
// way to load it. Both targets' programs work over the same memory by the same protocol (targets/team.ts), so device,
// executables and team do not know which one they run.

import { MEMORY32_BYTES_MAX, MEMORY64_BYTES_MAX } from "@fidelity/barewire";
import type { Program } from "@fidelity/core";
import { compileProgramToWasm } from "../targets/wasm/index.ts";
import { openWasm } from "./open-wasm.ts";

/** A compiled program as members are sent it. */
export type Loadable =
  | { readonly kind: "wasm"; readonly module: WebAssembly.Module }
  /** A shared library's file. */
  | { readonly kind: "native"; readonly path: string };

/** A program that a thread has loaded. Addresses are into the shared memory, in `ADDRESS_BYTES` but for `control`. */
export interface ProgramEntry {
  /**
   * Takes part in a run until it is over: returns 0 then, or 1 when it failed. A member may come late, or not at all:
   * the others do its share. One whose run is over already touches nothing and returns. Without an epoch it is no run
   * of a team: the member does everything by itself, and the control block is left alone.
   *
   * @param member this member's number in the team
   * @param bindings address of a table of 32-bit addresses, one for each binding slot
   * @param arena address of the arena, `program.arenaBytes` long
   * @param scratch address of the members' scratch memory, 64-byte aligned, `scratchStrideBytes(program)` for each
   * @param control address in bytes of the team's control block: `CONTROL_BYTES`, 64-byte aligned, zeroed once
   * @param epoch the number that the run was started with (`startRun` of targets/team.ts)
   * @param start the stage at which a run without a team starts, where the program's code has starts; 0 is all of it
   */
  run(
    member: number,
    bindings: number,
    arena: number,
    scratch: number,
    control: number,
    epoch?: number,
    start?: number,
  ): number;
  /** Gives back what loading took; the thread runs the program no more. */
  close?(): void;
}

/** Loads a compiled program on the calling thread, over the team's memory. */
export type ProgramOpener = (loadable: Loadable, memory: WebAssembly.Memory) => ProgramEntry;

export interface CompiledProgram {
  readonly loadable: Loadable;
  readonly sizeBytes: number;
  /** What `restore` makes the program of again, in another process. */
  readonly kept: Uint8Array;
  /** Stages at which runs of single items of the schedule start, where the target's code has them. */
  readonly starts?: readonly number[];
}

const REACH_BYTES = { wasm: MEMORY32_BYTES_MAX, native: MEMORY64_BYTES_MAX } as const;

/** The most memory that the code of a target reaches, by its name; Infinity where that is up to the machine. */
export function memoryReachBytes(target: string): number {
  return Object.hasOwn(REACH_BYTES, target) ? REACH_BYTES[target as keyof typeof REACH_BYTES] : Infinity;
}

export interface CpuTarget {
  readonly name: "wasm" | "native";
  /** All that its code depends on but the program and Fidelity itself: the machine, the tools. */
  readonly identity: string;
  /** The most memory that its code reaches. */
  readonly memoryBytesMax: number;
  /** `maximumPages` is the limit of the memory that the program will run over, in 64 KiB pages. */
  compile(program: Program, maximumPages: number): Promise<CompiledProgram>;
  /** The program of a `kept` of this identity, or undefined when what it stands for is gone. */
  restore(kept: Uint8Array): Promise<Omit<CompiledProgram, "starts"> | undefined>;
  readonly open: ProgramOpener;
}

/** WebAssembly, in every engine. */
export const wasmTarget: CpuTarget = {
  name: "wasm",
  identity: "",
  memoryBytesMax: memoryReachBytes("wasm"),
  compile: (program, maximumPages) => loadModule(compileProgramToWasm(program, { maximumPages })),
  restore: loadModule,
  open: openWasm,
};

async function loadModule(bytes: Uint8Array): Promise<CompiledProgram> {
  const module = await WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
  return { loadable: { kind: "wasm", module }, sizeBytes: bytes.byteLength, kept: bytes };
}
