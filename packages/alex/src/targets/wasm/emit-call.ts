// Calls of a program's kernels inside its schedule: chunk number, scratch memory and the addresses of the arguments.
// Left out: which member runs what; see emit-program.ts for one member, emit-walk.ts for a team.

import type { BufferArgument, KernelCall, LoopLimit, Program } from "@fidelity/core";
import { ADDRESS_BYTES } from "../team.ts";
import type { FunctionBody } from "./encoder.ts";
import { VALUE } from "./encoder.ts";
import { OP } from "./opcodes.ts";

/** Parameters of `run` and its two copies, in order. */
export const PARAMETER = { member: 0, bindings: 1, arena: 2, scratch: 3, control: 4, epoch: 5 } as const;
export const RUN_PARAMETERS = new Array(6).fill(VALUE.i32) as readonly (typeof VALUE.i32)[];

/** The distance between the scratch memories of two members. */
export function scratchStrideBytes(program: Pick<Program, "scratchBytes">): number {
  return Math.ceil(program.scratchBytes / 64) * 64;
}

/** Emits calls into a function with `RUN_PARAMETERS`. */
export class CallEmitter {
  readonly #program: Program;
  readonly #kernels: readonly number[];
  readonly #body: FunctionBody;
  readonly #pushCounter: (depth: number) => void;
  readonly #scratch: number;
  readonly #chunk: number;

  /** `pushCounter` pushes the iteration of the open loop at a depth. */
  constructor(program: Program, kernels: readonly number[], body: FunctionBody, pushCounter: (depth: number) => void) {
    this.#program = program;
    this.#kernels = kernels;
    this.#body = body;
    this.#pushCounter = pushCounter;
    this.#scratch = body.local(VALUE.i32);
    this.#chunk = body.local(VALUE.i32);
    body.get(PARAMETER.scratch).get(PARAMETER.member).i32(scratchStrideBytes(program));
    body.op(OP.i32Mul).op(OP.i32Add).set(this.#scratch);
  }

  /** All chunks of some calls, one after the other. */
  inOrder(calls: readonly KernelCall[]): void {
    for (const call of calls) {
      if (call.chunks === 1) {
        this.call(call, () => this.#body.i32(0));
        continue;
      }
      this.#body.i32(0).set(this.#chunk).loop();
      this.call(call, () => this.#body.get(this.#chunk));
      this.#body.get(this.#chunk).i32(1).op(OP.i32Add).tee(this.#chunk);
      this.#body.i32(call.chunks).op(OP.i32LtU).brIf(0).end();
    }
  }

  /** One chunk of a call. */
  call(call: KernelCall, pushChunk: () => void): void {
    pushChunk();
    this.#body.get(this.#scratch);
    for (const argument of call.args) this.#argument(argument);
    this.#body.call(this.#kernels[call.kernel]);
  }

  /** Pushes the first iteration of a loop with a limit. */
  firstIteration(count: number, { keeps, cell }: LoopLimit): void {
    this.#body.i32(0);
    if (keeps === "first") return;
    this.#body.i32(count);
    this.#cell(cell);
    this.#body.op(OP.i32Sub);
    this.#cell(cell);
    this.#body.i32(count).op(OP.i32GtU).op(OP.select);
  }

  /** Pushes whether a loop runs the iteration that a local holds: below `count`, and below what is in `limit`. */
  runsIteration(iteration: number, count: number, limit: BufferArgument | undefined): void {
    this.#body.get(iteration).i32(count).op(OP.i32LtU);
    if (limit === undefined) return;
    this.#body.get(iteration);
    this.#cell(limit);
    this.#body.op(OP.i32LtU).op(OP.i32And);
  }

  /** Pushes the i32 in memory that an argument names. */
  #cell(argument: BufferArgument): void {
    this.#argument(argument);
    this.#body.memory(OP.i32Load, 2, 0);
  }

  #argument(argument: BufferArgument): void {
    const body = this.#body;
    const { placement } = this.#program.buffers[argument.buffer];
    let offset = argument.offsetBytes;
    if (placement.kind === "arena") {
      body.get(PARAMETER.arena);
      offset += placement.offsetBytes;
    } else {
      body
        .get(PARAMETER.bindings)
        .memory(OP.i32Load, 2, placement.slot * 4)
        .i32(ADDRESS_BYTES)
        .op(OP.i32Mul);
    }
    if (offset !== 0) body.i32(offset).op(OP.i32Add);
    argument.strideBytes?.forEach((stride, depth) => {
      if (stride === 0) return;
      this.#pushCounter(depth);
      body.i32(stride).op(OP.i32Mul).op(OP.i32Add);
    });
  }
}
