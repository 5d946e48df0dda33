// Random kernels as native code: those of `kernel-runs`, a batch of them in one program, since starting LLVM costs more
// than any of them. In float64 arithmetic with sums in their written order they give the bits of WebAssembly, and so,
// by `kernel-runs`, those of TypeScript and of both interpreters.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import type { CompiledKernel } from "@fidelity/alex/kernels/compile";
import { decodeTensor, encodeTensor, inline, trace } from "@fidelity/core";
import type { DeviceTensor, Tensor, TensorType } from "@fidelity/core";
import { compileOne, hostOf, randomData, runProgram, runWasm, same, unwritten } from "./kernel-runs.ts";
import type { Data, Left } from "./kernel-runs.ts";
import { randomKernel } from "./random-kernel.ts";
import { randomFor } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

/** Kernels of a case. */
const BATCH = 32;

export const kernelNatives: FuzzTarget = {
  name: "kernel-natives",
  about: `random kernels, ${BATCH} a case, give the same bits as native code and as WebAssembly (LLVM 19)`,
  open(seed) {
    const folder = mkdtempSync(path.join(os.tmpdir(), "fidelity-fuzz-"));
    const device = nativeDevice(folder);
    return {
      async run(index) {
        const batch = Array.from({ length: BATCH }, (_none, i) => drawCase(seed, index * BATCH + i)).filter(
          (each) => each !== undefined,
        );
        try {
          const left = await runNative(device, batch);
          batch.forEach(({ kernel, data }, i) => {
            same("native code and WebAssembly", left[i], runProgram(kernel, data, kernel.program(), runWasm));
          });
        } catch (error) {
          throw new Error(`the kernels\n${batch.map(({ text }) => text).join("\n")}`, { cause: error });
        }
        return batch.length < BATCH ? "some refused, the others read alike" : "all compiled, and read alike";
      },
      close() {
        void device.close();
        rmSync(folder, { recursive: true });
      },
    };
  },
};

/** A device that keeps its libraries in `folder`: they are files, and these are of no use to anybody. */
function nativeDevice(folder: string): CpuDevice {
  const before = process.env.FIDELITY_CACHE_DIR;
  process.env.FIDELITY_CACHE_DIR = folder;
  try {
    return createDevice({ target: "native", threads: 1, cache: false });
  } finally {
    if (before === undefined) delete process.env.FIDELITY_CACHE_DIR;
    else process.env.FIDELITY_CACHE_DIR = before;
  }
}

interface DrawnKernel {
  readonly text: string;
  readonly data: Data;
  readonly kernel: CompiledKernel;
}

/** The case of this number of `kernel-runs`; undefined where the compiler refuses it. */
function drawCase(seed: number, index: number): DrawnKernel | undefined {
  const random = randomFor(seed, index);
  const text = randomKernel(random);
  const data = randomData(random);
  const kernel = compileOne(text, { arithmetic: "f64", strictSums: true });
  return kernel && { text, data, kernel };
}

/** Runs kernels as one native program; gives what each of them leaves. */
async function runNative(device: CpuDevice, batch: readonly DrawnKernel[]): Promise<Left[]> {
  const types = batch.flatMap(({ kernel }) => kernel.graph.parameters.map(({ type }) => type));
  const all = (...tensors: readonly unknown[]): readonly Tensor[] => {
    let next = 0;
    return batch.flatMap(({ kernel: { graph } }) =>
      inline(graph, tensors.slice(next, (next += graph.parameters.length)) as readonly Tensor[]),
    );
  };
  const { graph } = trace<readonly TensorType[], readonly Tensor[]>("batch", all, types);
  const executable = await device.compile(graph);
  const tensors = [...executable.parameterTypes, ...executable.resultTypes].map((type) => device.tensor(type));
  try {
    const inputs = tensors.slice(0, types.length);
    const results = tensors.slice(types.length);
    const given = batch.flatMap(({ kernel, data }) => kernel.signature.inputs.map(({ name }) => data[name]));
    inputs.forEach((tensor, i) => encodeTensor(hostOf(tensor.type, given[i]), tensor.bytes()));
    results.forEach((tensor) => tensor.bytes().fill(0xff));
    executable.bind(inputs, results);
    executable.run();
    let next = 0;
    return batch.map(({ kernel, data }) => {
      const read = kernel.signature.results.map(({ name }) => [name, valuesOf(results[next++])] as const);
      return { ...unwritten(kernel, data), ...Object.fromEntries(read) };
    });
  } finally {
    executable.free();
    for (const tensor of tensors) tensor.free();
  }
}

function valuesOf(tensor: DeviceTensor): ArrayLike<number> {
  return decodeTensor(tensor.type, tensor.bytes()).data;
}
