// A member's part in a run of a team, as MLIR text: claims chunks of a stage, waits where there are none, and does the
// serial work behind the stage where its chunk was the last. The protocol is that of targets/team.ts; the names of the
// blocks are those of the comments of wasm/emit-walk.ts.
//
// Waiting. A member spins for about 60 us, then sleeps on a futex. Futexes have 32 bits, the team's word 64: members
// sleep on its low half, which says how many chunks are unclaimed: while it is what a sleeper saw, there is nothing to
// claim. JavaScript cannot wake a futex, and changes the word only to fail a run; so a sleeper looks again every
// 20 ms. For the same reason the member that ends a run says so by its return value, and JavaScript tells the caller.

import { CONTROL, STAGE_ENDED, STAGE_FAILED } from "../team.ts";
import { RUN_RESULT } from "./run-block.ts";
import { FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE } from "./system.ts";
import type { SystemCalls } from "./system.ts";

const SLEEP_NS = 20_000_000;

const CMPXCHG = "seq_cst seq_cst {alignment = 8 : i64} : !llvm.ptr, i64";

/** `@team`, and how long its members sleep; it calls functions of the walk. */
export function printTeam({ pause }: SystemCalls): string {
  return [
    `llvm.mlir.global internal constant @sleep_time(dense<[0, ${SLEEP_NS}]> : tensor<2xi64>) : !llvm.array<2 x i64>`,
    printTeamHead(),
    printLook(),
    printIdle(pause),
    printHold(),
    printAdvance(),
    printHandBack(),
    "}",
  ].join("\n");
}

function printTeamHead(): string {
  return `llvm.func internal @team(%env: !llvm.ptr, %control: !llvm.ptr, %epoch: i64, %patience: i64) -> i32 {
  %zero = llvm.mlir.constant(0 : i64) : i64
  %one = llvm.mlir.constant(1 : i64) : i64
  %one32 = llvm.mlir.constant(1 : i32) : i32
  %c16 = llvm.mlir.constant(16 : i64) : i64
  %c32 = llvm.mlir.constant(32 : i64) : i64
  %c48 = llvm.mlir.constant(48 : i64) : i64
  %low16 = llvm.mlir.constant(65535 : i64) : i64
  %low32 = llvm.mlir.constant(4294967295 : i64) : i64
  %a_claim = llvm.mlir.constant(65536 : i64) : i64
  %a_finish_and_claim = llvm.mlir.constant(65537 : i64) : i64
  %stage_failed = llvm.mlir.constant(${STAGE_FAILED} : i64) : i64
  %stage_ended = llvm.mlir.constant(${STAGE_ENDED} : i64) : i64
  %everybody = llvm.mlir.constant(2147483647 : i64) : i64
  %wait = llvm.mlir.constant(${FUTEX_WAIT_PRIVATE} : i64) : i64
  %wake = llvm.mlir.constant(${FUTEX_WAKE_PRIVATE} : i64) : i64
  %over = llvm.mlir.constant(${RUN_RESULT.over} : i32) : i32
  %failed = llvm.mlir.constant(${RUN_RESULT.failed} : i32) : i32
  %ended_here = llvm.mlir.constant(${RUN_RESULT.ended} : i32) : i32
  %null = llvm.mlir.zero : !llvm.ptr
  %sleep_time = llvm.mlir.addressof @sleep_time : !llvm.ptr
  %word = llvm.getelementptr %control[${CONTROL.state}] : (!llvm.ptr) -> !llvm.ptr, i8
  %sleepers = llvm.getelementptr %control[${CONTROL.sleepers}] : (!llvm.ptr) -> !llvm.ptr, i8
  %epoch_bits = llvm.shl %epoch, %c48 : i64
  %first_state = llvm.load %word atomic seq_cst {alignment = 8 : i64} : !llvm.ptr -> i64
  llvm.br ^look(%first_state, %patience : i64, i64)`;
}

/** Leaves the run, or claims a chunk of it, or waits. */
function printLook(): string {
  return `^look(%state: i64, %spins: i64):
  %state_epoch = llvm.lshr %state, %c48 : i64
  %is_mine = llvm.icmp "eq" %state_epoch, %epoch : i64
  llvm.cond_br %is_mine, ^stage, ^leave(%over : i32)
^stage:
  %state_high = llvm.lshr %state, %c32 : i64
  %state_stage = llvm.and %state_high, %low16 : i64
  %is_over = llvm.icmp "uge" %state_stage, %stage_failed : i64
  llvm.cond_br %is_over, ^end, ^open
^end:
  %has_failed = llvm.icmp "eq" %state_stage, %stage_failed : i64
  %outcome = llvm.select %has_failed, %failed, %over : i1, i32
  llvm.br ^leave(%outcome : i32)
^leave(%result: i32):
  llvm.return %result : i32
^open:
  %state_shifted = llvm.lshr %state, %c16 : i64
  %unclaimed = llvm.and %state_shifted, %low16 : i64
  %nothing = llvm.icmp "eq" %unclaimed, %zero : i64
  llvm.cond_br %nothing, ^idle, ^claim
^claim:
  %claimed = llvm.sub %state, %a_claim : i64
  %claim = llvm.cmpxchg %word, %state, %claimed ${CMPXCHG}
  %claim_found = llvm.extractvalue %claim[0] : !llvm.struct<(i64, i1)>
  %claim_done = llvm.extractvalue %claim[1] : !llvm.struct<(i64, i1)>
  llvm.cond_br %claim_done, ^chunk(%claimed : i64), ^look(%claim_found, %spins : i64, i64)`;
}

/** Nothing to claim: spins, then sleeps. */
function printIdle(pause: string): string {
  return `^idle:
  %is_tired = llvm.icmp "eq" %spins, %zero : i64
  llvm.cond_br %is_tired, ^sleep, ^spin
^spin:
  ${pause}
  %spin_state = llvm.load %word atomic seq_cst {alignment = 8 : i64} : !llvm.ptr -> i64
  %spins_left = llvm.sub %spins, %one : i64
  llvm.br ^look(%spin_state, %spins_left : i64, i64)
^sleep:
  %before = llvm.atomicrmw add %sleepers, %one32 seq_cst : !llvm.ptr, i32
  %seen = llvm.and %state, %low32 : i64
  llvm.call @futex(%word, %wait, %seen, %sleep_time) : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  %after = llvm.atomicrmw sub %sleepers, %one32 seq_cst : !llvm.ptr, i32
  %woken_state = llvm.load %word atomic seq_cst {alignment = 8 : i64} : !llvm.ptr -> i64
  llvm.br ^look(%woken_state, %patience : i64, i64)`;
}

/** Runs a claimed chunk; claims are counted in order, so that it is the one before those that nobody has made. */
function printHold(): string {
  return `^chunk(%held: i64):
  %held_high = llvm.lshr %held, %c32 : i64
  %held_stage = llvm.and %held_high, %low16 : i64
  %held_shifted = llvm.lshr %held, %c16 : i64
  %behind = llvm.and %held_shifted, %low16 : i64
  %chunks = llvm.call @stages.chunks(%held_stage) : (i64) -> i64
  %up_to = llvm.sub %chunks, %one : i64
  %index = llvm.sub %up_to, %behind : i64
  llvm.call @chunk(%env, %held_stage, %index, %one) : (!llvm.ptr, i64, i64, i64) -> ()
  llvm.br ^finish(%held : i64)
^finish(%now: i64):
  %unfinished = llvm.and %now, %low16 : i64
  %is_last = llvm.icmp "eq" %unfinished, %one : i64
  llvm.cond_br %is_last, ^advance, ^hand_back`;
}

/** The last of its stage: the serial work behind it, the next stage, and whoever sleeps. */
function printAdvance(): string {
  return `^advance:
  %next_stage = llvm.call @segment(%env, %held_stage) : (!llvm.ptr, i64) -> i64
  %is_end = llvm.icmp "eq" %next_stage, %stage_ended : i64
  %stage_bits = llvm.shl %next_stage, %c32 : i64
  %high_bits = llvm.or %epoch_bits, %stage_bits : i64
  llvm.cond_br %is_end, ^publish(%high_bits, %everybody : i64, i64), ^next_stage
^next_stage:
  %next_chunks = llvm.call @stages.chunks(%next_stage) : (i64) -> i64
  %to_claim = llvm.sub %next_chunks, %one : i64
  %claim_bits = llvm.shl %to_claim, %c16 : i64
  %low_bits = llvm.or %claim_bits, %next_chunks : i64
  %next_state = llvm.or %high_bits, %low_bits : i64
  llvm.br ^publish(%next_state, %to_claim : i64, i64)
^publish(%new_state: i64, %wanted: i64):
  %publish = llvm.cmpxchg %word, %now, %new_state ${CMPXCHG}
  %publish_found = llvm.extractvalue %publish[0] : !llvm.struct<(i64, i1)>
  %publish_done = llvm.extractvalue %publish[1] : !llvm.struct<(i64, i1)>
  llvm.cond_br %publish_done, ^published, ^look(%publish_found, %patience : i64, i64)
^published:
  %asleep = llvm.load %sleepers atomic seq_cst {alignment = 4 : i64} : !llvm.ptr -> i32
  %asleep_wide = llvm.zext %asleep : i32 to i64
  %nobody = llvm.icmp "eq" %asleep_wide, %zero : i64
  llvm.cond_br %nobody, ^go_on, ^wake
^wake:
  llvm.call @futex(%word, %wake, %wanted, %null) : (!llvm.ptr, i64, i64, !llvm.ptr) -> ()
  llvm.br ^go_on
^go_on:
  llvm.cond_br %is_end, ^leave(%ended_here : i32), ^chunk(%new_state : i64)`;
}

/** Finishes a chunk, and claims the next one in the same exchange when there is one. */
function printHandBack(): string {
  return `^hand_back:
  %now_shifted = llvm.lshr %now, %c16 : i64
  %left = llvm.and %now_shifted, %low16 : i64
  %has_more = llvm.icmp "ne" %left, %zero : i64
  %taken = llvm.select %has_more, %a_finish_and_claim, %one : i1, i64
  %handed = llvm.sub %now, %taken : i64
  %hand = llvm.cmpxchg %word, %now, %handed ${CMPXCHG}
  %hand_found = llvm.extractvalue %hand[0] : !llvm.struct<(i64, i1)>
  %hand_done = llvm.extractvalue %hand[1] : !llvm.struct<(i64, i1)>
  llvm.cond_br %hand_done, ^handed, ^lost
^handed:
  llvm.cond_br %has_more, ^chunk(%handed : i64), ^look(%handed, %patience : i64, i64)
^lost:
  %change = llvm.xor %hand_found, %now : i64
  %high_change = llvm.lshr %change, %c32 : i64
  %same_stage = llvm.icmp "eq" %high_change, %zero : i64
  llvm.cond_br %same_stage, ^finish(%hand_found : i64), ^look(%hand_found, %patience : i64, i64)`;
}
