// What running a program takes of it, all but its code: memory, bindings, constants, and its schedule as far as teams
// and profiles look at it. It is small, and so is its message, which is kept beside the code (store.ts).

import { bare } from "@fidelity/barewire";
import type { Program, ScheduleItem, TensorType } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Signature } from "./binding.ts";
import { itemLabel, scheduleItemCount } from "./debug.ts";

/** An item of the schedule that is not inside of another. */
export interface OutlineItem {
  readonly label: string;
  /** The most members that it can keep busy. */
  readonly members: number;
  /** The stage at which a run of this item alone starts, where the code has that. */
  readonly start: number | undefined;
}

export interface ProgramOutline {
  readonly name: string;
  readonly kernels: number;
  /** Items of the schedule, those inside of loops included. */
  readonly scheduleItems: number;
  readonly buffers: number;
  readonly arenaBytes: number;
  /** What one member needs. */
  readonly scratchBytes: number;
  /** The size of the largest buffer. */
  readonly largestBytes: number;
  /** What buffers take of each binding slot, constants included; 0 for slots that nothing uses. */
  readonly slotBytes: Float64Array<ArrayBuffer>;
  readonly constants: readonly { readonly slot: number; readonly sizeBytes: number; readonly bytes: Uint8Array }[];
  /** The most members that its widest item can keep busy. */
  readonly members: number;
  /** For profiles only. */
  readonly items: readonly OutlineItem[];
}

const OUTLINE = bare.struct({
  name: bare.str,
  kernels: bare.uintSafe,
  scheduleItems: bare.uintSafe,
  buffers: bare.uintSafe,
  arenaBytes: bare.uintSafe,
  scratchBytes: bare.uintSafe,
  largestBytes: bare.uintSafe,
  slotBytes: bare.list(bare.f64),
  constants: bare.list(bare.struct({ slot: bare.uintSafe, sizeBytes: bare.uintSafe, bytes: bare.data })),
  members: bare.uintSafe,
  items: bare.data,
});

/** A message in the message: most of it, and hardly ever looked at. */
const ITEMS = bare.compile(
  bare.list(bare.struct({ label: bare.str, members: bare.uintSafe, start: bare.optional(bare.uintSafe) })),
);

/** A program as it is kept: its outline, and what its target makes code of again: a key, or the code itself. */
export interface KeptProgram {
  readonly outline: ProgramOutline;
  readonly code: Uint8Array;
}

const KEPT = bare.compile(bare.struct({ outline: OUTLINE, code: bare.data }));

export function encodeKept({ outline, code }: KeptProgram): Uint8Array {
  return KEPT.encode({ outline: { ...outline, items: ITEMS.encode(outline.items) }, code });
}

/** Throws `BareError` when the bytes are no such message; the items do so when they are looked at. */
export function decodeKept(bytes: Uint8Array): KeptProgram {
  const { outline, code } = KEPT.decode(bytes);
  const { items, ...rest } = outline;
  let decoded: readonly OutlineItem[] | undefined;
  return {
    outline: {
      ...rest,
      get items() {
        return (decoded ??= ITEMS.decode(items));
      },
    },
    code,
  };
}

/** What a graph says of its results: all that recalling a program without it needs beside what was kept. */
export type KeptResults = Pick<Signature, "resultTypes" | "donations">;

const RECALLED = bare.compile(
  bare.struct({
    resultTypes: bare.list(bare.struct({ dtype: bare.str, shape: bare.list(bare.uintSafe) })),
    donations: bare.list(bare.struct({ parameter: bare.uintSafe, result: bare.uintSafe })),
    kept: bare.data,
  }),
);

export function encodeRecalled({ resultTypes, donations }: KeptResults, program: KeptProgram): Uint8Array {
  const types = resultTypes.map(({ dtype, shape }) => ({ dtype, shape: [...shape] }));
  return RECALLED.encode({ resultTypes: types, donations: [...donations], kept: encodeKept(program) });
}

/** The results, and the message of the program. Throws `BareError` when the bytes are no such message. */
export function decodeRecalled(bytes: Uint8Array): { readonly results: KeptResults; readonly kept: Uint8Array } {
  const { resultTypes, donations, kept } = RECALLED.decode(bytes);
  return { results: { resultTypes: resultTypes as TensorType[], donations }, kept };
}

/** `starts` are the stages at which runs of single items start, where the code has that. */
export function outlineOf(program: Program, starts?: readonly number[]): ProgramOutline {
  const { name, kernels, buffers, bindingCount, arenaBytes, scratchBytes, schedule, constants } = program;
  const slotBytes = new Float64Array(bindingCount);
  for (const { placement, sizeBytes } of buffers) {
    if (placement.kind !== "binding") continue;
    invariant(placement.slot < bindingCount, `${name} has no slot ${placement.slot}`);
    slotBytes[placement.slot] = sizeBytes;
  }
  return {
    name,
    kernels: kernels.length,
    scheduleItems: scheduleItemCount(schedule),
    buffers: buffers.length,
    arenaBytes,
    scratchBytes,
    largestBytes: buffers.reduce((most, { sizeBytes }) => Math.max(most, sizeBytes), 0),
    slotBytes,
    constants: constants.map(({ buffer, bytes }) => {
      const { placement, sizeBytes } = buffers[buffer];
      invariant(placement.kind === "binding", `a constant of ${name} is placed in the arena`);
      return { slot: placement.slot, sizeBytes, bytes };
    }),
    members: widestMembers(schedule),
    items: schedule.map((item, i) => ({ label: itemLabel(item), members: usefulMembers(item), start: starts?.[i] })),
  };
}

/** The most members that a schedule can keep busy: the chunks of its widest item. */
export function widestMembers(items: readonly ScheduleItem[]): number {
  return items.reduce((most, item) => Math.max(most, usefulMembers(item)), 1);
}

function usefulMembers(item: ScheduleItem): number {
  if (item.kind === "loop") return widestMembers(item.items);
  return item.kind === "parallel" ? item.calls.reduce((sum, call) => sum + call.chunks, 0) : 1;
}
