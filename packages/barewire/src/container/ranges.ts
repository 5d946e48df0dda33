// Which requests fetch a set of ranges: neighbours with small gaps between them share one, long ones are cut, so that
// several connections can work on them and a failure costs little. Pure; http.ts sends them.

import type { ByteRange } from "./container.ts";
import type { ReadTarget } from "./source.ts";

/** One request, and the targets that it has bytes for. */
export interface RangeRequest extends ByteRange {
  readonly targets: readonly ReadTarget[];
}

/** How requests may be joined and cut. */
export interface RangeLimits {
  /** Gaps of at most this many bytes are fetched and thrown away. */
  readonly gapBytesMax: number;
  /** No request asks for more. */
  readonly requestBytesMax: number;
}

/** The requests for all targets, by offset. Every byte of a target is in exactly one of them. */
export function planRequests(targets: readonly ReadTarget[], limits: RangeLimits): RangeRequest[] {
  const sorted = targets.filter(({ into }) => into.length > 0).toSorted((a, b) => a.offset - b.offset);
  const requests: RangeRequest[] = [];
  let group: ReadTarget[] = [];
  let end = 0;
  const close = (): void => {
    const begin = group[0]?.offset ?? 0;
    for (let at = begin; at < end && group.length > 0; at += limits.requestBytesMax) {
      const range = { offset: at, sizeBytes: Math.min(limits.requestBytesMax, end - at) };
      requests.push({ ...range, targets: group.filter((target) => overlaps(target, range)) });
    }
  };
  for (const target of sorted) {
    if (group.length > 0 && target.offset > end + limits.gapBytesMax) {
      close();
      group = [];
    }
    end = group.length === 0 ? target.offset + target.into.length : Math.max(end, target.offset + target.into.length);
    group.push(target);
  }
  close();
  return requests;
}

/** Copies what a piece of the file, `offset` from its start, has for the targets; returns how many bytes that was. */
export function scatter(targets: readonly ReadTarget[], offset: number, piece: Uint8Array): number {
  let copiedBytes = 0;
  for (const target of targets) {
    const from = Math.max(target.offset, offset);
    const to = Math.min(target.offset + target.into.length, offset + piece.length);
    if (from >= to) continue;
    target.into.set(piece.subarray(from - offset, to - offset), from - target.offset);
    copiedBytes += to - from;
  }
  return copiedBytes;
}

function overlaps({ offset, into }: ReadTarget, range: ByteRange): boolean {
  return offset < range.offset + range.sizeBytes && range.offset < offset + into.length;
}
