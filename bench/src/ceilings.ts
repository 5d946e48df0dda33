// The ceilings: what this machine can do at most with the code that this target can print. Each is a kernel of the loop
// IR, compiled and run by the same target and team as everything else. The bandwidths are those of McCalpin's STREAM
// (triad: a = b + s c, counted as three transfers, without the one that a cache makes to own a line before it writes
// it), and a sum for reading alone. The peaks multiply and add in registers, with no memory at all.
//
// They are ceilings of the target: 128-bit vectors, which V8 joins in pairs. A processor with wider ones can do more.

import type { CpuDevice } from "@fidelity/alex/node";
import { buildKernel, loopType, tensorType } from "@fidelity/core";
import type { Kernel, KernelBuilder, LoopType, LoopValue, Program, TensorType } from "@fidelity/core";
import { formatBytes } from "@fidelity/units";
import { repeated } from "./measure.ts";
import type { Source } from "./measure.ts";

export type Ceiling =
  | { readonly kind: "f32" }
  | { readonly kind: "int8" }
  /** Bytes that are read, or that the three arrays of a triad take together. */
  | { readonly kind: "read"; readonly sizeBytes: number }
  | { readonly kind: "triad"; readonly sizeBytes: number };

const F32X4 = loopType("f32", 4);
const I32X4 = loopType("i32", 4);
const I8X16 = loopType("i8", 16);
const VECTOR_BYTES = 16;
/** Twelve pairs of accumulators: 256-bit units need eight for their latency, and sixteen registers hold no more. */
const ACCUMULATORS = 24;
const PEAK_CHUNKS = 16;
const PEAK_ITERATIONS = 20_000;
const PEAK_UNROLL = 4;

/** The name of a ceiling, for people; also the name of its source. */
export function ceilingName(ceiling: Ceiling): string {
  switch (ceiling.kind) {
    case "f32":
      return "float32 multiply-add";
    case "int8":
      return "int8 dot product";
    case "read":
    case "triad":
      return `${ceiling.kind} ${formatBytes(ceiling.sizeBytes)}`;
  }
}

/** A source of a ceiling's rate: operations a second, an accumulated product counting as two, or bytes a second. */
export async function ceilingSource(device: CpuDevice, ceiling: Ceiling, sampleMs: number): Promise<Source> {
  const name = ceilingName(ceiling);
  const { program, work } = ceilingProgram(ceiling);
  const parameterTypes: TensorType[] = program.buffers.map(({ sizeBytes }) => tensorType("f32", [sizeBytes / 4]));
  const executable = await device.load(program, { parameterTypes, resultTypes: [], donations: [] });
  executable.bind(
    parameterTypes.map((type) => device.tensor(type)),
    [],
  );
  return repeated(name, work, sampleMs, () => executable.run());
}

/** A program that does nothing but reach for a ceiling; its buffers are bound, zeros to begin with. */
export interface CeilingProgram {
  readonly program: Program;
  /** Operations or bytes of a run. */
  readonly work: number;
}

/** The program of a ceiling. The arrays of a triad are its buffers in order: a, b, c. */
export function ceilingProgram(ceiling: Ceiling): CeilingProgram {
  switch (ceiling.kind) {
    case "f32":
      return peakProgram("f32", F32X4, 2 * 4, (k, a, b, sum) => k.fma(a, b, sum));
    case "int8":
      return peakProgram("int8", I32X4, 2 * 16, (k, a, b, sum) =>
        k.dot4(k.bitcast(I8X16, a), k.bitcast(I8X16, b), sum),
      );
    case "read":
      return readProgram(ceiling.sizeBytes);
    case "triad":
      return triadProgram(ceiling.sizeBytes);
  }
}

type Accumulate = (k: KernelBuilder, a: LoopValue, b: LoopValue, sum: LoopValue) => LoopValue;

/** The operands come from memory, so that no compiler knows their product. They are zero, and so are the sums. */
function peakProgram(name: string, type: LoopType, operations: number, accumulate: Accumulate): CeilingProgram {
  const kernel = buildKernel(name, 2, (k, [operands, results]) => {
    // Neighbouring loads and stores are what makes the engine join vectors.
    const [a0, a1, b0, b1] = [0, 1, 2, 3].map((i) => k.load(type, operands, i * VECTOR_BYTES));
    const zeros = Array.from({ length: ACCUMULATORS }, (_, i) => k.load(type, operands, i * VECTOR_BYTES));
    const sums = k.for(0, PEAK_ITERATIONS, 1, zeros, (_iteration, carried) => {
      let next = carried;
      for (let repeat = 0; repeat < PEAK_UNROLL; repeat++) {
        next = next.map((sum, i) => accumulate(k, i % 2 === 0 ? a0 : a1, i % 2 === 0 ? b0 : b1, sum));
      }
      return next;
    });
    storeAll(k, sums, results);
  });
  const perRun = PEAK_CHUNKS * PEAK_ITERATIONS * PEAK_UNROLL * ACCUMULATORS * operations;
  const sizes = [ACCUMULATORS * VECTOR_BYTES, PEAK_CHUNKS * ACCUMULATORS * VECTOR_BYTES];
  return { program: oneCall(kernel, sizes, PEAK_CHUNKS), work: perRun };
}

const READ_VECTORS = 16;

function readProgram(sizeBytes: number): CeilingProgram {
  const { chunks, chunkBytes } = split(sizeBytes, READ_VECTORS * VECTOR_BYTES);
  const kernel = buildKernel("read", 2, (k, [source, results]) => {
    const from = k.offset(source, k.chunk, chunkBytes);
    const zeros = Array.from({ length: READ_VECTORS }, () => k.constant(I32X4, 0));
    const sums = k.for(0, chunkBytes, READ_VECTORS * VECTOR_BYTES, zeros, (at, carried) => {
      const address = k.add(from, at);
      return carried.map((sum, i) => k.add(sum, k.load(I32X4, address, i * VECTOR_BYTES)));
    });
    storeAll(k, sums, results);
  });
  const program = oneCall(kernel, [chunks * chunkBytes, chunks * READ_VECTORS * VECTOR_BYTES], chunks);
  return { program, work: chunks * chunkBytes };
}

const TRIAD_VECTORS = 4;

function triadProgram(sizeBytes: number): CeilingProgram {
  const { chunks, chunkBytes } = split(sizeBytes / 3, TRIAD_VECTORS * VECTOR_BYTES);
  const kernel = buildKernel("triad", 3, (k, bases) => {
    const [a, b, c] = bases.map((base) => k.offset(base, k.chunk, chunkBytes));
    const scale = k.constant(F32X4, 3);
    k.loop(0, chunkBytes, TRIAD_VECTORS * VECTOR_BYTES, (at) => {
      for (let i = 0; i < TRIAD_VECTORS; i++) {
        const [x, y] = [b, c].map((base) => k.load(F32X4, k.add(base, at), i * VECTOR_BYTES));
        k.store(k.fma(y, scale, x), k.add(a, at), i * VECTOR_BYTES);
      }
    });
  });
  const arrayBytes = chunks * chunkBytes;
  return { program: oneCall(kernel, [arrayBytes, arrayBytes, arrayBytes], chunks), work: 3 * arrayBytes };
}

/** Chunks of at most 256 KiB and at least 16 of them, each a multiple of `stepBytes`. */
function split(sizeBytes: number, stepBytes: number): { readonly chunks: number; readonly chunkBytes: number } {
  const chunks = Math.max(16, Math.ceil(sizeBytes / 2 ** 18));
  return { chunks, chunkBytes: Math.ceil(sizeBytes / chunks / stepBytes) * stepBytes };
}

/** Stores the vectors of a chunk beside each other, behind those of the chunks before. */
function storeAll(k: KernelBuilder, vectors: readonly LoopValue[], results: LoopValue): void {
  const to = k.offset(results, k.chunk, vectors.length * VECTOR_BYTES);
  vectors.forEach((vector, i) => k.store(vector, to, i * VECTOR_BYTES));
}

/** A program of one call of one kernel, with a bound buffer of each size. */
function oneCall(kernel: Kernel, sizesBytes: readonly number[], chunks: number): Program {
  return {
    name: kernel.name,
    kernels: [kernel],
    buffers: sizesBytes.map((sizeBytes, slot) => ({
      name: `buffer ${slot}`,
      sizeBytes,
      placement: { kind: "binding", slot },
    })),
    bindingCount: sizesBytes.length,
    arenaBytes: 0,
    scratchBytes: 0,
    schedule: [
      {
        kind: "parallel",
        calls: [
          {
            kernel: 0,
            chunks,
            label: kernel.name,
            args: sizesBytes.map((_, buffer) => ({ buffer, offsetBytes: 0 })),
          },
        ],
      },
    ],
    constants: [],
  };
}
