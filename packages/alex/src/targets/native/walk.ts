// The walk of one member through a program's schedule, as MLIR text: the same for every program, over its tables
// (tables.ts) and its table of kernels. The protocol is that of targets/team.ts, which the wasm target's walk
// (wasm/emit-walk.ts) follows step by step in the same order; the names of the blocks below are those of its comments.
//
// Waiting. A member spins for about 60 us, then sleeps on a futex. Futexes have 32 bits, the team's word 64: members
// sleep on its low half, which says how many chunks are unclaimed: while it is what a sleeper saw, there is nothing to
// claim. JavaScript cannot wake a futex, and changes the word only to fail a run; so a sleeper looks again every
// 20 ms. For the same reason the member that ends a run says so by its return value, and JavaScript tells the caller.

import { ADDRESS_BYTES, CONTROL, LOOP_DEPTH_MAX, STAGE_ENDED, STAGE_FAILED } from "../team.ts";
import type { NativeMachine } from "./machine.ts";
import { FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE, SYSTEM, printFutex, printSystemCall } from "./system.ts";
import type { SystemCalls } from "./system.ts";
import { ARGUMENT, CALL, OP, OP_KIND, PART, SEGMENT, STAGE } from "./tables.ts";
import { RUN_ARGUMENTS, RUN_RESULT } from "./run-block.ts";

/** Fields of what the functions hand each other: 64-bit, behind them the addresses of a call's buffers. */
const ENV = { base: 0, bindings: 1, arena: 2, scratch: 3, counters: 4, addresses: 8 } as const;

const SLEEP_NS = 20_000_000;

/** The functions of the walk; `run` is the one that a library exports. */
export function printWalk(machine: NativeMachine, scratchStrideBytes: number, argumentsMax: number): string {
  const system = SYSTEM[machine.architecture];
  return [
    `llvm.mlir.global internal constant @sleep_time(dense<[0, ${SLEEP_NS}]> : tensor<2xi64>) : !llvm.array<2 x i64>`,
    printAccessors(),
    printSystemCall(machine),
    printFutex(system),
    printAddress(),
    printCell(),
    printCall(),
    printChunk(),
    printSegment(),
    printTeam(system),
    printRun(scratchStrideBytes, argumentsMax),
  ].join("\n");
}

const entry = (table: string, row: string, columns: number, column: number): string => `
  %${table}.columns = llvm.mlir.constant(${columns} : i64) : i64
  %${table}.column = llvm.mlir.constant(${column} : i64) : i64
  %${table}.row = llvm.mul ${row}, %${table}.columns : i64
  %${table}.at = llvm.add %${table}.row, %${table}.column : i64
  %${table}.table = llvm.mlir.addressof @${table} : !llvm.ptr
  %${table}.cell = llvm.getelementptr %${table}.table[%${table}.at] : (!llvm.ptr, i64) -> !llvm.ptr, i64
  %${table}.value = llvm.load %${table}.cell : !llvm.ptr -> i64
  llvm.return %${table}.value : i64`;

/** A function for each column that is read: `@part_start(row)`; LLVM inlines them. */
function printAccessors(): string {
  const tables = { stages: STAGE, parts: PART, calls: CALL, arguments: ARGUMENT, segments: SEGMENT, ops: OP };
  const functions = Object.entries(tables).flatMap(([table, { columns, ...fields }]) =>
    Object.entries(fields).map(
      ([field, column]) =>
        `llvm.func internal @${table}.${field}(%row: i64) -> i64 {${entry(table, "%row", columns, column)}\n}`,
    ),
  );
  functions.push(`llvm.func internal @strides.at(%row: i64) -> i64 {${entry("strides", "%row", 1, 0)}\n}`);
  return functions.join("\n");
}

/** The address of an argument in the turn that the loops around it are in. */
function printAddress(): string {
  const inlined = 'attributes {passthrough = ["alwaysinline"]}';
  return `llvm.func internal @address(%env: !llvm.ptr, %argument: i64) -> i64 ${inlined} {
  %zero = llvm.mlir.constant(0 : i64) : i64
  %one = llvm.mlir.constant(1 : i64) : i64
  ${field("bindings_int", "bindings")}
  ${field("base", "base")}
  ${field("arena", "arena")}
  ${field("counters_int", "counters")}
  %bindings = llvm.inttoptr %bindings_int : i64 to !llvm.ptr
  %counters = llvm.inttoptr %counters_int : i64 to !llvm.ptr
  %slot = llvm.call @arguments.slot(%argument) : (i64) -> i64
  %offset = llvm.call @arguments.offset(%argument) : (i64) -> i64
  %first_stride = llvm.call @arguments.firstStride(%argument) : (i64) -> i64
  %stride_count = llvm.call @arguments.strides(%argument) : (i64) -> i64
  %in_arena = llvm.icmp "slt" %slot, %zero : i64
  %arena_address = llvm.add %arena, %offset : i64
  llvm.cond_br %in_arena, ^stride(%zero, %arena_address : i64, i64), ^bound
^bound:
  %binding = llvm.getelementptr %bindings[%slot] : (!llvm.ptr, i64) -> !llvm.ptr, i32
  %relative = llvm.load %binding : !llvm.ptr -> i32
  %granules = llvm.zext %relative : i32 to i64
  %granule_bytes = llvm.mlir.constant(${ADDRESS_BYTES} : i64) : i64
  %wide = llvm.mul %granules, %granule_bytes : i64
  %absolute = llvm.add %base, %wide : i64
  %bound_address = llvm.add %absolute, %offset : i64
  llvm.br ^stride(%zero, %bound_address : i64, i64)
^stride(%depth: i64, %address: i64):
  %has_stride = llvm.icmp "ult" %depth, %stride_count : i64
  llvm.cond_br %has_stride, ^advance, ^placed
^advance:
  %stride_at = llvm.add %first_stride, %depth : i64
  %stride = llvm.call @strides.at(%stride_at) : (i64) -> i64
  %counter = llvm.getelementptr %counters[%depth] : (!llvm.ptr, i64) -> !llvm.ptr, i32
  %turn = llvm.load %counter : !llvm.ptr -> i32
  %turn_wide = llvm.zext %turn : i32 to i64
  %moved = llvm.mul %stride, %turn_wide : i64
  %next_address = llvm.add %address, %moved : i64
  %next_depth = llvm.add %depth, %one : i64
  llvm.br ^stride(%next_depth, %next_address : i64, i64)
^placed:
  llvm.return %address : i64
}`;
}

/** The i32 that an argument names, as unsigned. */
function printCell(): string {
  return `llvm.func internal @cell(%env: !llvm.ptr, %argument: i64) -> i64 {
  %address = llvm.call @address(%env, %argument) : (!llvm.ptr, i64) -> i64
  %pointer = llvm.inttoptr %address : i64 to !llvm.ptr
  %value = llvm.load %pointer : !llvm.ptr -> i32
  %wide = llvm.zext %value : i32 to i64
  llvm.return %wide : i64
}`;
}

/** One chunk of a call: its arguments' addresses, then the kernel. */
function printCall(): string {
  return `llvm.func internal @call(%env: !llvm.ptr, %call: i64, %chunk: i64) {
  %zero = llvm.mlir.constant(0 : i64) : i64
  %one = llvm.mlir.constant(1 : i64) : i64
  ${field("scratch", "scratch")}
  %addresses = llvm.getelementptr %env[${ENV.addresses}] : (!llvm.ptr) -> !llvm.ptr, i64
  %first = llvm.call @calls.firstArgument(%call) : (i64) -> i64
  %count = llvm.call @calls.argumentCount(%call) : (i64) -> i64
  llvm.br ^argument(%zero : i64)
^argument(%i: i64):
  %more = llvm.icmp "ult" %i, %count : i64
  llvm.cond_br %more, ^place, ^go
^place:
  %argument = llvm.add %first, %i : i64
  %address = llvm.call @address(%env, %argument) : (!llvm.ptr, i64) -> i64
  %cell = llvm.getelementptr %addresses[%i] : (!llvm.ptr, i64) -> !llvm.ptr, i64
  llvm.store %address, %cell : i64, !llvm.ptr
  %next = llvm.add %i, %one : i64
  llvm.br ^argument(%next : i64)
^go:
  %kernel = llvm.call @calls.kernel(%call) : (i64) -> i64
  %table = llvm.mlir.addressof @kernels : !llvm.ptr
  %kernel_cell = llvm.getelementptr %table[%kernel] : (!llvm.ptr, i64) -> !llvm.ptr, !llvm.ptr
  %function = llvm.load %kernel_cell : !llvm.ptr -> !llvm.ptr
  llvm.call %function(%chunk, %scratch, %addresses) : !llvm.ptr, (i64, i64, !llvm.ptr) -> ()
  llvm.return
}`;
}

/** A field of the environment. */
function field(name: string, which: keyof typeof ENV): string {
  return `%${name}_at = llvm.getelementptr %env[${ENV[which]}] : (!llvm.ptr) -> !llvm.ptr, i64
  %${name} = llvm.load %${name}_at : !llvm.ptr -> i64`;
}

/** One chunk of a stage: the part that it belongs to, found in order. */
function printChunk(): string {
  return `llvm.func internal @chunk(%env: !llvm.ptr, %stage: i64, %index: i64) {
  %zero = llvm.mlir.constant(0 : i64) : i64
  %one = llvm.mlir.constant(1 : i64) : i64
  %first = llvm.call @stages.firstPart(%stage) : (i64) -> i64
  %count = llvm.call @stages.parts(%stage) : (i64) -> i64
  %end = llvm.add %first, %count : i64
  %empty = llvm.icmp "eq" %count, %zero : i64
  llvm.cond_br %empty, ^done, ^scan(%first : i64)
^scan(%part: i64):
  %next = llvm.add %part, %one : i64
  %is_last = llvm.icmp "eq" %next, %end : i64
  llvm.cond_br %is_last, ^found, ^look
^look:
  %next_start = llvm.call @parts.start(%next) : (i64) -> i64
  %is_before = llvm.icmp "ult" %index, %next_start : i64
  llvm.cond_br %is_before, ^found, ^scan(%next : i64)
^found:
  %start = llvm.call @parts.start(%part) : (i64) -> i64
  %call = llvm.call @parts.call(%part) : (i64) -> i64
  %first_chunk = llvm.call @parts.firstChunk(%part) : (i64) -> i64
  %inside = llvm.sub %index, %start : i64
  %chunk = llvm.add %inside, %first_chunk : i64
  llvm.call @call(%env, %call, %chunk) : (!llvm.ptr, i64, i64) -> ()
  llvm.br ^done
^done:
  llvm.return
}`;
}

/** What a segment does with the counters of loops; `limited` is for those that what is in memory may end. */
function printLoopOps(): string {
  return `^enter:
  llvm.store %zero32, %counter : i32, !llvm.ptr
  llvm.br ^next
^repeat:
  %turn = llvm.load %counter : !llvm.ptr -> i32
  %next_turn = llvm.add %turn, %one32 : i32
  llvm.store %next_turn, %counter : i32, !llvm.ptr
  %next_turn_wide = llvm.zext %next_turn : i32 to i64
  %again = llvm.icmp "ult" %next_turn_wide, %b : i64
  llvm.cond_br %again, ^ask, ^next
^ask:
  %has_limit = llvm.icmp "sge" %d, %zero : i64
  llvm.cond_br %has_limit, ^look, ^segment(%c : i64)
^look:
  %limit = llvm.call @cell(%env, %d) : (!llvm.ptr, i64) -> i64
  %is_below = llvm.icmp "ult" %next_turn_wide, %limit : i64
  llvm.cond_br %is_below, ^segment(%c : i64), ^next
^limited:
  %turns = llvm.call @cell(%env, %d) : (!llvm.ptr, i64) -> i64
  %has_fewer = llvm.icmp "ult" %turns, %b : i64
  %left_out = llvm.sub %b, %turns : i64
  %is_first = llvm.icmp "eq" %kind, %enter_first_kind : i64
  %skipped = llvm.select %has_fewer, %left_out, %zero : i1, i64
  %start = llvm.select %is_first, %zero, %skipped : i1, i64
  %start32 = llvm.trunc %start : i64 to i32
  llvm.store %start32, %counter : i32, !llvm.ptr
  %is_none = llvm.icmp "eq" %turns, %zero : i64
  llvm.cond_br %is_none, ^segment(%c : i64), ^next`;
}

/** The serial work behind a stage, on one member; gives the next stage, or that the program has ended. */
function printSegment(): string {
  return `llvm.func internal @segment(%env: !llvm.ptr, %from: i64) -> i64 {
  %zero = llvm.mlir.constant(0 : i64) : i64
  %one = llvm.mlir.constant(1 : i64) : i64
  %zero32 = llvm.mlir.constant(0 : i32) : i32
  %one32 = llvm.mlir.constant(1 : i32) : i32
  %calls_kind = llvm.mlir.constant(${OP_KIND.calls} : i64) : i64
  %enter_kind = llvm.mlir.constant(${OP_KIND.enter} : i64) : i64
  %repeat_kind = llvm.mlir.constant(${OP_KIND.repeat} : i64) : i64
  %enter_first_kind = llvm.mlir.constant(${OP_KIND.enterFirst} : i64) : i64
  ${field("counters_int", "counters")}
  %counters = llvm.inttoptr %counters_int : i64 to !llvm.ptr
  llvm.br ^segment(%from : i64)
^segment(%segment: i64):
  %first = llvm.call @segments.firstOp(%segment) : (i64) -> i64
  %count = llvm.call @segments.ops(%segment) : (i64) -> i64
  llvm.br ^op(%zero : i64)
^op(%i: i64):
  %more = llvm.icmp "ult" %i, %count : i64
  llvm.cond_br %more, ^do, ^end
^do:
  %op = llvm.add %first, %i : i64
  %kind = llvm.call @ops.kind(%op) : (i64) -> i64
  %a = llvm.call @ops.a(%op) : (i64) -> i64
  %b = llvm.call @ops.b(%op) : (i64) -> i64
  %c = llvm.call @ops.c(%op) : (i64) -> i64
  %d = llvm.call @ops.d(%op) : (i64) -> i64
  %counter = llvm.getelementptr %counters[%a] : (!llvm.ptr, i64) -> !llvm.ptr, i32
  %is_calls = llvm.icmp "eq" %kind, %calls_kind : i64
  llvm.cond_br %is_calls, ^calls(%zero : i64), ^loops
^loops:
  %is_enter = llvm.icmp "eq" %kind, %enter_kind : i64
  llvm.cond_br %is_enter, ^enter, ^counted
^counted:
  %is_repeat = llvm.icmp "eq" %kind, %repeat_kind : i64
  llvm.cond_br %is_repeat, ^repeat, ^limited
^calls(%k: i64):
  %call = llvm.add %a, %k : i64
  %has_call = llvm.icmp "ult" %k, %b : i64
  llvm.cond_br %has_call, ^chunks(%zero : i64), ^next
^chunks(%chunk: i64):
  %chunks = llvm.call @calls.chunks(%call) : (i64) -> i64
  %has_chunk = llvm.icmp "ult" %chunk, %chunks : i64
  llvm.cond_br %has_chunk, ^run, ^called
^run:
  llvm.call @call(%env, %call, %chunk) : (!llvm.ptr, i64, i64) -> ()
  %next_chunk = llvm.add %chunk, %one : i64
  llvm.br ^chunks(%next_chunk : i64)
^called:
  %next_k = llvm.add %k, %one : i64
  llvm.br ^calls(%next_k : i64)
${printLoopOps()}
^next:
  %next_i = llvm.add %i, %one : i64
  llvm.br ^op(%next_i : i64)
^end:
  %next_segment = llvm.call @segments.nextSegment(%segment) : (i64) -> i64
  %next_stage = llvm.call @segments.nextStage(%segment) : (i64) -> i64
  %has_segment = llvm.icmp "sge" %next_segment, %zero : i64
  llvm.cond_br %has_segment, ^segment(%next_segment : i64), ^out
^out:
  llvm.return %next_stage : i64
}`;
}

const CMPXCHG = "seq_cst seq_cst {alignment = 8 : i64} : !llvm.ptr, i64";

/** A member's part in a run of a team: see the head of wasm/emit-walk.ts. */
function printTeam({ pause }: SystemCalls): string {
  return [printTeamHead(), printLook(), printIdle(pause), printHold(), printAdvance(), printHandBack(), "}"].join("\n");
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

/** Runs a claimed chunk; chunks are claimed in order, so that it is the one before those that nobody has claimed. */
function printHold(): string {
  return `^chunk(%held: i64):
  %held_high = llvm.lshr %held, %c32 : i64
  %held_stage = llvm.and %held_high, %low16 : i64
  %held_shifted = llvm.lshr %held, %c16 : i64
  %behind = llvm.and %held_shifted, %low16 : i64
  %chunks = llvm.call @stages.chunks(%held_stage) : (i64) -> i64
  %up_to = llvm.sub %chunks, %one : i64
  %index = llvm.sub %up_to, %behind : i64
  llvm.call @chunk(%env, %held_stage, %index) : (!llvm.ptr, i64, i64) -> ()
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

function printRun(scratchStrideBytes: number, argumentsMax: number): string {
  const word = (name: keyof typeof RUN_ARGUMENTS): string => `
  %${name}_at = llvm.getelementptr %args[${RUN_ARGUMENTS[name]}] : (!llvm.ptr) -> !llvm.ptr, i32
  %${name}_32 = llvm.load %${name}_at : !llvm.ptr -> i32
  %${name}_64 = llvm.zext %${name}_32 : i32 to i64`;
  const address = (name: "bindings" | "arena" | "scratch"): string => `${word(name)}
  %${name}_bytes = llvm.mul %${name}_64, %address_bytes : i64
  %${name} = llvm.add %base, %${name}_bytes : i64`;
  const put = (which: keyof typeof ENV, value: string): string => `
  %env_${which} = llvm.getelementptr %env[${ENV[which]}] : (!llvm.ptr) -> !llvm.ptr, i64
  llvm.store ${value}, %env_${which} : i64, !llvm.ptr`;
  return `llvm.func @run(%args: !llvm.ptr) -> i32 {
  %zero = llvm.mlir.constant(0 : i64) : i64
  %one = llvm.mlir.constant(1 : i64) : i64
  %over = llvm.mlir.constant(${RUN_RESULT.over} : i32) : i32
  %stage_ended = llvm.mlir.constant(${STAGE_ENDED} : i64) : i64
  %env_count = llvm.mlir.constant(${ENV.addresses + Math.max(argumentsMax, 1)} : i32) : i32
  %env = llvm.alloca %env_count x i64 {alignment = 64 : i64} : (i32) -> !llvm.ptr
  %own_count = llvm.mlir.constant(${LOOP_DEPTH_MAX} : i32) : i32
  %own_counters = llvm.alloca %own_count x i32 : (i32) -> !llvm.ptr
  %base = llvm.load %args {alignment = 4 : i64} : !llvm.ptr -> i64
  %address_bytes = llvm.mlir.constant(${ADDRESS_BYTES} : i64) : i64
  ${word("member")}${address("bindings")}${address("arena")}${address("scratch")}
  ${word("control")}
  %control = llvm.add %base, %control_64 : i64
  ${word("epoch")}${word("spins")}${word("start")}
  %scratch_stride = llvm.mlir.constant(${scratchStrideBytes} : i64) : i64
  %scratch_offset = llvm.mul %member_64, %scratch_stride : i64
  %own_scratch = llvm.add %scratch, %scratch_offset : i64
  %counters_offset = llvm.mlir.constant(${CONTROL.counters} : i64) : i64
  %team_counters = llvm.add %control, %counters_offset : i64
  %own_counters_int = llvm.ptrtoint %own_counters : !llvm.ptr to i64
  %is_alone = llvm.icmp "eq" %epoch_64, %zero : i64
  %counters = llvm.select %is_alone, %own_counters_int, %team_counters : i1, i64
  ${put("base", "%base")}${put("bindings", "%bindings")}${put("arena", "%arena")}
  ${put("scratch", "%own_scratch")}${put("counters", "%counters")}
  llvm.cond_br %is_alone, ^alone(%start_64 : i64), ^together
^together:
  %control_ptr = llvm.inttoptr %control : i64 to !llvm.ptr
  %result = llvm.call @team(%env, %control_ptr, %epoch_64, %spins_64) : (!llvm.ptr, !llvm.ptr, i64, i64) -> i32
  llvm.return %result : i32
^alone(%segment: i64):
  %stage = llvm.call @segment(%env, %segment) : (!llvm.ptr, i64) -> i64
  %is_end = llvm.icmp "eq" %stage, %stage_ended : i64
  llvm.cond_br %is_end, ^done, ^stage
^stage:
  %chunks = llvm.call @stages.chunks(%stage) : (i64) -> i64
  llvm.br ^chunk(%zero : i64)
^chunk(%chunk: i64):
  llvm.call @chunk(%env, %stage, %chunk) : (!llvm.ptr, i64, i64) -> ()
  %next = llvm.add %chunk, %one : i64
  %more = llvm.icmp "ult" %next, %chunks : i64
  llvm.cond_br %more, ^chunk(%next : i64), ^alone(%stage : i64)
^done:
  llvm.return %over : i32
}`;
}
