// Pages of mapped files brought in at once: `madvise(MADV_POPULATE_READ)` (madvise(2), Linux 5.14). Files that are in
// the system's cache are then read without a fault for every few pages, which costs several times more. Where the
// system has no such call the answer says so, and pages come in when they are first read.

import type { Region } from "../region.ts";
import { addressOf, libc, wholePages } from "./libc.node.ts";
import type { Placement } from "./libc.node.ts";

const MADV_POPULATE_READ = 22;
/** The size of no page is larger on the systems that have the call. */
const PAGE_BYTES = 65536;

/** Brings the whole pages of a region in, reading what is not in memory yet. Never throws. */
export function bringIn(region: Region): Placement {
  const calls = libc();
  if (typeof calls === "string") return { isDone: false, reason: calls };
  const { from, sizeBytes } = wholePages(addressOf(region, calls), region.sizeBytes, PAGE_BYTES);
  if (sizeBytes === 0n) return { isDone: true };
  if (calls.madvise(from, sizeBytes, MADV_POPULATE_READ) === 0) return { isDone: true };
  return { isDone: false, reason: "madvise brought no pages in" };
}
