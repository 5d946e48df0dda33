// Support for tests of code for other processors: a program as a static executable that reads the memory it works on
// from standard input, runs, and writes it to standard output. It is run in qemu's user mode, and walks its schedule
// twice as a team of one would: without the protocol, and with it.

import { spawnSync } from "node:child_process";
import { accessSync, chmodSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Program } from "@fidelity/core";
import { ADDRESS_BYTES, CONTROL_BYTES, startRun } from "../team.ts";
import { scratchStrideBytes } from "../wasm/index.ts";
import type { Architecture, NativeMachine } from "./machine.ts";
import { printModules } from "./print-program.ts";
import { buildExecutable, findToolchain } from "./toolchain.node.ts";
import { RUN_ARGUMENTS } from "./run-block.ts";

/** Linux's numbers of system calls, the same on all processors but x86-64. */
const [READ, WRITE, EXIT] = [63, 64, 93];

const EMULATORS: Readonly<Record<Architecture, string | undefined>> = {
  "x86-64": undefined,
  aarch64: "qemu-aarch64",
  riscv64: "qemu-riscv64",
};

/** The path of a machine's emulator, if it is installed. */
export function findEmulator({ architecture }: NativeMachine): string | undefined {
  const name = EMULATORS[architecture];
  if (name === undefined) return undefined;
  return (process.env.PATH ?? "")
    .split(path.delimiter)
    .map((directory) => path.join(directory, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/**
 * Runs a program in an emulator over an arena, and gives the arena afterwards. With an epoch it is a run of a team,
 * whose only member comes.
 */
export async function runEmulated(
  program: Program,
  machine: NativeMachine,
  emulator: string,
  arena: Uint8Array,
  epoch: number,
): Promise<Uint8Array> {
  const scratch = CONTROL_BYTES + Math.ceil(program.arenaBytes / 64) * 64;
  const memory = new Uint8Array(scratch + scratchStrideBytes(program));
  memory.set(arena, CONTROL_BYTES);
  if (epoch > 0) startRun(new Int32Array(memory.buffer, 0, CONTROL_BYTES / 4), epoch);
  const { modules } = printModules(program, machine, 1);
  const end = modules[0].lastIndexOf("}");
  const entry = printEntry(memory.byteLength, { arena: CONTROL_BYTES, scratch, epoch });
  const executable = await buildExecutable(findToolchain(), machine, [`${modules[0].slice(0, end)}${entry}\n}\n`]);
  const directory = mkdtempSync(path.join(os.tmpdir(), "fidelity-emulated-"));
  try {
    const file = path.join(directory, "program");
    writeFileSync(file, executable);
    chmodSync(file, 0o700);
    const { status, signal, stdout, stderr } = spawnSync(emulator, [file], {
      input: memory,
      maxBuffer: 2 ** 26,
      timeout: 60_000,
    });
    if (status !== 0) throw new Error(`${emulator} ended with ${status ?? signal}: ${stderr.toString()}`);
    return new Uint8Array(stdout.subarray(CONTROL_BYTES, CONTROL_BYTES + program.arenaBytes));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** `_start`: reads the memory, runs, writes the memory. */
function printEntry(
  memoryBytes: number,
  { arena, scratch, epoch }: { readonly arena: number; readonly scratch: number; readonly epoch: number },
): string {
  const addresses = { arena: arena / ADDRESS_BYTES, scratch: scratch / ADDRESS_BYTES, bindings: 0 };
  const words = { ...addresses, epoch, member: 0, control: 0, spins: 10 };
  const stores = Object.entries(words).map(
    ([name, value]) => `
  %${name}_value = llvm.mlir.constant(${value} : i32) : i32
  %${name}_at = llvm.getelementptr %args[${RUN_ARGUMENTS[name as keyof typeof words]}] : (!llvm.ptr) -> !llvm.ptr, i32
  llvm.store %${name}_value, %${name}_at : i32, !llvm.ptr`,
  );
  const systemCall = "llvm.call @system_call";
  const types = "(i64, i64, i64, i64, i64) -> i64";
  return `llvm.mlir.global internal @memory() {alignment = 64 : i64} : !llvm.array<${memoryBytes} x i8> {
  %zero = llvm.mlir.zero : !llvm.array<${memoryBytes} x i8>
  llvm.return %zero : !llvm.array<${memoryBytes} x i8>
}
llvm.func @_start() {
  %args_count = llvm.mlir.constant(${RUN_ARGUMENTS.words} : i32) : i32
  %args = llvm.alloca %args_count x i32 {alignment = 8 : i64} : (i32) -> !llvm.ptr
  %memory_ptr = llvm.mlir.addressof @memory : !llvm.ptr
  %base = llvm.ptrtoint %memory_ptr : !llvm.ptr to i64
  llvm.store %base, %args : i64, !llvm.ptr
  ${stores.join("")}
  %zero = llvm.mlir.constant(0 : i64) : i64
  %one = llvm.mlir.constant(1 : i64) : i64
  %size = llvm.mlir.constant(${memoryBytes} : i64) : i64
  %read = llvm.mlir.constant(${READ} : i64) : i64
  %write = llvm.mlir.constant(${WRITE} : i64) : i64
  %exit = llvm.mlir.constant(${EXIT} : i64) : i64
  llvm.br ^read(%zero : i64)
^read(%have: i64):
  %to = llvm.add %base, %have : i64
  %left = llvm.sub %size, %have : i64
  %got = ${systemCall}(%read, %zero, %to, %left, %zero) : ${types}
  %now = llvm.add %have, %got : i64
  %is_end = llvm.icmp "sle" %got, %zero : i64
  llvm.cond_br %is_end, ^run, ^read(%now : i64)
^run:
  %result = llvm.call @run(%args) : (!llvm.ptr) -> i32
  llvm.br ^write(%zero : i64)
^write(%done: i64):
  %from = llvm.add %base, %done : i64
  %rest = llvm.sub %size, %done : i64
  %wrote = ${systemCall}(%write, %one, %from, %rest, %zero) : ${types}
  %written = llvm.add %done, %wrote : i64
  %is_done = llvm.icmp "sle" %wrote, %zero : i64
  llvm.cond_br %is_done, ^exit, ^write(%written : i64)
^exit:
  %code = ${systemCall}(%exit, %zero, %zero, %zero, %zero) : ${types}
  llvm.unreachable
}`;
}
