// Linux from inside of native code: futexes by the machine's own instruction for system calls, since a library calls no
// other, and what tells the core that a thread spins.

import type { Architecture, NativeMachine } from "./machine.ts";

/** Operations of a futex that threads of one process share. */
export const FUTEX_WAIT_PRIVATE = 128;
export const FUTEX_WAKE_PRIVATE = 129;

export interface SystemCalls {
  readonly futex: number;
  /** The instruction, and the registers: result, number, four arguments, what is lost. */
  readonly assembly: string;
  readonly constraints: string;
  /** What tells the core that it spins, if it has that. */
  readonly pause: string;
}

export const SYSTEM: Readonly<Record<Architecture, SystemCalls>> = {
  "x86-64": {
    futex: 202,
    assembly: "syscall",
    constraints: "={rax},{rax},{rdi},{rsi},{rdx},{r10},~{rcx},~{r11},~{memory}",
    pause: `llvm.call_intrinsic "llvm.x86.sse2.pause"() : () -> ()`,
  },
  aarch64: {
    futex: 98,
    assembly: "svc #0",
    constraints: "={x0},{x8},{x0},{x1},{x2},{x3},~{memory}",
    pause: `llvm.inline_asm has_side_effects "yield", "" : () -> ()`,
  },
  riscv64: {
    futex: 98,
    assembly: "ecall",
    constraints: "={x10},{x17},{x10},{x11},{x12},{x13},~{memory}",
    pause: "",
  },
};

/** A system call of up to four arguments. */
export function printSystemCall({ architecture }: NativeMachine): string {
  const { assembly, constraints } = SYSTEM[architecture];
  const types = "(i64, i64, i64, i64, i64) -> i64";
  return `llvm.func internal @system_call(%number: i64, %a: i64, %b: i64, %c: i64, %d: i64) -> i64 {
  %result = llvm.inline_asm has_side_effects "${assembly}", "${constraints}" %number, %a, %b, %c, %d : ${types}
  llvm.return %result : i64
}`;
}

export function printFutex({ futex }: SystemCalls): string {
  return `llvm.func internal @futex(%word: !llvm.ptr, %operation: i64, %value: i64, %timeout: !llvm.ptr) {
  %number = llvm.mlir.constant(${futex} : i64) : i64
  %address = llvm.ptrtoint %word : !llvm.ptr to i64
  %until = llvm.ptrtoint %timeout : !llvm.ptr to i64
  %result = llvm.call @system_call(%number, %address, %operation, %value, %until) : (i64, i64, i64, i64, i64) -> i64
  llvm.return
}`;
}
