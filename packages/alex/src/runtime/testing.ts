// Hand-made programs for the runtime's tests: small enough to know their results by heart.

import { buildKernel, F32, I32 } from "@fidelity/core";
import type { Kernel, Program, ScheduleItem, TensorType } from "@fidelity/core";
import type { Signature } from "./binding.ts";

/** Elements that one chunk works on. */
export const CHUNK_ELEMENTS = 16;

export function f32Type(length: number): TensorType {
  return { dtype: "f32", shape: [length] };
}

export function signatureOf(parameters: number, results: number, length: number): Signature {
  const types = (count: number): TensorType[] => Array.from({ length: count }, () => f32Type(length));
  return { parameterTypes: types(parameters), resultTypes: types(results), donations: [] };
}

/** out[i] = in[i] * factor + term, a chunk of elements at a time. */
function affineKernel(name: string, factor: number, term: number): Kernel {
  return buildKernel(name, 2, (k, [input, output]) => {
    const start = k.mul(k.chunk, k.index(CHUNK_ELEMENTS * 4));
    k.loop(0, CHUNK_ELEMENTS * 4, 4, (at) => {
      const offset = k.add(start, at);
      const value = k.load(F32, k.add(input, offset));
      const product = k.binary("mul", value, k.constant(F32, factor));
      k.store(k.binary("add", product, k.constant(F32, term)), k.add(output, offset));
    });
  });
}

/** out[0] = in[0] + ... + in[length - 1], by one member. */
function sumKernel(length: number): Kernel {
  return buildKernel("sum", 2, (k, [input, output]) => {
    const [sum] = k.for(0, length * 4, 4, [k.constant(F32, 0)], (at, [partial]) => [
      k.binary("add", partial, k.load(F32, k.add(input, at))),
    ]);
    k.store(sum, output);
  });
}

/**
 * out[i] = (in[i] * factor + 1) * 2 + c[i], with the first step in the arena and c a constant of value 0.5; then
 * total[0] = the sum of out. Three parallel items of `length / CHUNK_ELEMENTS` chunks.
 */
export function chainProgram(name: string, length: number, factor: number): Program {
  const sizeBytes = length * 4;
  const chunks = length / CHUNK_ELEMENTS;
  const add = buildKernel("add", 3, (k, [a, b, output]) => {
    const start = k.mul(k.chunk, k.index(CHUNK_ELEMENTS * 4));
    k.loop(0, CHUNK_ELEMENTS * 4, 4, (at) => {
      const offset = k.add(start, at);
      k.store(k.binary("add", k.load(F32, k.add(a, offset)), k.load(F32, k.add(b, offset))), k.add(output, offset));
    });
  });
  const at = (buffer: number): { buffer: number; offsetBytes: number } => ({ buffer, offsetBytes: 0 });
  return {
    name,
    kernels: [affineKernel("first", factor, 1), affineKernel("second", 2, 0), add, sumKernel(length)],
    buffers: [
      { name: "in", sizeBytes, placement: { kind: "binding", slot: 0 } },
      { name: "out", sizeBytes, placement: { kind: "binding", slot: 1 } },
      { name: "total", sizeBytes: 4, placement: { kind: "binding", slot: 2 } },
      { name: "c", sizeBytes, placement: { kind: "binding", slot: 3 } },
      { name: "one", sizeBytes, placement: { kind: "arena", offsetBytes: 0 } },
      { name: "two", sizeBytes, placement: { kind: "arena", offsetBytes: Math.ceil(sizeBytes / 64) * 64 } },
    ],
    bindingCount: 4,
    arenaBytes: Math.ceil(sizeBytes / 64) * 64 * 2,
    scratchBytes: 0,
    schedule: [
      { kind: "parallel", calls: [{ kernel: 0, chunks, args: [at(0), at(4)], label: "first" }] },
      { kind: "parallel", calls: [{ kernel: 1, chunks, args: [at(4), at(5)], label: "second" }] },
      { kind: "parallel", calls: [{ kernel: 2, chunks, args: [at(5), at(3), at(1)], label: "add" }] },
      { kind: "serial", calls: [{ kernel: 3, chunks: 1, args: [at(1), at(2)], label: "sum" }] },
    ],
    constants: [{ buffer: 3, bytes: new Uint8Array(new Float32Array(length).fill(0.5).buffer) }],
  };
}

export const CHAIN_SIGNATURE = (length: number): Signature => ({
  parameterTypes: [f32Type(length)],
  resultTypes: [f32Type(length), f32Type(1)],
  donations: [],
});

/**
 * `outer` times `inner` slabs of `length` elements: out = in * factor + 1 for each slab in a parallel item, then the
 * sum of the slab to its place in totals; all by strides of two loops in each other.
 */
export function loopProgram(name: string, length: number, outer: number, inner: number, factor: number): Program {
  const slabBytes = length * 4;
  const slabs = outer * inner;
  const slab = (buffer: number) => ({ buffer, offsetBytes: 0, strideBytes: [inner * slabBytes, slabBytes] });
  const entry = { buffer: 2, offsetBytes: 0, strideBytes: [inner * 4, 4] };
  const chunks = length / CHUNK_ELEMENTS;
  const items: ScheduleItem[] = [
    { kind: "parallel", calls: [{ kernel: 0, chunks, args: [slab(0), slab(1)], label: "affine" }] },
    { kind: "serial", calls: [{ kernel: 1, chunks: 1, args: [slab(1), entry], label: "sum" }] },
  ];
  return {
    name,
    kernels: [affineKernel("affine", factor, 1), sumKernel(length)],
    buffers: [
      { name: "in", sizeBytes: slabs * slabBytes, placement: { kind: "binding", slot: 0 } },
      { name: "out", sizeBytes: slabs * slabBytes, placement: { kind: "binding", slot: 1 } },
      { name: "totals", sizeBytes: slabs * 4, placement: { kind: "binding", slot: 2 } },
    ],
    bindingCount: 3,
    arenaBytes: 0,
    scratchBytes: 0,
    schedule: [{ kind: "loop", count: outer, items: [{ kind: "loop", count: inner, items }] }],
    constants: [],
  };
}

/** x[i] = x[i] * 0.5 + 1, in place: the result is the donated parameter. */
export function decayProgram(name: string, length: number): Program {
  const sizeBytes = length * 4;
  return {
    name,
    kernels: [affineKernel("decay", 0.5, 1)],
    buffers: [{ name: "x", sizeBytes, placement: { kind: "binding", slot: 0 } }],
    bindingCount: 2,
    arenaBytes: 0,
    scratchBytes: 0,
    schedule: [
      {
        kind: "parallel",
        calls: [
          {
            kernel: 0,
            chunks: length / CHUNK_ELEMENTS,
            args: [
              { buffer: 0, offsetBytes: 0 },
              { buffer: 0, offsetBytes: 0 },
            ],
            label: "decay",
          },
        ],
      },
    ],
    constants: [],
  };
}

/** The last byte address of 4 GiB: no memory of a test is that long. */
const OUTSIDE = -16;

/**
 * Writes 1 to out[chunk], `rounds` times over, but the chunk whose number is in in[0] clears in[0] and writes outside
 * of the memory. So one member traps once, and the others find themselves in a run that will never be done.
 */
export function trapProgram(name: string, chunks: number, rounds: number): Program {
  const kernel = buildKernel("poke", 2, (k, [input, output]) => {
    const own = k.convert(F32, k.convert(I32, k.chunk));
    k.if(k.compare("eq", own, k.load(F32, input)), () => {
      k.store(k.constant(F32, -1), input);
      k.store(k.constant(F32, 1), k.index(OUTSIDE));
      return [];
    });
    k.store(k.constant(F32, 1), k.offset(output, k.chunk, 4));
  });
  const sizeBytes = chunks * 4;
  const args = [
    { buffer: 0, offsetBytes: 0 },
    { buffer: 1, offsetBytes: 0 },
  ];
  return {
    name,
    kernels: [kernel],
    buffers: [
      { name: "in", sizeBytes, placement: { kind: "binding", slot: 0 } },
      { name: "out", sizeBytes, placement: { kind: "binding", slot: 1 } },
    ],
    bindingCount: 2,
    arenaBytes: 0,
    scratchBytes: 0,
    schedule: [
      {
        kind: "loop",
        count: rounds,
        items: [{ kind: "parallel", calls: [{ kernel: 0, chunks, args, label: "poke" }] }],
      },
    ],
    constants: [],
  };
}
