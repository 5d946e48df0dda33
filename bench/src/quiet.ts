// How quiet the machine was: the share of all processors that others used while something was measured. Linux counts
// the time of each processor in /proc/stat and that of each process in /proc/<pid>/stat (proc(5)); what is busy and not
// ours is others', time that the host took away included. Elsewhere nothing is known, and nothing is claimed.

import { readFileSync } from "node:fs";

/** Clock ticks of all processors since the machine started. */
export interface ProcessorTicks {
  readonly busy: number;
  readonly total: number;
}

/** Linux counts in hundredths of a second, whatever the kernel's own clock. */
const TICKS_PER_SECOND = 100;

/** The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already. */
export function parseProcessorTicks(text: string): ProcessorTicks {
  const line = text.slice(0, text.indexOf("\n"));
  const [user, nice, system, idle, iowait, irq, softirq, steal = 0] = line.trim().split(/\s+/).slice(1).map(Number);
  const busy = user + nice + system + irq + softirq + steal;
  return { busy, total: busy + idle + iowait };
}

/** Ticks of user and system time in the text of /proc/<pid>/stat, whose second field may hold spaces and brackets. */
export function parseProcessTicks(text: string): number {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** The share of the time of all processors that went to others, between two readings; own time is in ticks. */
export function othersShare(before: ProcessorTicks, after: ProcessorTicks, ownTicks: number): number | null {
  const total = after.total - before.total;
  if (total <= 0) return null;
  // Counters tick at different moments, so that a quiet machine can come out a little below 0.
  return Math.min(1, Math.max(0, (after.busy - before.busy - ownTicks) / total));
}

/** Watches from its construction on. `processes` are the ids of children whose time is ours; they must stay alive. */
export class QuietMeter {
  readonly #processes: readonly number[];
  readonly #before = readProcessors();
  readonly #ownBefore: number;

  constructor(processes: readonly number[] = []) {
    this.#processes = processes;
    this.#ownBefore = ownTicks(processes);
  }

  /** The share of all processors that others used since the construction. */
  share(): number | null {
    const after = readProcessors();
    if (this.#before === undefined || after === undefined) return null;
    return othersShare(this.#before, after, ownTicks(this.#processes) - this.#ownBefore);
  }
}

function ownTicks(processes: readonly number[]): number {
  const { user, system } = process.cpuUsage();
  const children = processes.map((pid) => parseProcessTicks(read(`/proc/${pid}/stat`) ?? ""));
  const known = children.filter((ticks) => Number.isFinite(ticks));
  return ((user + system) / 1e6) * TICKS_PER_SECOND + known.reduce((sum, ticks) => sum + ticks, 0);
}

function readProcessors(): ProcessorTicks | undefined {
  const text = read("/proc/stat");
  return text === undefined ? undefined : parseProcessorTicks(text);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
