// Checks that a program fits together: its kernels are well formed, its buffers lie where the placement says and its
// calls name kernels, buffers and offsets that exist, at every iteration of the loops around them.
// Left out: whether the calls of one parallel item are independent, which the pass that made the schedule owes.

import { LoopVerifyError, verifyKernel } from "./verify.ts";
import type { BufferArgument, KernelCall, Program, ProgramBuffer, ScheduleItem } from "./program.ts";

/** Loops nest at most this deep; targets keep a counter for each. */
const LOOP_DEPTH_MAX = 16;

/** The number that ends a loop early. */
const LIMIT_BYTES = 4;

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/** @throws LoopVerifyError naming the kernel or the program and the place. */
export function verifyProgram(program: Program): void {
  for (const kernel of program.kernels) {
    verifyKernel(kernel);
    if (kernel.scratchBytes > program.scratchBytes) {
      const got = `${program.scratchBytes} for kernel ${kernel.name}`;
      throw new LoopVerifyError(program.name, "scratch", "too little scratch", `${kernel.scratchBytes} bytes`, got);
    }
  }
  for (const buffer of program.buffers) verifyBuffer(program, buffer);
  for (const { buffer, bytes } of program.constants) {
    const target = program.buffers[buffer];
    if (target === undefined || target.placement.kind !== "binding" || bytes.length > target.sizeBytes) {
      throw new LoopVerifyError(program.name, `constant in buffer ${buffer}`, "a constant fills a bound buffer");
    }
  }
  verifyItems(program, program.schedule, []);
}

function verifyBuffer(program: Program, buffer: ProgramBuffer): void {
  const fail = (summary: string, expected: string, got: string): never => {
    throw new LoopVerifyError(program.name, `buffer ${buffer.name}`, summary, expected, got);
  };
  const { placement, sizeBytes } = buffer;
  if (!isCount(sizeBytes)) fail("a buffer has a size", "a whole number of bytes", `${sizeBytes}`);
  if (placement.kind === "binding") {
    if (!isCount(placement.slot) || placement.slot >= program.bindingCount) {
      fail("no such binding slot", `below ${program.bindingCount}`, `${placement.slot}`);
    }
  } else if (!isCount(placement.offsetBytes) || placement.offsetBytes + sizeBytes > program.arenaBytes) {
    const got = `bytes ${placement.offsetBytes} to ${placement.offsetBytes + sizeBytes}`;
    fail("the buffer is not inside the arena", `within ${program.arenaBytes} bytes`, got);
  }
}

function verifyItems(program: Program, items: readonly ScheduleItem[], counts: readonly number[]): void {
  for (const item of items) {
    if (item.kind === "loop") {
      if (!isCount(item.count) || item.count === 0 || item.count >= 2 ** 31) {
        throw new LoopVerifyError(program.name, "loop", "a loop runs", "1 or more times", `${item.count}`);
      }
      if (counts.length === LOOP_DEPTH_MAX) {
        throw new LoopVerifyError(program.name, "loop", "loops nest too deep", `at most ${LOOP_DEPTH_MAX}`);
      }
      if (item.limit !== undefined) verifyArgument(program, "limit of a loop", item.limit.cell, counts, LIMIT_BYTES);
      verifyItems(program, item.items, [...counts, item.count]);
    } else {
      for (const call of item.calls) verifyCall(program, call, counts);
      const total = item.calls.reduce((sum, call) => sum + call.chunks, 0);
      if (total >= 2 ** 30)
        throw new LoopVerifyError(program.name, item.kind, "too many chunks", "below 2^30", `${total}`);
    }
  }
}

function verifyCall(program: Program, call: KernelCall, counts: readonly number[]): void {
  const where = `call ${call.label}`;
  const kernel = program.kernels[call.kernel];
  if (kernel === undefined) throw new LoopVerifyError(program.name, where, `no kernel ${call.kernel}`);
  if (!isCount(call.chunks) || call.chunks === 0) {
    throw new LoopVerifyError(program.name, where, "a call has chunks", "1 or more", `${call.chunks}`);
  }
  if (call.args.length !== kernel.bufferCount) {
    const got = `${call.args.length} arguments`;
    throw new LoopVerifyError(
      program.name,
      where,
      "wrong argument count",
      `${kernel.bufferCount} for ${kernel.name}`,
      got,
    );
  }
  call.args.forEach((argument, index) => verifyArgument(program, `argument ${index} of ${where}`, argument, counts));
}

/** The first and the last address that loops around the call reach must lie in the buffer, with `sizeBytes` there. */
function verifyArgument(
  program: Program,
  where: string,
  argument: BufferArgument,
  counts: readonly number[],
  sizeBytes = 1,
): void {
  const buffer = program.buffers[argument.buffer];
  if (buffer === undefined) throw new LoopVerifyError(program.name, where, `no buffer ${argument.buffer}`);
  const strides = argument.strideBytes ?? [];
  if (strides.length > counts.length || !strides.every((stride) => Number.isSafeInteger(stride))) {
    throw new LoopVerifyError(program.name, where, "strides without loops", `${counts.length} at most`, strides.join());
  }
  const reaches = strides.map((stride, depth) => stride * (counts[depth] - 1));
  const low = argument.offsetBytes + reaches.reduce((sum, reach) => sum + Math.min(reach, 0), 0);
  const high = argument.offsetBytes + reaches.reduce((sum, reach) => sum + Math.max(reach, 0), 0);
  if (!isCount(low) || high + sizeBytes > buffer.sizeBytes) {
    const got = `offsets ${low} to ${high}`;
    const expected = `0 to ${buffer.sizeBytes - sizeBytes}`;
    throw new LoopVerifyError(program.name, where, "offset outside the buffer", expected, got);
  }
}
