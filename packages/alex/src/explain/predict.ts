// The least time that a call can take on a machine: its bytes at the bandwidth of the memory that they come from, or
// its arithmetic at the peak, whichever is longer (Williams, Waterman and Patterson, "Roofline", 2009). Which memory
// that is follows from reuse distance (Mattson et al., "Evaluation techniques for storage hierarchies", 1970): a
// buffer that was touched so many bytes ago is still in the caches that hold as many. It is a bound, not a guess:
// waiting, instructions that do no arithmetic, and writes to memory cost more.

import type { Ceilings, Rates } from "./ceilings.ts";
import type { ArgumentExplanation, Limit, Operations } from "./explanation.ts";

/** Bytes of a buffer that a call touches. */
export interface Touch {
  readonly buffer: number;
  readonly bytes: number;
}

/**
 * For each touch of a program's calls, in order: bytes that are touched between the last time and this one, when the
 * program runs again and again.
 */
export function reuseDistances(calls: readonly (readonly Touch[])[]): number[][] {
  const total = calls.flat().reduce((sum, { bytes }) => sum + bytes, 0);
  const largest = new Map<number, number>();
  for (const { buffer, bytes } of calls.flat()) largest.set(buffer, Math.max(bytes, largest.get(buffer) ?? 0));
  const distinct = [...largest.values()].reduce((sum, bytes) => sum + bytes, 0);
  const lastEnd = new Map<number, number>();
  let distances: number[][] = [];
  let at = 0;
  // The second round sees what the first one left in the caches.
  for (let round = 0; round < 2; round++) {
    distances = calls.map((touches) => {
      const ofCall = touches.map(({ buffer }) => Math.min(distinct, at - (lastEnd.get(buffer) ?? at - total)));
      at += touches.reduce((sum, { bytes }) => sum + bytes, 0);
      for (const { buffer } of touches) lastEnd.set(buffer, at);
      return ofCall;
    });
  }
  return distances;
}

/** What `members` of a team reach together. */
export function ratesOf({ threads, team, one }: Ceilings, members: number): Rates {
  if (members >= threads) return team;
  const scale = (ofOne: number, ofTeam: number): number => Math.min(ofTeam, ofOne * members);
  return {
    bandwidths: one.bandwidths.map(({ sizeBytes, bytesPerSecond }, i) => {
      return { sizeBytes, bytesPerSecond: scale(bytesPerSecond, team.bandwidths[i]!.bytesPerSecond) };
    }),
    f32PerSecond: scale(one.f32PerSecond, team.f32PerSecond),
    int8PerSecond: scale(one.int8PerSecond, team.int8PerSecond),
  };
}

/** The bandwidth at which bytes come that were touched `distanceBytes` ago: between measured sizes, by logarithm. */
export function bandwidthAt({ bandwidths }: Rates, distanceBytes: number): number {
  const above = bandwidths.findIndex(({ sizeBytes }) => distanceBytes <= sizeBytes);
  if (above === 0) return bandwidths[0]!.bytesPerSecond;
  if (above < 0) return bandwidths[bandwidths.length - 1]!.bytesPerSecond;
  const [low, high] = [bandwidths[above - 1]!, bandwidths[above]!];
  const share = Math.log(distanceBytes / low.sizeBytes) / Math.log(high.sizeBytes / low.sizeBytes);
  return low.bytesPerSecond * (high.bytesPerSecond / low.bytesPerSecond) ** share;
}

/** float64 vectors hold half as many elements. */
const F64_COST = 2;

export function arithmeticSeconds({ f32, f64, int8 }: Operations, rates: Rates): number {
  return (f32 + F64_COST * f64) / rates.f32PerSecond + int8 / rates.int8PerSecond;
}

/**
 * The time of a call by both ceilings; the longer one is the bound. What is small enough for one member (`isSmall`) may
 * find its data in that member's own cache.
 */
export function predictCall(
  args: readonly ArgumentExplanation[],
  operations: Operations,
  rates: Rates,
  isSmall: boolean,
): { readonly predictedSeconds: number; readonly limit: Limit } {
  const memory = args.reduce((sum, { readBytes, writtenBytes, reuseDistanceBytes }) => {
    return sum + (readBytes + writtenBytes) / bandwidthAt(rates, isSmall ? 0 : reuseDistanceBytes);
  }, 0);
  const arithmetic = arithmeticSeconds(operations, rates);
  return memory >= arithmetic
    ? { predictedSeconds: memory, limit: "memory" }
    : { predictedSeconds: arithmetic, limit: "arithmetic" };
}
