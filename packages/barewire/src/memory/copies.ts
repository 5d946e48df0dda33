// Copies that can be counted. Bytes go from one region to another through `copyRegion` and nothing else; each copy
// leaves a record with its size, both spaces and the caller's label, so that a program can list what it copied, and
// assert that a path copies nothing. The records of a thread are its own. Left out: what typed arrays copy by their own
// methods.

import { FidelityError, formatBytes } from "@fidelity/units";

import { RegionError } from "../region.ts";
import type { HostSpace, Region, Space } from "../region.ts";

/** One copy. */
export interface CopyRecord {
  readonly from: Space | "file";
  readonly to: Space | "file";
  readonly sizeBytes: number;
  /** Who copied, and what for. */
  readonly label: string;
}

/** All copies of this thread. */
export interface CopyTotals {
  readonly count: number;
  readonly sizeBytes: number;
  /** Those between two different spaces. */
  readonly crossingCount: number;
  readonly crossingBytes: number;
}

/** A path that must not copy copied. */
export class CopyError extends FidelityError {
  readonly copies: readonly CopyRecord[];

  constructor(copies: readonly CopyRecord[], count: number) {
    const shown = copies.map((copy) => `${formatBytes(copy.sizeBytes)} ${copy.from} to ${copy.to} (${copy.label})`);
    super("bytes were copied on a path that must not copy", {
      expected: "no copies",
      got: `${count}: ${shown.join(", ")}${copies.length < count ? ", ..." : ""}`,
      hint: "pass the region itself on, or map the file where it is needed",
    });
    this.copies = copies;
  }
}

/** Older records are forgotten; the totals are not. */
const RECORDS_MAX = 1024;
const SHOWN_MAX = 5;

const records: CopyRecord[] = [];
let totals: CopyTotals = { count: 0, sizeBytes: 0, crossingCount: 0, crossingBytes: 0 };

/**
 * Copies all of `from` to the start of `to`, and records it. Throws `RegionError` where `to` is smaller. Regions over
 * the same memory may overlap.
 */
export function copyRegion(from: Region, to: Region<HostSpace, "rw">, label = "unnamed"): void {
  if (to.sizeBytes < from.sizeBytes) {
    throw new RegionError("a region does not fit into another", {
      where: label,
      expected: `at least ${from.sizeBytes} bytes`,
      got: `${to.sizeBytes}`,
    });
  }
  // A region that may only be read gives the same array, so this is a `memmove` of one array into the other.
  to.u8().set(from.u8() as Uint8Array);
  recordCopy({ from: from.space, to: to.space, sizeBytes: from.sizeBytes, label });
}

/** Records a copy that something else than `copyRegion` made: a file that was read, a transfer to a GPU. */
export function recordCopy(record: CopyRecord): void {
  const crosses = record.from === record.to ? 0 : 1;
  totals = {
    count: totals.count + 1,
    sizeBytes: totals.sizeBytes + record.sizeBytes,
    crossingCount: totals.crossingCount + crosses,
    crossingBytes: totals.crossingBytes + crosses * record.sizeBytes,
  };
  records.push(record);
  if (records.length > RECORDS_MAX) records.shift();
}

/** The last copies of this thread, oldest first, at most 1024. */
export function copies(): readonly CopyRecord[] {
  return [...records];
}

/** Count and size of all copies of this thread. */
export function copyTotals(): CopyTotals {
  return totals;
}

/**
 * Runs `action` and throws `CopyError` if it copied between spaces; with `within`, also inside of one. An action that
 * gives a promise is watched until that settles, so copies that run beside it count as well.
 */
export function assertNoCopies<T>(action: () => T, options: { readonly within?: boolean } = {}): T {
  const before = totals;
  const check = (): void => {
    const isWithin = options.within === true;
    const count = isWithin ? totals.count - before.count : totals.crossingCount - before.crossingCount;
    if (count === 0) return;
    const recent = records.slice(-Math.min(RECORDS_MAX, totals.count - before.count));
    throw new CopyError(recent.filter(({ from, to }) => isWithin || from !== to).slice(0, SHOWN_MAX), count);
  };
  const result = action();
  if (result instanceof Promise) {
    return result.then((value: unknown) => {
      check();
      return value;
    }) as T;
  }
  check();
  return result;
}
