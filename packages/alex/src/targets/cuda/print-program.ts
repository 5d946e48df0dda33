// A program's kernels as one module of MLIR's gpu dialect. A kernel is a gpu.func over numbers: how many chunks there
// are, where scratch memory begins, and the address of each buffer on the device. Threads stride over the chunks, so
// that any grid does all of them; a thread's scratch memory is its own by its number in the grid. The schedule stays on
// the host, which launches kernels in its order (launches.ts).

import type { Kernel, Program } from "@fidelity/core";
import { alignmentOf, alignmentsOf, ALIGNMENT_MAX_BYTES } from "../alignment.ts";
import { scheduleCalls } from "../../runtime/debug.ts";
import { printableName, printKernelBody } from "../native/print-kernel.ts";
import type { CudaMachine } from "./machine.ts";

/** The name of the gpu.module. */
export const MODULE_NAME = "program";

/** A kernel's name in the module, by its number. */
export const kernelSymbol = (kernel: number): string => `kernel_${kernel}`;

/** The pass pipeline from the printed dialects to the llvm and nvvm dialects. */
export const CUDA_LOWERING =
  "builtin.module(gpu.module(convert-scf-to-cf,convert-vector-to-llvm,convert-math-to-llvm,convert-gpu-to-nvvm," +
  "convert-arith-to-llvm,convert-index-to-llvm),convert-cf-to-llvm,reconcile-unrealized-casts)";

/** Scratch memory of one thread that runs a kernel. */
export const scratchStrideBytes = ({ scratchBytes }: Kernel): number => Math.ceil(scratchBytes / 64) * 64;

/**
 * The module of a program. Buffers that are bound, and the arena, must lie at multiples of `ALIGNMENT_MAX_BYTES`.
 */
export function printGpuModule(program: Program, machine: CudaMachine): string {
  const buffers = bufferAlignments(program);
  const functions = program.kernels.map((kernel, i) => printGpuFunction(kernel, kernelSymbol(i), buffers[i], machine));
  return [
    `module attributes {gpu.container_module} {`,
    `gpu.module @${MODULE_NAME} {`,
    ...functions,
    "}",
    "}",
    "",
  ].join("\n");
}

/** For each kernel, what the addresses of its buffers are multiples of in all of its calls. */
function bufferAlignments(program: Program): number[][] {
  const known = program.kernels.map(({ bufferCount }) => new Array<number>(bufferCount).fill(ALIGNMENT_MAX_BYTES));
  for (const { kernel, args } of scheduleCalls(program.schedule)) {
    args.forEach(({ buffer, offsetBytes, strideBytes }, i) => {
      const { placement } = program.buffers[buffer];
      const terms = [offsetBytes, ...(strideBytes ?? []), placement.kind === "arena" ? placement.offsetBytes : 0];
      known[kernel][i] = Math.min(known[kernel][i], ...terms.map(alignmentOf));
    });
  }
  return known;
}

/** Global memory has an address space of its own, by which loads need not ask what they read. */
const POINTER_TYPE = "!llvm.ptr<1>";

function printGpuFunction(kernel: Kernel, symbol: string, buffers: readonly number[], machine: CudaMachine): string {
  const alignments = alignmentsOf(kernel, buffers);
  const form = {
    machine,
    pointerType: POINTER_TYPE,
    prefetches: false,
    alignment: ({ id }: { readonly id: number }) => alignments[id],
  };
  const names = buffers.map((_, i) => `%buffer_${i}`);
  const body = printKernelBody(kernel, form, "    ", {
    chunk: "%chunk",
    scratch: "%scratch",
    buffer: (i) => names[i],
  });
  const parameters = ["%chunks", "%scratches", ...names].map((name) => `${name}: i64`).join(", ");
  return [
    `// ${printableName(kernel)}`,
    `gpu.func @${symbol}(${parameters}) kernel {`,
    "  %thread_in_block = gpu.thread_id x",
    "  %block = gpu.block_id x",
    "  %block_threads = gpu.block_dim x",
    "  %blocks = gpu.grid_dim x",
    "  %first_in_block = arith.muli %block, %block_threads : index",
    "  %thread_index = arith.addi %first_in_block, %thread_in_block : index",
    "  %threads_index = arith.muli %blocks, %block_threads : index",
    "  %thread = arith.index_cast %thread_index : index to i64",
    "  %threads = arith.index_cast %threads_index : index to i64",
    `  %scratch_stride = arith.constant ${scratchStrideBytes(kernel)} : i64`,
    "  %scratch_offset = arith.muli %thread, %scratch_stride : i64",
    "  %scratch = arith.addi %scratches, %scratch_offset : i64",
    "  scf.for %chunk = %thread to %chunks step %threads : i64 {",
    ...body,
    "  }",
    "  gpu.return",
    "}",
  ].join("\n");
}
