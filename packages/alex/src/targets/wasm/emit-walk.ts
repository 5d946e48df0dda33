// The walk of one member through a schedule that it shares with a team: look at the team's word, claim a chunk, run it,
// finish it; the member that finishes a stage's last chunk does the serial work behind it and opens the next stage. The
// word, the rules and why they are safe are in team.ts.
//
//   walk: loop
//     look: leave when the run is over or another's; claim a chunk, or else spin, then sleep
//     chunks: loop
//       run the claimed chunk
//       finish: loop
//         the last of its stage? run the segment behind it, publish the next stage; again from chunks
//         else finish it and claim the next one in a single exchange; again from chunks, or from walk when none is left

import type { Program } from "@fidelity/core";
import type { FunctionBody, ModuleBuilder } from "./encoder.ts";
import { VALUE } from "./encoder.ts";
import { CallEmitter, PARAMETER, RUN_PARAMETERS } from "./emit-call.ts";
import { flattenSchedule } from "../flatten.ts";
import type { FlatSchedule, Segment, SegmentOp, Stage, StagePart } from "../flatten.ts";
import { OP } from "./opcodes.ts";
import { CONTROL, STAGE_ENDED, STAGE_FAILED, chunkBits, firstHalf } from "../team.ts";

/**
 * Looks at the word before a member goes to sleep: about 60 us, at the 1.2 ns or so that a look takes on a 3 to 4 GHz
 * core while nobody writes the word. Shorter than this, sleeping costs more than it saves; longer, it takes the
 * processor from members that still work.
 */
const SPIN_COUNT = 50_000;

const UNREACHABLE = 0x00;

/** Adds the function that `run` calls for the runs of a team. */
export function addTeamWalk(module: ModuleBuilder, program: Program, kernels: readonly number[]): number {
  const { index, body } = module.function("run.team", RUN_PARAMETERS, [VALUE.i32]);
  new WalkEmitter(program, kernels, body).emit();
  return index;
}

class WalkEmitter {
  readonly #flat: FlatSchedule;
  readonly #body: FunctionBody;
  readonly #calls: CallEmitter;
  /** The word as last seen; between a claim and the finish, as it was right after the claim. */
  readonly #state: number;
  readonly #next: number;
  readonly #found: number;
  /** The low half of a word, and what a change takes from it. */
  readonly #low: number;
  readonly #stage: number;
  readonly #segment: number;
  readonly #spins: number;

  constructor(program: Program, kernels: readonly number[], body: FunctionBody) {
    this.#flat = flattenSchedule(program.name, program.schedule);
    this.#body = body;
    this.#calls = new CallEmitter(program, kernels, body, (depth) => this.#pushCounter(depth));
    [this.#state, this.#next, this.#found] = [VALUE.i64, VALUE.i64, VALUE.i64].map((type) => body.local(type));
    [this.#low, this.#stage, this.#segment, this.#spins] = new Array(4).fill(0).map(() => body.local(VALUE.i32));
  }

  emit(): void {
    const body = this.#body;
    this.#readState();
    body.i32(SPIN_COUNT).set(this.#spins);
    body.loop();
    this.#look();
    body.i32(SPIN_COUNT).set(this.#spins);
    body.loop();
    this.#runChunk();
    body.loop();
    this.#advanceIfLast();
    this.#finish();
    body.end().end().end();
    body.immediates(UNREACHABLE);
  }

  #readState(): void {
    this.#body.get(PARAMETER.control).memory(OP.i64AtomicLoad, 3, CONTROL.state).set(this.#state);
  }

  /** Replaces the word `state` by `next`. Inside of the `if` that this opens, another change was first: to `found`. */
  #exchangeElse(): void {
    this.#body.get(PARAMETER.control).get(this.#state).get(this.#next);
    this.#body.memory(OP.i64AtomicCompareExchange, 3, CONTROL.state).tee(this.#found);
    this.#body.get(this.#state).op(OP.i64Ne).if();
  }

  /** Leaves the function, or goes on behind with a chunk claimed: `state`, and `stage`, are those of the chunk. */
  #look(): void {
    const body = this.#body;
    body.block().loop();
    // Another epoch, and so another run: this one is over.
    body.get(this.#state).i64(48).op(OP.i64ShrU).op(OP.i32WrapI64).get(PARAMETER.epoch).op(OP.i32Ne);
    body.if().i32(0).return().end();
    body.get(this.#state).i64(32).op(OP.i64ShrU).op(OP.i32WrapI64).i32(0xffff).op(OP.i32And).tee(this.#stage);
    body.i32(STAGE_FAILED).op(OP.i32GeU).if();
    body.get(this.#stage).i32(STAGE_FAILED).op(OP.i32Eq).return().end();

    pushUnclaimed(body, this.#state);
    body.if();
    body.get(this.#state).i64(0x10000).op(OP.i64Sub).set(this.#next);
    this.#exchangeElse();
    body.get(this.#found).set(this.#state).br(2).end();
    body.get(this.#next).set(this.#state).br(2);
    body.end();

    body.get(this.#spins).i32(1).op(OP.i32Sub).tee(this.#spins).op(OP.i32Eqz).if();
    this.#sleep();
    body.end();
    this.#readState();
    body.br(0).end().end();
  }

  #sleep(): void {
    const body = this.#body;
    body.get(PARAMETER.control).i32(1).memory(OP.i32AtomicAdd, 2, CONTROL.sleepers).drop();
    body.get(PARAMETER.control).get(this.#state).i64(-1).memory(OP.wait64, 3, CONTROL.state).drop();
    body.get(PARAMETER.control).i32(1).memory(OP.i32AtomicSub, 2, CONTROL.sleepers).drop();
    body.i32(SPIN_COUNT).set(this.#spins);
  }

  /** Inside of the loops walk, chunks. */
  #runChunk(): void {
    this.#switch(this.#stage, this.#flat.stages, ({ parts, chunks }) => {
      if (parts.length === 0) return;
      // Claims are counted in order: this one is in front of those that nobody has made.
      this.#body.i32(chunks - 1);
      pushUnclaimed(this.#body, this.#state);
      this.#body.op(OP.i32Sub).set(this.#low);
      this.#dispatch(parts, startsOf(parts), 0, parts.length);
    });
  }

  /** Calls the kernel that the claimed chunk belongs to, found by halving. */
  #dispatch(parts: readonly StagePart[], starts: readonly number[], from: number, to: number): void {
    const body = this.#body;
    if (to - from === 1) {
      const { call, firstChunk, chunks } = parts[from];
      // The halves take turns (team.ts).
      body.get(this.#low).i32(starts[from]).op(OP.i32Sub).set(this.#low);
      this.#calls.call(call, () => {
        body.get(this.#low).i32(1).op(OP.i32And).i32(firstHalf(chunks)).op(OP.i32Mul);
        body.get(this.#low).i32(1).op(OP.i32ShrU).op(OP.i32Add).i32(firstChunk).op(OP.i32Add);
      });
      return;
    }
    const middle = (from + to) >> 1;
    body.get(this.#low).i32(starts[middle]).op(OP.i32LtU).if();
    this.#dispatch(parts, starts, from, middle);
    body.else();
    this.#dispatch(parts, starts, middle, to);
    body.end();
  }

  /** Inside of the loops walk, chunks, finish. When others have finished since, the exchange in `finish` will tell. */
  #advanceIfLast(): void {
    const body = this.#body;
    body.get(this.#state).op(OP.i32WrapI64).i32(0xffff).op(OP.i32And).i32(1).op(OP.i32Eq).if();
    body.get(this.#stage).set(this.#segment).loop();
    this.#switch(this.#segment, this.#flat.segments, (segment, depthAround) => this.#runSegment(segment, depthAround));
    body.end();
    pushState(body, PARAMETER.epoch, () => body.get(this.#stage), this.#low);
    body.set(this.#next);
    this.#exchangeElse();
    // Only a failure can have changed it.
    body.get(this.#found).set(this.#state).br(4).end();
    this.#wake();
    body.get(this.#next).set(this.#state).br(2).end();
  }

  /** Ends with `stage` and `low` set for the word to publish, or with a branch around to another segment. */
  #runSegment({ ops, end }: Segment, depthAround: number): void {
    const body = this.#body;
    for (const op of ops) this.#segmentOp(op, depthAround);
    if (end.kind === "segment") {
      body.i32(end.segment).set(this.#segment).br(depthAround);
    } else if (end.kind === "stage") {
      body.i32(end.stage).set(this.#stage);
      body.i32(chunkBits(this.#flat.stages[end.stage].chunks, 1)).set(this.#low);
    } else {
      body.i32(STAGE_ENDED).set(this.#stage).i32(0).set(this.#low);
    }
  }

  #segmentOp(op: SegmentOp, depthAround: number): void {
    const body = this.#body;
    if (op.kind === "serial") return this.#calls.inOrder(op.calls);
    const offset = CONTROL.counters + 4 * op.depth;
    if (op.kind === "enter") {
      body.get(PARAMETER.control).i32(0).memory(OP.i32Store, 2, offset);
      return;
    }
    body.get(PARAMETER.control);
    if (op.kind === "enter-limited") {
      this.#calls.firstIteration(op.count, op.limit);
      body.tee(this.#low).memory(OP.i32Store, 2, offset);
      this.#calls.runsIteration(this.#low, op.count, op.limit.keeps === "first" ? op.limit.cell : undefined);
      body.op(OP.i32Eqz);
    } else {
      this.#pushCounter(op.depth);
      body.i32(1).op(OP.i32Add).tee(this.#low).memory(OP.i32Store, 2, offset);
      this.#calls.runsIteration(this.#low, op.count, op.limit);
    }
    body.if();
    body
      .i32(op.kind === "repeat" ? op.segment : op.after)
      .set(this.#segment)
      .br(depthAround + 1)
      .end();
  }

  /** After an advance: returns when it was the end, else wakes as many sleepers as there are chunks for. */
  #wake(): void {
    const body = this.#body;
    const notifyState = (pushCount: () => void): void => {
      body.get(PARAMETER.control).memory(OP.i32AtomicLoad, 2, CONTROL.sleepers).if();
      body.get(PARAMETER.control);
      pushCount();
      body.memory(OP.notify, 2, CONTROL.state).drop().end();
    };
    body.get(this.#stage).i32(STAGE_ENDED).op(OP.i32Eq).if();
    notifyState(() => body.i32(-1));
    body.get(PARAMETER.control).i32(1).memory(OP.i32AtomicAdd, 2, CONTROL.ended).drop();
    body.get(PARAMETER.control).i32(-1).memory(OP.notify, 2, CONTROL.ended).drop();
    body.i32(0).return().end();
    notifyState(() => pushUnclaimed(body, this.#next));
  }

  /** Inside of the loops walk, chunks, finish: this chunk is not the last of its stage, as far as `state` knows. */
  #finish(): void {
    const body = this.#body;
    // With a claim when there is something to claim.
    body.i32(0x10001).i32(1);
    pushUnclaimed(body, this.#state);
    body.op(OP.select).set(this.#low);
    body.get(this.#state).get(this.#low).op(OP.i64ExtendI32U).op(OP.i64Sub).set(this.#next);
    this.#exchangeElse();
    // Still the same stage, or failed: then looking leaves.
    body.get(this.#found).get(this.#state).op(OP.i64Xor).i64(32).op(OP.i64ShrU);
    body.get(this.#found).set(this.#state);
    body.op(OP.i32WrapI64).brIf(3).br(1).end();
    body.get(this.#next).set(this.#state);
    body.get(this.#low).i32(1).op(OP.i32Ne).brIf(1).br(2);
  }

  #pushCounter(depth: number): void {
    this.#body.get(PARAMETER.control).memory(OP.i32Load, 2, CONTROL.counters + 4 * depth);
  }

  /** Runs the case that a local is the number of. A case may branch to what is around the switch, at `depthAround`. */
  #switch<Case>(local: number, cases: readonly Case[], emit: (which: Case, depthAround: number) => void): void {
    const body = this.#body;
    body.block();
    for (let i = 0; i < cases.length; i++) body.block();
    body
      .get(local)
      .brTable(cases.map((_, i) => i))
      .end();
    for (const [i, which] of cases.entries()) {
      const depthOut = cases.length - 1 - i;
      emit(which, depthOut + 1);
      body.br(depthOut).end();
    }
  }
}

/** The number of each part's first chunk in its stage. */
function startsOf(parts: Stage["parts"]): number[] {
  let start = 0;
  return parts.map(({ chunks }) => (start += chunks) - chunks);
}

/** Pushes the word that is made of an epoch, a stage and its low half. */
function pushState(body: FunctionBody, epoch: number, pushStage: () => void, low: number): void {
  body.get(epoch).i32(16).op(OP.i32Shl);
  pushStage();
  body.op(OP.i32Or).op(OP.i64ExtendI32U).i64(32).op(OP.i64Shl);
  body.get(low).op(OP.i64ExtendI32U).op(OP.i64Or);
}

/** Pushes a local's unclaimed chunks. */
function pushUnclaimed(body: FunctionBody, state: number): void {
  body.get(state).op(OP.i32WrapI64).i32(16).op(OP.i32ShrU);
}
