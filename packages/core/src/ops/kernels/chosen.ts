// Products of some of the outputs of a matrix, as chosen_linear has it: groups of neighbours that are wanted, in a list
// that says how many there are and then which, in rising order. A chunk takes a stretch of the list, so that all of
// them have as much to do wherever the groups lie.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { I32 } from "../../loop/ir.ts";
import { clampedIndex } from "../strided.ts";

/** Outputs of a group. */
export const GROUP_OUTPUTS = 16;

/** Chunks at most, where nothing else bounds them: the square of their number must have less than 32 bits. */
export const CHUNKS_MAX = 8192;

export interface ChosenGroups {
  /** The address of the list. */
  readonly list: LoopValue;
  /** All groups that there are, wanted or not. */
  readonly groups: number;
  readonly chunks: number;
  /** Groups that are taken side by side, from as many parts of the list. */
  readonly atOnce: number;
}

/** Whether all groups are wanted. */
export function areAllChosen(k: KernelBuilder, { list, groups }: Pick<ChosenGroups, "list" | "groups">): LoopValue {
  return k.compare("ge", k.load(I32, list), k.i32(groups));
}

/**
 * Takes the groups of this chunk, and what comes after each in the list, the group itself where nothing does; and
 * leaves out the groups from one to before another that are not wanted.
 */
export function eachChosen(
  k: KernelBuilder,
  { list, groups, chunks, atOnce }: ChosenGroups,
  take: (chosen: readonly LoopValue[], next: readonly LoopValue[]) => void,
  leaveOut: (from: LoopValue, to: LoopValue) => void,
): void {
  const [zero, one] = [k.index(0), k.index(1)];
  const count = clampedIndex(k, list, groups);
  const last = k.max(k.sub(count, one), zero);
  const entry = (i: LoopValue): LoopValue => clampedIndex(k, k.offset(list, k.add(k.min(i, last), one), 4), groups - 1);
  const takeAll = (places: readonly LoopValue[]): void => {
    const chosen = places.map(entry);
    const next = places.map((place) => entry(k.add(place, one)));
    take(chosen, next);
    places.forEach((place, i) => {
      const end = k.select(k.compare("lt", place, last), next[i]!, k.index(groups));
      leaveOut(k.add(chosen[i]!, one), end);
    });
  };
  const part = k.div(count, k.index(atOnce));
  // chunk * part / chunks, in two pieces: that product may have more than the 32 bits that numbers have in WebAssembly.
  const [each, over] = [k.div(part, k.index(chunks)), k.rem(part, k.index(chunks))];
  const bound = (chunk: LoopValue): LoopValue => k.add(k.mul(chunk, each), k.div(k.mul(chunk, over), k.index(chunks)));
  k.loop(bound(k.chunk), bound(k.add(k.chunk, one)), 1, (i) => {
    takeAll(Array.from({ length: atOnce }, (_, place) => k.add(i, k.mul(part, k.index(place)))));
  });
  // What the parts leave over, and what comes before all.
  const isFirst = k.compare("eq", k.chunk, zero);
  const rest = (): LoopValue[] => {
    if (atOnce > 1) k.loop(k.mul(part, k.index(atOnce)), count, 1, (i) => takeAll([i]));
    leaveOut(zero, k.select(k.compare("gt", count, zero), entry(zero), k.index(groups)));
    return [];
  };
  k.if(isFirst, rest);
}
