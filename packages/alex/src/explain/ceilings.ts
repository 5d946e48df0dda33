// The ceilings of a machine, measured: bandwidth over arrays from the size of a cache to that of memory, and peaks of
// arithmetic, for the whole team and for one member. The programs are those of ceiling_programs.ts.

import { tensorType } from "@fidelity/core";
import type { Program, TensorType, VectorTarget } from "@fidelity/core";
import type { CpuDevice } from "../runtime/device.ts";
import { writtenTensor } from "../runtime/written-tensor.ts";
import { ceilingProgram } from "./ceiling_programs.ts";
import type { Ceiling } from "./ceiling_programs.ts";

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
  /** What kernels are generated for: the width of vectors, and whether there are matrix registers. */
  readonly target: Pick<VectorTarget, "lanes" | "tiles">;
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
  const vectors = await rate({ kind: "int8" });
  const tiles = options.target.tiles === true ? await rate({ kind: "tiles" }) : 0;
  return { bandwidths, f32PerSecond, int8PerSecond: Math.max(vectors, tiles) };
}

const SAMPLE_MS = 50;
const RUNS_MIN = 3;

async function measureCeiling(
  device: CpuDevice,
  ceiling: Ceiling,
  { target, sampleMs = SAMPLE_MS }: CeilingsOptions,
  alone: boolean,
): Promise<number> {
  const { program, work } = ceilingProgram(ceiling, target.lanes);
  const schedule = alone ? program.schedule.map((item) => ({ ...item, kind: "serial" as const })) : program.schedule;
  const types: TensorType[] = program.buffers.map(({ sizeBytes }) => tensorType("f32", [sizeBytes / 4]));
  const signature = { parameterTypes: types, resultTypes: [], donations: [] };
  const executable = await device.load({ ...program, schedule } as Program, signature);
  const tensors = types.map((type) => writtenTensor(device, type));
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
