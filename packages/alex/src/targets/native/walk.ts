// The walk of one member through a program's schedule, as MLIR text: the same for every program, over its tables
// (tables.ts) and its table of kernels. The protocol is that of targets/team.ts, which the wasm target's walk
// (wasm/emit-walk.ts) follows step by step in the same order; the names of the blocks below are those of its comments.
// What a member does beside others is in walk-team.ts.

import { ADDRESS_BYTES, CONTROL, LOOP_DEPTH_MAX, STAGE_ENDED } from "../team.ts";
import type { NativeMachine } from "./machine.ts";
import { SYSTEM, printFutex, printSystemCall } from "./system.ts";
import { ARGUMENT, CALL, OP, OP_KIND, PART, SEGMENT, STAGE } from "./tables.ts";
import { RUN_ARGUMENTS, RUN_RESULT } from "./run-block.ts";
import { printTeam } from "./walk-team.ts";

/** Fields of what the functions hand each other: 64-bit, behind them the addresses of a call's buffers. */
const ENV = { base: 0, bindings: 1, arena: 2, scratch: 3, counters: 4, addresses: 8 } as const;

/** The functions of the walk; `run` is the one that a library exports. */
export function printWalk(machine: NativeMachine, scratchStrideBytes: number, argumentsMax: number): string {
  const system = SYSTEM[machine.architecture];
  return [
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

/**
 * One chunk of a stage: the part that it belongs to, found in order. With `turns` 1 the halves of a part take turns, as
 * claims of a team do; with 0 its chunks are in order.
 */
function printChunk(): string {
  return `llvm.func internal @chunk(%env: !llvm.ptr, %stage: i64, %index: i64, %turns: i64) {
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
  %half = llvm.call @parts.half(%part) : (i64) -> i64
  %is_second = llvm.and %inside, %turns : i64
  %behind = llvm.mul %is_second, %half : i64
  %in_half = llvm.lshr %inside, %turns : i64
  %place = llvm.add %behind, %in_half : i64
  %chunk = llvm.add %place, %first_chunk : i64
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
  llvm.call @chunk(%env, %stage, %chunk, %zero) : (!llvm.ptr, i64, i64, i64) -> ()
  %next = llvm.add %chunk, %one : i64
  %more = llvm.icmp "ult" %next, %chunks : i64
  llvm.cond_br %more, ^chunk(%next : i64), ^alone(%stage : i64)
^done:
  llvm.return %over : i32
}`;
}
