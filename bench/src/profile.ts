// Where the time of a program goes. At level 3 the runtime times every schedule item by itself and tells the median of
// its runs in a line; this collects the lines, and adds them up by what an item mostly does. The parts take longer than
// the whole, because each ends in a wake-up of the team of its own, so shares are what to read.

import type { DeviceOptions } from "@fidelity/alex/node";

/** An item of a program's schedule: what it calls, and the median time of a run. */
export interface TimedItem {
  readonly labels: readonly string[];
  readonly medianMs: number;
}

/** `name: parallel matmul | copy: 8 runs, min 1.20 ms, median 1.31 ms`: the runtime's report of an item. */
const REPORT = /^[^:]*: (parallel|serial|loop \d+ x) (.*): \d+ runs, min .*, median ([\d.e+-]+) (us|ms)$/;

/** The item that a report of the runtime is about; undefined for its other lines. */
export function parseReport(line: string): TimedItem | undefined {
  const match = REPORT.exec(line);
  if (match === null) return undefined;
  const [, , labels, time, unit] = match;
  return {
    labels: labels.replace(/^\((.*)\)$/, "$1").split(" | "),
    medianMs: unit === "us" ? Number(time) / 1000 : Number(time),
  };
}

/** Collects reports. Give `sink` to a device, run programs, free them, and read `items`. */
export class Profile {
  readonly items: TimedItem[] = [];
  readonly sink: NonNullable<DeviceOptions["debug"]> = {
    level: 3,
    line: (text) => {
      const item = parseReport(text);
      if (item !== undefined) this.items.push(item);
    },
  };
}

/** What items do, the weightiest first: an item belongs to the first family that one of its labels is of. */
const FAMILIES: readonly (readonly [name: string, label: RegExp])[] = [
  ["matmul", /^matmul/],
  ["ternary_linear", /^ternary_linear/],
  ["attention", /^attention/],
  ["linear_recurrence", /^linear_recurrence/],
  ["state recurrences", /^(selective_scan|generalized_delta_rule|causal_convolution)/],
  ["fused rows", /\+/],
  ["pack and quantise", /quantize|ternarize/],
];
const OTHER = "other";

/** Time of some items in a run, and their share of all. */
export interface TimeShare {
  readonly name: string;
  readonly items: number;
  readonly timeMs: number;
  readonly share: number;
}

/** Items by family, the longest first. */
export function timeByFamily(items: readonly TimedItem[]): TimeShare[] {
  return addUp(items, familyOf);
}

/** Items that make the same calls, added up, the longest first; at most `count` of them. */
export function longestItems(items: readonly TimedItem[], count: number): TimeShare[] {
  return addUp(items, ({ labels }) => labels.join(" | ")).slice(0, count);
}

function addUp(items: readonly TimedItem[], nameOf: (item: TimedItem) => string): TimeShare[] {
  const totalMs = items.reduce((sum, { medianMs }) => sum + medianMs, 0);
  return [...Map.groupBy(items, nameOf)]
    .map(([name, members]) => {
      const timeMs = members.reduce((sum, { medianMs }) => sum + medianMs, 0);
      return { name, items: members.length, timeMs, share: timeMs / totalMs };
    })
    .toSorted((a, b) => b.timeMs - a.timeMs);
}

function familyOf({ labels }: TimedItem): string {
  return FAMILIES.find(([, pattern]) => labels.some((label) => pattern.test(label)))?.[0] ?? OTHER;
}
