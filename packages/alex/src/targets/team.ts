// How the members of a thread team share a run: one 64-bit word in the team's control block. It says which run it is,
// at which stage (a parallel item of the schedule) the program is, how many of the stage's chunks nobody has claimed
// yet, and how many are not finished:
//
//   bits 63..48 epoch | 47..32 stage | 31..16 unclaimed | 15..0 unfinished
//
// There is no barrier: a stage ends when its chunks are finished, not when members arrive. Members take chunks of fixed
// size as they become free (C. P. Kruskal and A. Weiss, "Allocating independent subtasks on parallel processors",
// 1985). So a member that the system has preempted delays the others only while it holds a chunk. One that comes late
// finds in the word where the program is.
//
// Claims of one call take the halves of its chunks in turn (`firstHalf`): of two members that alternate, each goes
// through memory in order, and meets in the next run what it left in its cache. With two threads of an EPYC, decoding
// with 2.4 billion ternary weights is 1.06 times as fast as with neighbouring chunks for neighbouring claims, softmax
// 1.2 times, and steps of recurrent states that stay in the cores' caches 2.2 times. A member alone goes in order.
//
// All changes but the start are compare-and-exchange of the whole word:
//   claim    unclaimed - 1                   by any member, while unclaimed > 0
//   finish   unfinished - 1 (and a claim)    by a member that holds a chunk, while unfinished > 1
//   advance  the next stage, first chunk claimed, or ENDED    by the holder of the last chunk: unfinished = 1
//   fail     FAILED, for good                by a member that trapped, or by the caller for a worker that ended
//   start    a new epoch, at its first stage by the caller, when the run before is ENDED, or FAILED and all have left
//
// Why this is safe.
// 1. A claim that succeeds belongs to the claimer's own run: the word has the epoch in it. An equal word of an earlier
//    iteration of a loop is no danger: what is claimed then is a chunk of this iteration, for loop counters and
//    operands are read after the claim. The caller reuses an epoch only when every member has left all earlier runs.
// 2. While a member holds a chunk, unfinished > 0, so neither the stage nor the run can end, except by failure. Hence a
//    member outside of a chunk touches nothing but this word and `sleepers`, and after ENDED nobody holds a chunk:
//    memory of a run may be freed or bound anew, though members of it are still on their way out.
// 3. The holder of the last chunk is alone: it may run serial calls and write the loop counters, plainly. Atomics are
//    sequentially consistent, so its exchange publishes them, and those of finished chunks, to all who claim after it.
// 4. No wake-up is lost. A sleeper first counts itself in `sleepers`, then waits for the word to differ from what it
//    read, which had nothing to claim; who advances first changes the word, then reads `sleepers`. So either the
//    sleeper is seen, or its wait sees the new word. Finishing does not wake: it gives nobody anything to do.

/**
 * Bytes that an address counts, of those that a run is given and of those in its table of bindings: so 32 bits reach
 * 256 GiB. Only the control block's address counts bytes.
 */
export const ADDRESS_BYTES = 64;

/** Size of the control block; it must be zeroed once, before the first run. */
export const CONTROL_BYTES = 256;

/**
 * Offsets in the control block, what is written at different times on different cache lines: the word above, the number
 * of members that sleep, the loop counters by depth, and a count of ended runs that a caller outside the team may wait
 * on.
 */
export const CONTROL = { state: 0, sleepers: 64, counters: 128, ended: 192 } as const;

/** Loops in each other that the control block has counters for. */
export const LOOP_DEPTH_MAX = 16;

/** Epochs are 1 to this. A block that was zeroed is at epoch 0, which no run has. */
export const EPOCH_MAX = 0xffff;
/** Chunks of a stage. */
export const CHUNKS_MAX = 0xffff;
/** The stages that are none: a run that failed, and one that is done. Stages are numbered below. */
export const STAGE_FAILED = 0xfffe;
export const STAGE_ENDED = 0xffff;

/** Of `chunks` chunks, those that even claims take, one after the other; odd claims take the others. */
export function firstHalf(chunks: number): number {
  return Math.ceil(chunks / 2);
}

/** The low half of the word for a stage of `chunks` chunks of which `claimed` are claimed. */
export function chunkBits(chunks: number, claimed: number): number {
  return (chunks - claimed) * 0x10000 + chunks;
}

/**
 * Makes a run the team's, at a stage that has one chunk: 0, the program's start, or that of an item of its schedule;
 * the run before must be over. `control` are the control block's 32-bit words. The halves of the word are written one
 * after the other: between them the word is that of the run before with another low half, and members leave a run that
 * is over whatever is in there.
 */
export function startRun(control: Int32Array, epoch: number, stage = 0): void {
  Atomics.store(control, CONTROL.state / 4, chunkBits(1, 0));
  Atomics.store(control, CONTROL.state / 4 + 1, (epoch << 16) | stage);
}
