// Huge pages for large regions: `madvise(MADV_HUGEPAGE)` (madvise(2), transparent huge pages), which lets the kernel
// back memory by pages of 2 MiB and so saves misses of the address translation on weights and caches of gigabytes.
// Where the system has none the answer says why, and the memory stays as it is. Left out: hugetlbfs, which needs an
// administrator.

import { readFileSync } from "node:fs";

import type { SharedArena } from "../arena.ts";
import type { Region } from "../region.ts";
import { addressOf, libc, wholePages } from "./libc.node.ts";
import type { Placement } from "./libc.node.ts";

const MADV_HUGEPAGE = 14;
/** The size of a huge page. */
export const HUGE_PAGE_BYTES = 2 ** 21;
const SWITCH_FILE = "/sys/kernel/mm/transparent_hugepage/enabled";

/** Asks for huge pages under the whole pages of 2 MiB inside a region. Never throws for what the system lacks. */
export function adviseHugePages(region: Region): Placement {
  return advise(region, region.sizeBytes);
}

/** The same for all that an arena may grow to, whose addresses are reserved: for what nobody wrote to yet. */
export function adviseHugeArena(arena: SharedArena): Placement {
  using region = arena.alloc(1);
  return advise(region, arena.maximumBytes - region.byteOffset);
}

/** Asks for them under so many bytes from a region's first one. */
function advise(region: Region, rangeBytes: number): Placement {
  const calls = libc();
  if (typeof calls === "string") return { isDone: false, reason: calls };
  const { from, sizeBytes } = wholePages(addressOf(region, calls), rangeBytes, HUGE_PAGE_BYTES);
  if (sizeBytes === 0n) return { isDone: false, reason: "the region holds no whole page of 2 MiB" };
  const setting = readOr(SWITCH_FILE, "");
  if (!/\[(always|madvise)\]/.test(setting)) {
    const what = setting === "" ? "this kernel has none" : `they are switched to ${setting.trim()}`;
    return { isDone: false, reason: `no transparent huge pages: ${what}` };
  }
  if (calls.madvise(from, sizeBytes, MADV_HUGEPAGE) === 0) return { isDone: true };
  return { isDone: false, reason: "madvise refused huge pages for this memory" };
}

/**
 * The bytes of the mappings under a region that huge pages back now, as the kernel counts them; undefined elsewhere.
 */
export function hugePageBytes(region: Region): number | undefined {
  const calls = libc();
  const smaps = readOr("/proc/self/smaps", "");
  if (typeof calls === "string" || smaps === "") return undefined;
  const start = addressOf(region, calls);
  const end = start + BigInt(region.sizeBytes);
  let sum = 0;
  let isUnder = false;
  for (const line of smaps.split("\n")) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range !== null) isUnder = BigInt(`0x${range[1]}`) < end && start < BigInt(`0x${range[2]}`);
    const huge = isUnder ? /^AnonHugePages:\s+(\d+) kB/.exec(line) : null;
    if (huge !== null) sum += Number(huge[1]) * 1024;
  }
  return sum;
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}
