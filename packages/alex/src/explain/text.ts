// An explanation as text for a terminal: what was decided, what it saves and costs, where the memory goes, and which
// kernels should take the time.

import { formatBytes } from "@fidelity/units";
import type { CallExplanation, Explanation, Operations, UnitExplanation } from "./explanation.ts";
import { drawMemory } from "./memory_map.ts";
import { foldUnits } from "./sequences.ts";
import type { UnitBlock } from "./sequences.ts";

const KERNELS_SHOWN = 24;
const LABEL_COLUMNS = 44;

/** The whole explanation, some screens long. */
export function formatExplanation(explanation: Explanation): string {
  const sections: [title: string, text: string][] = [
    ["", summary(explanation)],
    ["Fusion: units in order, and the bytes they move", formatUnits(explanation)],
    ["In place: inputs that are updated where they lie", formatDonations(explanation)],
    ["Layout", formatLayouts(explanation)],
    ["Schedule", formatSchedule(explanation)],
    ["Blocks and chunks of heavy kernels: none changes a bit of the results", formatSchedules(explanation)],
    ["Memory plan", formatMemory(explanation)],
    ["Kernels: what they move and compute in a run, and the least time for it", formatKernels(explanation)],
  ];
  if (explanation.ceilings !== undefined) sections.push(["Ceilings, measured here", formatCeilings(explanation)]);
  return sections
    .filter(([, text]) => text !== "")
    .map(([title, text]) => (title === "" ? text : `${title}\n${indent(text)}`))
    .join("\n\n");
}

function summary({ name, target, graph, units, kernels, totals, memory, calls }: Explanation): string {
  const { lanes, registers } = target;
  const lines = [
    `${name}, for vectors of ${lanes} float32 and ${registers} registers`,
    `${plural(graph.tracedOps, "op")} traced, ${graph.ops} after expansion, ${plural(units.length, "unit")}, ` +
      `${plural(calls.length, "call")} of ${plural(kernels.length, "kernel")}`,
    `moves ${formatBytes(totals.bytes)}, computes ${formatOperations(totals.operations)}, needs ` +
      `${formatBytes(memory.arenaBytes)} for intermediate values`,
  ];
  const { predictedSeconds } = totals;
  if (predictedSeconds !== undefined)
    lines.push(`takes ${formatSeconds(predictedSeconds)} at least, by the ceilings below`);
  return lines.join("\n");
}

function formatUnits(explanation: Explanation): string {
  const blocks = foldUnits(explanation);
  const rows = blocks.flatMap((block) => [
    [blockTitle(block), "", "", "", ""],
    ...block.units.map((unit) => [`  ${unit.title}`, unitOps(unit), formatBytes(unit.bytes), savedCell(unit), ""]),
  ]);
  const { savedBytes, bytes } = explanation.totals;
  const head = ["", "ops", "moves", "saves", ""];
  const total = `fusion saves ${formatBytes(savedBytes)} of ${formatBytes(bytes + savedBytes)} in a run`;
  return `${table([head, ...rows])}\n${total}`;
}

function blockTitle({ group, lastGroup, times }: UnitBlock): string {
  const name = group === "" ? "(no part of its own)" : group;
  return times === 1 ? name : `${name} to ${lastGroup}, ${times} times, each`;
}

function unitOps({ kind, ops }: UnitExplanation): string {
  return kind === "fused" ? `${ops.length} in one loop` : kind;
}

function savedCell({ bytes, bytesApart }: UnitExplanation): string {
  return bytesApart > bytes ? formatBytes(bytesApart - bytes) : "";
}

function formatDonations({ donations }: Explanation): string {
  if (donations.length === 0) return "";
  const inPlace = donations.filter(({ isInPlace }) => isInPlace);
  const copied = donations.filter(({ isInPlace }) => !isInPlace);
  const sum = (list: typeof donations): string =>
    formatBytes(list.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0));
  const lines = [`${inPlace.length} of ${donations.length}, ${sum(inPlace)}`];
  if (copied.length > 0) {
    const names = copied.slice(0, 4).map(({ parameter }) => parameter);
    lines.push(`copied at the end: ${names.join(", ")}${copied.length > 4 ? ", ..." : ""}, ${sum(copied)}`);
  }
  return lines.join("\n");
}

function formatLayouts({ layouts }: Explanation): string {
  return table(
    layouts.map(({ what, count, bytes }) => [what, String(count), bytes === 0 ? "free" : formatBytes(bytes)]),
  );
}

function formatSchedule({ stages, calls }: Explanation): string {
  const parallel = stages.filter(({ kind }) => kind === "parallel");
  const serial = stages.filter(({ kind }) => kind === "serial");
  const callsOf = (list: typeof stages): number => list.reduce((sum, stage) => sum + stage.calls.length, 0);
  const seconds = (list: typeof stages): string => {
    const times = list.flatMap((stage) => stage.calls.map((id) => calls[id]!.predictedSeconds));
    return times.every((time) => time !== undefined) ? formatSeconds(times.reduce((a, b) => a + b, 0)) : "";
  };
  return table([
    [`${plural(parallel.length, "stage")} for all members`, plural(callsOf(parallel), "call"), seconds(parallel)],
    [
      `${plural(serial.length, "stage")} on one member, too small to share`,
      plural(callsOf(serial), "call"),
      seconds(serial),
    ],
  ]);
}

function formatSchedules({ schedules }: Explanation): string {
  if (schedules.length === 0) return "";
  const rows = schedules.map(({ node, count, schedule, isTuned, candidates }) => [
    node,
    `${count} x`,
    isTuned ? "tuned" : "default",
    `of ${candidates}`,
    schedule,
  ]);
  const untuned = schedules.filter(({ isTuned }) => !isTuned).length;
  const hint =
    untuned === 0 ? "" : "\ndefaults are rules of thumb; fidelity tune measures and remembers what is fastest";
  return table(rows, ["left", "right", "left", "left", "left"]) + hint;
}

function formatMemory(explanation: Explanation): string {
  const { memory } = explanation;
  const rows = [
    ["arena", formatBytes(memory.arenaBytes), `${formatBytes(memory.liveBytesMax)} are alive at the peak`],
    ["without reuse", formatBytes(memory.totalBytes), ""],
    ["parameters and state", formatBytes(memory.parameterBytes), ""],
    ["results of their own", formatBytes(memory.resultBytes), ""],
    ["constants", formatBytes(memory.constantBytes), ""],
    ["scratch a member", formatBytes(memory.scratchBytes), ""],
  ];
  return `${table(rows, ["left", "right", "left"])}\n${drawMemory(explanation)}`;
}

function formatKernels(explanation: Explanation): string {
  const { calls, kernels } = explanation;
  const rows = kernels.map(({ id, name }) => {
    const own = calls.filter((call) => call.kernel === id);
    const sum = (of: (call: CallExplanation) => number): number => own.reduce((total, call) => total + of(call), 0);
    return { name: `${name} #${id}`, own, bytes: sum((call) => call.bytes), sum };
  });
  const isPredicted = explanation.totals.predictedSeconds !== undefined;
  const weight = ({ sum, bytes }: (typeof rows)[number]): number =>
    isPredicted ? sum((call) => call.predictedSeconds!) : bytes;
  const sorted = rows.toSorted((a, b) => weight(b) - weight(a));
  const cells = sorted
    .slice(0, KERNELS_SHOWN)
    .map(({ name, own, bytes, sum }) => [
      name,
      String(sum((call) => call.repeat)),
      formatBytes(bytes),
      formatOperations(sumOperations(own)),
      (sum((call) => call.intensity * call.bytes) / Math.max(1, bytes)).toPrecision(3),
      isPredicted ? formatSeconds(sum((call) => call.predictedSeconds!)) : "",
      isPredicted ? own[0]!.limit! : "",
      shorten(own[0]!.label),
    ]);
  const head = [
    "",
    "calls",
    "moves",
    "computes",
    "op/byte",
    isPredicted ? "at least" : "",
    isPredicted ? "limit" : "",
    "for",
  ];
  const rest = sorted.length > KERNELS_SHOWN ? `\nand ${sorted.length - KERNELS_SHOWN} more` : "";
  const aligns: Align[] = ["left", "right", "right", "right", "right", "right", "left", "left"];
  return table([head, ...cells], aligns) + rest;
}

function sumOperations(calls: readonly CallExplanation[]): Operations {
  const sum = (of: keyof Operations): number => calls.reduce((total, { operations }) => total + operations[of], 0);
  return { f32: sum("f32"), f64: sum("f64"), int8: sum("int8") };
}

function formatCeilings({ ceilings }: Explanation): string {
  if (ceilings === undefined) return "";
  const { one, team, threads } = ceilings;
  const rates = [
    ...one.bandwidths.map(({ sizeBytes, bytesPerSecond }, i) => [
      `read ${formatBytes(sizeBytes)}`,
      formatRate(bytesPerSecond, "B/s"),
      formatRate(team.bandwidths[i]!.bytesPerSecond, "B/s"),
    ]),
    ["float32 multiply-add", formatRate(one.f32PerSecond, "FLOP/s"), formatRate(team.f32PerSecond, "FLOP/s")],
    ["int8 dot product", formatRate(one.int8PerSecond, "op/s"), formatRate(team.int8PerSecond, "op/s")],
  ];
  const rows = threads === 1 ? rates.map((row) => row.slice(0, 2)) : rates;
  return table([["", "1 thread", ...(threads === 1 ? [] : [`${threads} threads`])], ...rows]);
}

/** `op` of one, `ops` of any other number. */
export function noun(count: number, word: string): string {
  return count === 1 ? word : `${word}s`;
}

/** `1 op`, `2 ops`. */
export function plural(count: number, word: string): string {
  return `${count} ${noun(count, word)}`;
}

/** `12.3 GB/s`. */
export function formatRate(perSecond: number, unit: string): string {
  return `${(perSecond / 1e9).toPrecision(3)} G${unit}`;
}

/** `12.3 us`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} us`;
  return seconds < 1 ? `${(seconds * 1e3).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`;
}

/** `2.1 Mop int8, 0.2 Mop f32`, the larger one first; what there is none of is left out. */
export function formatOperations(operations: Operations): string {
  const parts = Object.entries(operations)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([kind, count]) => `${formatCount(count)}op ${kind}`);
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

function formatCount(count: number): string {
  const [scale, prefix] = count >= 1e9 ? [1e9, "G"] : count >= 1e6 ? [1e6, "M"] : count >= 1e3 ? [1e3, "k"] : [1, ""];
  return `${(count / scale).toPrecision(3)} ${prefix}`;
}

/** The label of a fused unit lists all of its ops: what it begins with. */
function shorten(label: string): string {
  return label.length <= LABEL_COLUMNS ? label : `${label.slice(0, LABEL_COLUMNS - 3)}...`;
}

type Align = "left" | "right";

function table(rows: readonly (readonly string[])[], aligns: readonly Align[] = []): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  const pad = (cell: string, i: number): string =>
    (aligns[i] ?? (i === 0 ? "left" : "right")) === "left" ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!);
  return rows.map((row) => row.map(pad).join("  ").trimEnd()).join("\n");
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => (line === "" ? line : `  ${line}`))
    .join("\n");
}
