// The calls into libc that place memory: `madvise`, `mbind`, `msync`. Addresses are those of the arena's memory, whose
// range is reserved up to its maximum and therefore never moves. Left out: systems other than Linux.

import { loadFfi } from "../ffi.node.ts";
import type { Region } from "../region.ts";

/** What the system was asked for was done, or why not. */
export type Placement = { readonly isDone: true } | { readonly isDone: false; readonly reason: string };

interface Libc {
  readonly madvise: (address: bigint, sizeBytes: bigint, advice: number) => number;
  readonly msync: (address: bigint, sizeBytes: bigint, flags: number) => number;
  readonly addressOf: (bytes: Uint8Array) => bigint;
}

let found: Libc | string | undefined;

/** libc, or the reason why it cannot be called. */
export function libc(): Libc | string {
  found ??= find();
  return found;
}

function find(): Libc | string {
  if (process.platform !== "linux") return `placing memory is done on Linux only, not on ${process.platform}`;
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) return reason;
  const { functions } = ffi.dlopen(null, {
    madvise: { arguments: ["pointer", "uint64", "int32"], return: "int32" },
    msync: { arguments: ["pointer", "uint64", "int32"], return: "int32" },
  });
  return { madvise: functions.madvise, msync: functions.msync, addressOf: (bytes) => ffi.getRawPointer(bytes) };
}

/** Address of a region's first byte in the process. */
export function addressOf(region: Region, calls: Libc): bigint {
  return calls.addressOf(new Uint8Array(region.buffer)) + BigInt(region.byteOffset);
}

/** The whole pages of `pageBytes` inside a range of addresses. */
export function wholePages(start: bigint, sizeBytes: number, pageBytes: number): { from: bigint; sizeBytes: bigint } {
  const page = BigInt(pageBytes);
  const from = ((start + page - 1n) / page) * page;
  const end = ((start + BigInt(sizeBytes)) / page) * page;
  return { from, sizeBytes: end > from ? end - from : 0n };
}
