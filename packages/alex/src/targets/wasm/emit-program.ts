// A program as one WebAssembly module: a function for each kernel, and `run`, which walks the schedule on one member of
// a thread team. Every member calls `run` with the same arguments but for its number; when it returns, all of the
// program's work is done and the control block is ready for the next run.
// A team of one runs a second copy of the schedule that has no atomics. Profiling and memory are the runtime's.

import type { BufferArgument, KernelCall, Program, ScheduleItem } from "@fidelity/core";
import type { FunctionBody } from "./encoder.ts";
import { ModuleBuilder, VALUE } from "./encoder.ts";
import { emitKernel, kernelParameters } from "./emit-kernel.ts";
import { OP } from "./opcodes.ts";
import { CONTROL, addTeamFunctions } from "./team.ts";
import type { TeamFunctions } from "./team.ts";

/** The signature of a compiled program's export `run`. */
export interface WasmProgramExports {
  /**
   * @param member this member's number, below `members`
   * @param members size of the team; all of them must call
   * @param bindings address of a table of i32 addresses, one for each binding slot
   * @param arena address of the arena, `program.arenaBytes` long
   * @param scratch address of the members' scratch memory, 64-byte aligned, `scratchStrideBytes(program)` for each
   * @param control address of the team's control block: `CONTROL_BYTES`, 64-byte aligned, zeroed once
   */
  run(member: number, members: number, bindings: number, arena: number, scratch: number, control: number): void;
}

export interface WasmProgramOptions {
  /** Upper limit of the maximum of the shared memory that the module will import as env.memory, in 64 KiB pages. */
  readonly maximumPages: number;
}

/** The distance between the scratch memories of two members. */
export function scratchStrideBytes(program: Program): number {
  return Math.ceil(program.scratchBytes / 64) * 64;
}

const PARAMETER = { member: 0, members: 1, bindings: 2, arena: 3, scratch: 4, control: 5 } as const;
const RUN_PARAMETERS = new Array(6).fill(VALUE.i32) as readonly (typeof VALUE.i32)[];

/**
 * Compiles a verified program to the bytes of a module that imports `env.memory` (shared) and exports `run`
 * (`WasmProgramExports`).
 * @throws WasmTargetError when a kernel uses what 128-bit WebAssembly SIMD does not have.
 */
export function compileProgramToWasm(program: Program, options: WasmProgramOptions): Uint8Array {
  const module = new ModuleBuilder(options.maximumPages);
  const kernels = program.kernels.map((kernel) => {
    const { index, body } = module.function(kernel.name, kernelParameters(kernel), []);
    emitKernel(kernel, body);
    return index;
  });
  const team = addTeamFunctions(module);
  const alone = addWalk(module, "run.alone", program, kernels, undefined);
  const shared = addWalk(module, "run.team", program, kernels, team);
  const run = module.function("run", RUN_PARAMETERS, []);
  run.body.get(PARAMETER.members).i32(1).op(OP.i32Eq).if();
  for (const parameter of Object.values(PARAMETER)) run.body.get(parameter);
  run.body.call(alone).else();
  for (const parameter of Object.values(PARAMETER)) run.body.get(parameter);
  run.body.call(shared).end();
  module.export("run", run.index);
  return module.encode();
}

function addWalk(
  module: ModuleBuilder,
  name: string,
  program: Program,
  kernels: readonly number[],
  team: TeamFunctions | undefined,
): number {
  const { index, body } = module.function(name, RUN_PARAMETERS, []);
  new ScheduleEmitter(program, kernels, body, team).emit();
  return index;
}

class ScheduleEmitter {
  readonly #program: Program;
  readonly #kernels: readonly number[];
  readonly #body: FunctionBody;
  readonly #team: TeamFunctions | undefined;
  readonly #scratch: number;
  readonly #chunk: number;
  /** Locals that count the iterations of the open loops, outermost first. */
  readonly #counters: number[] = [];

  constructor(program: Program, kernels: readonly number[], body: FunctionBody, team: TeamFunctions | undefined) {
    this.#program = program;
    this.#kernels = kernels;
    this.#body = body;
    this.#team = team;
    this.#scratch = body.local(VALUE.i32);
    this.#chunk = body.local(VALUE.i32);
  }

  emit(): void {
    this.#body.get(PARAMETER.scratch).get(PARAMETER.member).i32(scratchStrideBytes(this.#program));
    this.#body.op(OP.i32Mul).op(OP.i32Add).set(this.#scratch);
    this.#items(this.#program.schedule);
  }

  /** Serial items ride on the barrier after the parallel item before them: its last member to arrive does them. */
  #items(items: readonly ScheduleItem[]): void {
    for (let at = 0; at < items.length;) {
      const item = items[at++];
      if (item.kind === "loop") {
        this.#loop(item.count, item.items);
        continue;
      }
      const serial: KernelCall[] = [];
      const leads = item.kind === "serial";
      if (item.kind === "serial") serial.push(...item.calls);
      else this.#parallel(item.calls);
      for (let next = items[at]; next?.kind === "serial"; next = items[++at]) serial.push(...next.calls);
      if (this.#team === undefined) this.#inOrder(serial);
      else if (leads) this.#leadingSerial(serial, this.#team);
      else this.#barrier(serial, this.#team);
    }
  }

  #loop(count: number, items: readonly ScheduleItem[]): void {
    const counter = this.#body.local(VALUE.i32);
    this.#counters.push(counter);
    this.#body.i32(0).set(counter).loop();
    this.#items(items);
    this.#body.get(counter).i32(1).op(OP.i32Add).tee(counter).i32(count).op(OP.i32LtU).brIf(0).end();
    this.#counters.pop();
  }

  /** Nobody has to arrive before member 0 may start: the barrier that ended the item before has seen to that. */
  #leadingSerial(calls: readonly KernelCall[], team: TeamFunctions): void {
    this.#body.get(PARAMETER.member).op(OP.i32Eqz).if();
    this.#inOrder(calls);
    this.#body.end();
    this.#barrier([], team);
  }

  #barrier(work: readonly KernelCall[], team: TeamFunctions): void {
    this.#body.get(PARAMETER.members).get(PARAMETER.control).call(team.arrive).if();
    this.#inOrder(work);
    this.#body.get(PARAMETER.control).call(team.release).end();
  }

  /** All chunks of some calls on this member. */
  #inOrder(calls: readonly KernelCall[]): void {
    for (const call of calls) {
      if (call.chunks === 1) {
        this.#call(call, () => this.#body.i32(0));
        continue;
      }
      this.#body.i32(0).set(this.#chunk).loop();
      this.#call(call, () => this.#body.get(this.#chunk));
      this.#body.get(this.#chunk).i32(1).op(OP.i32Add).tee(this.#chunk);
      this.#body.i32(call.chunks).op(OP.i32LtU).brIf(0).end();
    }
  }

  #parallel(calls: readonly KernelCall[]): void {
    if (this.#team === undefined) return this.#inOrder(calls);
    const starts: number[] = [];
    let total = 0;
    for (const call of calls) {
      starts.push(total);
      total += call.chunks;
    }
    this.#body.block().loop();
    this.#body.get(PARAMETER.control).i32(1).memory(OP.i32AtomicAdd, 2, CONTROL.next).tee(this.#chunk);
    this.#body.i32(total).op(OP.i32GeU).brIf(1);
    this.#dispatch(calls, starts, 0, calls.length);
    this.#body.br(0).end().end();
  }

  /** Calls the kernel that the claimed number belongs to, found by halving. */
  #dispatch(calls: readonly KernelCall[], starts: readonly number[], from: number, to: number): void {
    const body = this.#body;
    if (to - from === 1) {
      this.#call(calls[from], () => {
        body.get(this.#chunk);
        if (starts[from] > 0) body.i32(starts[from]).op(OP.i32Sub);
      });
      return;
    }
    const middle = (from + to) >> 1;
    body.get(this.#chunk).i32(starts[middle]).op(OP.i32LtU).if();
    this.#dispatch(calls, starts, from, middle);
    body.else();
    this.#dispatch(calls, starts, middle, to);
    body.end();
  }

  #call(call: KernelCall, pushChunk: () => void): void {
    pushChunk();
    this.#body.get(this.#scratch);
    for (const argument of call.args) this.#argument(argument);
    this.#body.call(this.#kernels[call.kernel]);
  }

  #argument(argument: BufferArgument): void {
    const body = this.#body;
    const { placement } = this.#program.buffers[argument.buffer];
    let offset = argument.offsetBytes;
    if (placement.kind === "arena") {
      body.get(PARAMETER.arena);
      offset += placement.offsetBytes;
    } else {
      body.get(PARAMETER.bindings).memory(OP.i32Load, 2, placement.slot * 4);
    }
    if (offset !== 0) body.i32(offset).op(OP.i32Add);
    argument.strideBytes?.forEach((stride, depth) => {
      if (stride === 0) return;
      body.get(this.#counters[depth]).i32(stride).op(OP.i32Mul).op(OP.i32Add);
    });
  }
}
