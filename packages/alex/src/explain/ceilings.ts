// The ceilings: what this machine can do at most with the code that a target can print. Each is a kernel of the loop
// IR, compiled and run by the same target and team as everything else. The bandwidths are those of McCalpin's STREAM
// (triad: a = b + s c, counted as three transfers, without the one that a cache makes to own a line before it writes
// it), and a sum for reading alone. The peaks multiply and add in registers, with no memory at all.
//
// They are ceilings of the target: with 4 lanes those of 128-bit vectors, which V8 joins in pairs. A processor with
// wider ones can do more.

import { buildKernel, loopType, tensorType } from "@fidelity/core";
import type { Kernel, KernelBuilder, LoopType, LoopValue, Program, TensorType } from "@fidelity/core";
import { formatBytes } from "@fidelity/units";
import type { CpuDevice } from "../runtime/device.ts";

export type Ceiling =
  | { readonly kind: "f32" }
  | { readonly kind: "int8" }
  /** Bytes that are read, or that the three arrays of a triad take together. */
  | { readonly kind: "read"; readonly sizeBytes: number }
  | { readonly kind: "triad"; readonly sizeBytes: number };

/** Twelve pairs of accumulators: 256-bit units need eight for their latency, and sixteen registers hold no more. */
const ACCUMULATORS = 24;
const PEAK_CHUNKS = 16;
const PEAK_ITERATIONS = 20_000;
const PEAK_UNROLL = 4;
/** Lanes of the target's vectors, where nothing else is said. */
const LANES = 4;

/** The name of a ceiling, for people. */
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

/** A program that does nothing but reach for a ceiling; its buffers are bound, zeros to begin with. */
export interface CeilingProgram {
  readonly program: Program;
  /** Operations or bytes of a run. */
  readonly work: number;
}

/** The program of a ceiling. The arrays of a triad are its buffers in order: a, b, c. */
export function ceilingProgram(ceiling: Ceiling, lanes = LANES): CeilingProgram {
  switch (ceiling.kind) {
    case "f32":
      return peakProgram("f32", loopType("f32", lanes), 2 * lanes, (k, a, b, sum) => k.fma(a, b, sum));
    case "int8":
      return peakProgram("int8", loopType("i32", lanes), 8 * lanes, (k, a, b, sum) =>
        k.dot4(k.bitcast(loopType("i8", 4 * lanes), a), k.bitcast(loopType("i8", 4 * lanes), b), sum),
      );
    case "read":
      return readProgram(ceiling.sizeBytes, lanes);
    case "triad":
      return triadProgram(ceiling.sizeBytes, lanes);
  }
}

type Accumulate = (k: KernelBuilder, a: LoopValue, b: LoopValue, sum: LoopValue) => LoopValue;

/** The operands come from memory, so that no compiler knows their product. They are zero, and so are the sums. */
function peakProgram(name: string, type: LoopType, operations: number, accumulate: Accumulate): CeilingProgram {
  const vectorBytes = 4 * type.lanes;
  const kernel = buildKernel(name, 2, (k, [operands, results]) => {
    // Neighbouring loads and stores are what makes the engine join vectors.
    const [a0, a1, b0, b1] = [0, 1, 2, 3].map((i) => k.load(type, operands!, i * vectorBytes));
    const zeros = Array.from({ length: ACCUMULATORS }, (_, i) => k.load(type, operands!, i * vectorBytes));
    const sums = k.for(0, PEAK_ITERATIONS, 1, zeros, (_iteration, carried) => {
      let next = carried;
      for (let repeat = 0; repeat < PEAK_UNROLL; repeat++) {
        next = next.map((sum, i) => accumulate(k, i % 2 === 0 ? a0! : a1!, i % 2 === 0 ? b0! : b1!, sum));
      }
      return next;
    });
    storeAll(k, sums, results!);
  });
  const perRun = PEAK_CHUNKS * PEAK_ITERATIONS * PEAK_UNROLL * ACCUMULATORS * operations;
  const sizes = [ACCUMULATORS * vectorBytes, PEAK_CHUNKS * ACCUMULATORS * vectorBytes];
  return { program: oneCall(kernel, sizes, PEAK_CHUNKS), work: perRun };
}

const READ_VECTORS = 16;

function readProgram(sizeBytes: number, lanes: number): CeilingProgram {
  const type = loopType("i32", lanes);
  const vectorBytes = 4 * lanes;
  const { chunks, chunkBytes } = split(sizeBytes, READ_VECTORS * vectorBytes);
  const kernel = buildKernel("read", 2, (k, [source, results]) => {
    const from = k.offset(source!, k.chunk, chunkBytes);
    const zeros = Array.from({ length: READ_VECTORS }, () => k.constant(type, 0));
    const sums = k.for(0, chunkBytes, READ_VECTORS * vectorBytes, zeros, (at, carried) => {
      const address = k.add(from, at);
      return carried.map((sum, i) => k.add(sum, k.load(type, address, i * vectorBytes)));
    });
    storeAll(k, sums, results!);
  });
  const program = oneCall(kernel, [chunks * chunkBytes, chunks * READ_VECTORS * vectorBytes], chunks);
  return { program, work: chunks * chunkBytes };
}

const TRIAD_VECTORS = 4;

function triadProgram(sizeBytes: number, lanes: number): CeilingProgram {
  const type = loopType("f32", lanes);
  const vectorBytes = 4 * lanes;
  const { chunks, chunkBytes } = split(sizeBytes / 3, TRIAD_VECTORS * vectorBytes);
  const kernel = buildKernel("triad", 3, (k, bases) => {
    const [a, b, c] = bases.map((base) => k.offset(base, k.chunk, chunkBytes));
    const scale = k.constant(type, 3);
    k.loop(0, chunkBytes, TRIAD_VECTORS * vectorBytes, (at) => {
      for (let i = 0; i < TRIAD_VECTORS; i++) {
        const [x, y] = [b!, c!].map((base) => k.load(type, k.add(base, at), i * vectorBytes));
        k.store(k.fma(y!, scale, x!), k.add(a!, at), i * vectorBytes);
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
  const vectorBytes = 4 * vectors[0]!.type.lanes;
  const to = k.offset(results, k.chunk, vectors.length * vectorBytes);
  vectors.forEach((vector, i) => k.store(vector, to, i * vectorBytes));
}

/** A program of one call of one kernel, with a bound buffer of each size. */
function oneCall(kernel: Kernel, sizesBytes: readonly number[], chunks: number): Program {
  const args = sizesBytes.map((_, buffer) => ({ buffer, offsetBytes: 0 }));
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
    schedule: [{ kind: "parallel", calls: [{ kernel: 0, chunks, label: kernel.name, args }] }],
    constants: [],
  };
}

/** A bandwidth over arrays of a size: small ones stay in caches. */
export interface Bandwidth {
  readonly sizeBytes: number;
  readonly bytesPerSecond: number;
}

/** What some members of a team reach together. */
export interface Rates {
  /** By rising size. */
  readonly bandwidths: readonly Bandwidth[];
  readonly f32PerSecond: number;
  readonly int8PerSecond: number;
}

/** Measured ceilings of a device. */
export interface Ceilings {
  readonly target: string;
  readonly threads: number;
  /** All members of the team, and one alone. */
  readonly team: Rates;
  readonly one: Rates;
}

/** Sizes over which bandwidth is measured: from the cache of a core, over what cores share, to memory. */
const BANDWIDTH_BYTES = [2 ** 18, 2 ** 21, 2 ** 23, 2 ** 25, 2 ** 27] as const;

export interface CeilingsOptions {
  /** float32 lanes of the target's vectors. */
  readonly lanes: number;
  /** How long each ceiling is tried; the best run counts. */
  readonly sampleMs?: number;
  /** Sizes to measure bandwidth over; the caches' and memory's by default. */
  readonly bandwidthBytes?: readonly number[];
}

/** Measures the ceilings of a device, in about a second. Throws what loading programs throws. */
export async function measureCeilings(device: CpuDevice, options: CeilingsOptions): Promise<Ceilings> {
  const { target, threads } = device;
  const one = await measureRates(device, options, true);
  const team = threads === 1 ? one : await measureRates(device, options, false);
  return { target, threads, team, one };
}

async function measureRates(device: CpuDevice, options: CeilingsOptions, alone: boolean): Promise<Rates> {
  const rate = (ceiling: Ceiling): Promise<number> => measureCeiling(device, ceiling, options, alone);
  const bandwidths: Bandwidth[] = [];
  for (const sizeBytes of options.bandwidthBytes ?? BANDWIDTH_BYTES) {
    bandwidths.push({ sizeBytes, bytesPerSecond: await rate({ kind: "read", sizeBytes }) });
  }
  const f32PerSecond = await rate({ kind: "f32" });
  return { bandwidths, f32PerSecond, int8PerSecond: await rate({ kind: "int8" }) };
}

const SAMPLE_MS = 50;
const RUNS_MIN = 3;

async function measureCeiling(
  device: CpuDevice,
  ceiling: Ceiling,
  { lanes, sampleMs = SAMPLE_MS }: CeilingsOptions,
  alone: boolean,
): Promise<number> {
  const { program, work } = ceilingProgram(ceiling, lanes);
  const schedule = alone ? program.schedule.map((item) => ({ ...item, kind: "serial" as const })) : program.schedule;
  const types: TensorType[] = program.buffers.map(({ sizeBytes }) => tensorType("f32", [sizeBytes / 4]));
  const signature = { parameterTypes: types, resultTypes: [], donations: [] };
  const executable = await device.load({ ...program, schedule } as Program, signature);
  const tensors = types.map((type) => device.tensor(type));
  try {
    executable.bind(tensors, []);
    executable.run();
    let best = Infinity;
    const started = performance.now();
    for (let runs = 0; runs < RUNS_MIN || performance.now() - started < sampleMs; runs++) {
      const from = performance.now();
      executable.run();
      best = Math.min(best, performance.now() - from);
    }
    return (work / best) * 1000;
  } finally {
    executable.free();
    for (const tensor of tensors) tensor.free();
  }
}
