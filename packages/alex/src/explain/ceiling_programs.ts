// The programs of the ceilings: what a machine can do at most with the code that a target can print. Each is a kernel
// of the loop IR, compiled and run by the same target and team as everything else. The bandwidths are those of
// McCalpin's STREAM (triad: a = b + s c, counted as three transfers, without the one that a cache makes to own a line
// before it writes it), and a sum for reading alone. The peaks multiply and add in registers, with no memory at all.
//
// They are ceilings of the target: WebAssembly has 128-bit vectors, which V8 joins in pairs; native code has those of
// the processor. A triad whose result goes past the caches saves the transfer that owning its lines would cost.

import { TILE, buildKernel, loopType } from "@fidelity/core";
import type { Kernel, KernelBuilder, LoopType, LoopValue, Program } from "@fidelity/core";
import { formatBytes } from "@fidelity/units";

export type Ceiling =
  | { readonly kind: "f32" }
  | { readonly kind: "int8" }
  /** Matrix registers, with a load of an operand from the nearest cache for every product. */
  | { readonly kind: "tiles" }
  /** Bytes that are read, or that the three arrays of a triad take together. */
  | { readonly kind: "read"; readonly sizeBytes: number }
  | { readonly kind: "triad"; readonly sizeBytes: number; readonly nontemporal?: true };

/** Lanes of WebAssembly's vectors. */
const WASM_LANES = 4;
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
    case "tiles":
      return "int8 tile product";
    case "read":
    case "triad":
      return `${ceiling.kind} ${formatBytes(ceiling.sizeBytes)}${isNontemporal(ceiling) ? " past the caches" : ""}`;
  }
}

function isNontemporal(ceiling: Ceiling): boolean {
  return ceiling.kind === "triad" && ceiling.nontemporal === true;
}

/** Twelve pairs of joined vectors, or as many as there are registers for; units need eight for their latency. */
function accumulatorsOf(lanes: number): number {
  return lanes === 8 ? 12 : 24;
}

/** A program that does nothing but reach for a ceiling; its buffers are bound, zeros to begin with. */
export interface CeilingProgram {
  readonly program: Program;
  /** Operations or bytes of a run. */
  readonly work: number;
}

/**
 * The program of a ceiling, for vectors of `lanes` float32. The arrays of a triad are its buffers in order: a, b, c.
 */
export function ceilingProgram(ceiling: Ceiling, lanes = WASM_LANES): CeilingProgram {
  const bytes = loopType("i8", lanes * 4);
  switch (ceiling.kind) {
    case "f32":
      return peakProgram("f32", loopType("f32", lanes), 2 * lanes, (k, a, b, sum) => k.fma(a, b, sum));
    case "int8":
      return peakProgram("int8", loopType("i32", lanes), 8 * lanes, (k, a, b, sum) =>
        k.dot4(k.bitcast(bytes, a), k.bitcast(bytes, b), sum),
      );
    case "tiles":
      return tileProgram();
    case "read":
      return readProgram(ceiling.sizeBytes, lanes);
    case "triad":
      return triadProgram(ceiling.sizeBytes, lanes, isNontemporal(ceiling));
  }
}

type Accumulate = (k: KernelBuilder, a: LoopValue, b: LoopValue, sum: LoopValue) => LoopValue;

/** The operands come from memory, so that no compiler knows their product. They are zero, and so are the sums. */
function peakProgram(name: string, type: LoopType, operations: number, accumulate: Accumulate): CeilingProgram {
  const vectorBytes = type.lanes * 4;
  const accumulators = accumulatorsOf(type.lanes);
  const kernel = buildKernel(name, 2, (k, [operands, results]) => {
    // Neighbouring loads and stores are what makes the engine join vectors.
    const [a0, a1, b0, b1] = [0, 1, 2, 3].map((i) => k.load(type, operands, i * vectorBytes));
    const zeros = Array.from({ length: accumulators }, (_, i) => k.load(type, operands, i * vectorBytes));
    const sums = k.for(0, PEAK_ITERATIONS, 1, zeros, (_iteration, carried) => {
      let next = carried;
      for (let repeat = 0; repeat < PEAK_UNROLL; repeat++) {
        next = next.map((sum, i) => accumulate(k, i % 2 === 0 ? a0 : a1, i % 2 === 0 ? b0 : b1, sum));
      }
      return next;
    });
    storeAll(k, sums, results);
  });
  const perRun = PEAK_CHUNKS * PEAK_ITERATIONS * PEAK_UNROLL * accumulators * operations;
  const sizes = [accumulators * vectorBytes, PEAK_CHUNKS * accumulators * vectorBytes];
  return { program: oneCall(kernel, sizes, PEAK_CHUNKS), work: perRun };
}

const TILE_BYTES = TILE.rows * TILE.rowBytes;
const TILE_ITERATIONS = 10_000;
/** Sums in four tiles, and four operands, of which two and two make four products. */
const TILE_OPERANDS = 4;

function tileProgram(): CeilingProgram {
  const kernel = buildKernel("tiles", 2, (k, [operands, results]) => {
    for (let sums = 0; sums < 4; sums++) k.tileZero(sums);
    k.loop(0, TILE_ITERATIONS, 1, () => {
      for (let i = 0; i < TILE_OPERANDS; i++) k.tileLoad(4 + i, operands, i * TILE_BYTES, TILE.rowBytes);
      for (let sums = 0; sums < 4; sums++) k.tileMultiply(sums, 4 + (sums >> 1), 6 + (sums & 1));
    });
    const to = k.offset(results, k.chunk, 4 * TILE_BYTES);
    for (let sums = 0; sums < 4; sums++) k.tileStore(sums, to, sums * TILE_BYTES, TILE.rowBytes);
  });
  const perProduct = 2 * 16 * 16 * TILE.rowBytes;
  const sizes = [TILE_OPERANDS * TILE_BYTES, PEAK_CHUNKS * 4 * TILE_BYTES];
  return { program: oneCall(kernel, sizes, PEAK_CHUNKS), work: PEAK_CHUNKS * TILE_ITERATIONS * 4 * perProduct };
}

const READ_VECTORS = 16;

function readProgram(sizeBytes: number, lanes: number): CeilingProgram {
  const type = loopType("i32", lanes);
  const vectorBytes = lanes * 4;
  const { chunks, chunkBytes } = split(sizeBytes, READ_VECTORS * vectorBytes);
  const kernel = buildKernel("read", 2, (k, [source, results]) => {
    const from = k.offset(source, k.chunk, chunkBytes);
    const zeros = Array.from({ length: READ_VECTORS }, () => k.constant(type, 0));
    const sums = k.for(0, chunkBytes, READ_VECTORS * vectorBytes, zeros, (at, carried) => {
      const address = k.add(from, at);
      return carried.map((sum, i) => k.add(sum, k.load(type, address, i * vectorBytes)));
    });
    storeAll(k, sums, results);
  });
  const program = oneCall(kernel, [chunks * chunkBytes, chunks * READ_VECTORS * vectorBytes], chunks);
  return { program, work: chunks * chunkBytes };
}

const TRIAD_VECTORS = 4;

function triadProgram(sizeBytes: number, lanes: number, nontemporal: boolean): CeilingProgram {
  const type = loopType("f32", lanes);
  const vectorBytes = lanes * 4;
  const { chunks, chunkBytes } = split(sizeBytes / 3, TRIAD_VECTORS * vectorBytes);
  const kernel = buildKernel("triad", 3, (k, bases) => {
    const [a, b, c] = bases.map((base) => k.offset(base, k.chunk, chunkBytes));
    const scale = k.constant(type, 3);
    k.loop(0, chunkBytes, TRIAD_VECTORS * vectorBytes, (at) => {
      for (let i = 0; i < TRIAD_VECTORS; i++) {
        const [x, y] = [b, c].map((base) => k.load(type, k.add(base, at), i * vectorBytes));
        const value = k.fma(y, scale, x);
        const to = k.add(a, at);
        if (nontemporal) k.storeNontemporal(value, to, i * vectorBytes);
        else k.store(value, to, i * vectorBytes);
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
  const vectorBytes = vectors[0].type.lanes * 4;
  const to = k.offset(results, k.chunk, vectors.length * vectorBytes);
  vectors.forEach((vector, i) => k.store(vector, to, i * vectorBytes));
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
