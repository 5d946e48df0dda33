// A program as one WebAssembly module: a function for each kernel, and `run`, which walks the schedule on one member of
// a thread team: with others (emit-walk.ts), or alone, on a second copy of the schedule that has no atomics.
// Profiling and memory are the runtime's.

import type { Program, ScheduleItem } from "@fidelity/core";
import { ADDRESS_BYTES } from "../team.ts";
import type { FunctionBody } from "./encoder.ts";
import { ModuleBuilder, VALUE } from "./encoder.ts";
import { CallEmitter, PARAMETER, RUN_PARAMETERS } from "./emit-call.ts";
import { emitKernel, kernelParameters } from "./emit-kernel.ts";
import type { CodeListener } from "./emit-kernel.ts";
import { addTeamWalk } from "./emit-walk.ts";
import { OP } from "./opcodes.ts";

export { scratchStrideBytes } from "./emit-call.ts";

/** The exports of a compiled program. */
export interface WasmProgramExports {
  /**
   * Takes part in a run until it is over: returns 0 then, or 1 when it failed. A member may come late, or not at all:
   * the others do its share. One whose run is over already touches nothing and returns. Without an epoch it is no run
   * of a team: the member does everything by itself, and the control block is left alone. Addresses count
   * `ADDRESS_BYTES`, but for `control`.
   *
   * @param member this member's number in the team
   * @param bindings address of a table of 32-bit addresses, one for each binding slot
   * @param arena address of the arena, `program.arenaBytes` long
   * @param scratch address of the members' scratch memory, 64-byte aligned, `scratchStrideBytes(program)` for each
   * @param control address in bytes of the team's control block: `CONTROL_BYTES`, 64-byte aligned, zeroed once
   * @param epoch the number that the run was started with: `startRun` of team.ts
   */
  run(member: number, bindings: number, arena: number, scratch: number, control: number, epoch?: number): number;
}

export interface WasmProgramOptions {
  /** Upper limit of the maximum of the shared memory that the module will import as env.memory, in 64 KiB pages. */
  readonly maximumPages: number;
  /** Hears which code each instruction of a kernel, given by its number, became. */
  readonly listener?: (kernel: number, ...code: Parameters<CodeListener>) => void;
}

/**
 * Compiles a verified program to the bytes of a module that imports `env.memory` (shared) and exports
 * `WasmProgramExports`.
 * @throws WasmTargetError when a kernel uses what 128-bit WebAssembly SIMD does not have, or the schedule is too long
 * for a team.
 */
export function compileProgramToWasm(program: Program, options: WasmProgramOptions): Uint8Array {
  const module = new ModuleBuilder(options.maximumPages);
  const { listener } = options;
  const kernels = program.kernels.map((kernel, number) => {
    const { index, body } = module.function(kernel.name, kernelParameters(kernel), []);
    emitKernel(kernel, body, listener && ((...code) => listener(number, ...code)));
    return index;
  });
  const alone = addLoneWalk(module, program, kernels);
  const shared = addTeamWalk(module, program, kernels);
  const run = module.function("run", RUN_PARAMETERS, [VALUE.i32]);
  run.body.get(PARAMETER.epoch).op(OP.i32Eqz).if();
  pushParameters(run.body);
  run.body.call(alone).i32(0).return().end();
  pushParameters(run.body);
  run.body.call(shared);
  module.export("run", run.index);
  return module.encode();
}

/** Pushes what `run` was given, with addresses in bytes. */
function pushParameters(body: FunctionBody): void {
  const { bindings, arena, scratch } = PARAMETER;
  for (const parameter of Object.values(PARAMETER)) {
    body.get(parameter);
    if (parameter === bindings || parameter === arena || parameter === scratch) body.i32(ADDRESS_BYTES).op(OP.i32Mul);
  }
}

/** The schedule in order, all chunks on this member. */
function addLoneWalk(module: ModuleBuilder, program: Program, kernels: readonly number[]): number {
  const { index, body } = module.function("run.alone", RUN_PARAMETERS, []);
  /** Locals that count the iterations of the open loops, outermost first. */
  const counters: number[] = [];
  const calls = new CallEmitter(program, kernels, body, (depth) => body.get(counters[depth]));
  emitItems(program.schedule, body, calls, counters);
  return index;
}

/** A loop whose counter is the last one. */
function emitLoop(
  { count, limit, items }: ScheduleItem & { readonly kind: "loop" },
  body: FunctionBody,
  calls: CallEmitter,
  counters: number[],
): void {
  const counter = counters[counters.length - 1];
  const cell = limit?.keeps === "first" ? limit.cell : undefined;
  if (limit === undefined) {
    body.i32(0).set(counter);
  } else {
    calls.firstIteration(count, limit);
    body.set(counter);
    calls.runsIteration(counter, count, cell);
    body.if();
  }
  body.loop();
  emitItems(items, body, calls, counters);
  body.get(counter).i32(1).op(OP.i32Add).set(counter);
  calls.runsIteration(counter, count, cell);
  body.brIf(0).end();
  if (limit !== undefined) body.end();
}

function emitItems(items: readonly ScheduleItem[], body: FunctionBody, calls: CallEmitter, counters: number[]): void {
  for (const item of items) {
    if (item.kind !== "loop") {
      calls.inOrder(item.calls);
      continue;
    }
    const counter = body.local(VALUE.i32);
    counters.push(counter);
    emitLoop(item, body, calls, counters);
    counters.pop();
  }
}
