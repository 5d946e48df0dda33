// The sections of the page as HTML: what was decided, in figures and lists. Pictures are drawn in files of their own.

import { formatBytes } from "@fidelity/units";
import type { UnitExplanation } from "../explain/explanation.ts";
import { foldUnits } from "../explain/sequences.ts";
import type { UnitBlock } from "../explain/sequences.ts";
import { formatOperations, formatSeconds, noun, plural } from "../explain/text.ts";
import { CATEGORIES } from "./category.ts";
import type { View, ViewKernel } from "./data.ts";
import { element, escapeHtml, round } from "./html.ts";

/** The title and the figures that matter most. */
export function renderHeader(view: View): string {
  const { explanation, title, target, profile } = view;
  const { totals, memory, units, kernels, stages, calls } = explanation;
  const saved = totals.savedBytes / Math.max(1, totals.savedBytes + totals.bytes);
  const figures: [value: string, label: string][] = [
    [formatBytes(totals.bytes), "moved in a run"],
    [formatOperations(totals.operations).split(",")[0]!, "computed"],
    [`${Math.round(100 * saved)} %`, "of traffic fused away"],
    [formatBytes(memory.arenaBytes), "for intermediate values"],
    [
      `${kernels.length}`,
      `${noun(kernels.length, "kernel")} for ${plural(units.length, "unit")}, ${plural(calls.length, "call")}`,
    ],
    [`${stages.length}`, noun(stages.length, "stage")],
  ];
  const { predictedSeconds } = totals;
  if (profile !== undefined) figures.unshift([formatSeconds(profile.seconds), "measured"]);
  if (profile !== undefined && predictedSeconds !== undefined) {
    figures.splice(1, 0, [percent(predictedSeconds / profile.seconds), "of the machine's ceiling"]);
  } else if (predictedSeconds !== undefined) figures.unshift([formatSeconds(predictedSeconds), "at least"]);
  const items = figures.map(
    ([value, label]) => `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd></div>`,
  );
  return [
    `<header><p class="brand">Fidelity <span>Alex, the compiler</span></p>`,
    `<button type="button" id="theme" title="light or dark">◐</button>`,
    `<h1>${escapeHtml(title)}</h1><p class="target">${escapeHtml(target)}</p>`,
    `<dl class="figures">${items.join("")}</dl></header>`,
  ].join("");
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

/** A table row; the first cell is its head. Cells are HTML. */
function row(attributes: Readonly<Record<string, string | number | undefined>>, cells: readonly string[]): string {
  const [first, ...rest] = cells;
  const html = rest.map((cell) => (cell.startsWith("<td") ? cell : `<td>${cell}</td>`));
  return element("tr", attributes, `<th scope="row">${first}</th>`, ...html);
}

function tableOf(name: string, head: readonly string[], rows: readonly string[]): string {
  const cells = head.map((text) => `<th scope="col">${text}</th>`);
  return element(
    "table",
    { class: name },
    `<thead><tr>${cells.join("")}</tr></thead>`,
    `<tbody>${rows.join("")}</tbody>`,
  );
}

/** What the colours mean. */
export function renderLegend(view: View): string {
  const used = new Set([...view.kernels.map(({ category }) => category), ...view.categories]);
  const keys = Object.entries(CATEGORIES).filter(([category]) => used.has(category as keyof typeof CATEGORIES));
  const items = keys.map(([category, name]) => `<span class="key ${category}">${name}</span>`);
  return element("p", { class: "legend" }, ...items);
}

/** The list of fused units, each with the ops that share its loop. */
export function renderUnits(view: View): string {
  return foldUnits(view.explanation)
    .map((block) =>
      element("section", { class: "block" }, blockTitle(block), ...block.units.map((unit) => renderUnit(view, unit))),
    )
    .join("");
}

function blockTitle({ group, lastGroup, times }: UnitBlock): string {
  const name = group === "" ? "other" : group;
  return times === 1
    ? `<h3>${escapeHtml(name)}</h3>`
    : `<h3>${escapeHtml(`${name} … ${lastGroup}`)} <span class="times">× ${times}</span></h3>`;
}

function renderUnit(view: View, { id, title, kind, ops, bytes, bytesApart, inputs }: UnitExplanation): string {
  const saves = bytesApart > bytes ? `<span class="saves">saves ${formatBytes(bytesApart - bytes)}</span>` : "";
  const what = kind === "fused" ? `${plural(ops.length, "op")} in one loop` : kind === "copy" ? "copies" : kind;
  const rows = ops.map(({ value, op, operands, type, isWritten }) => {
    const text = `${value} = ${op}(${operands.join(", ")})`;
    return `<li class="${isWritten ? "written" : ""}"><code>${escapeHtml(text)}</code><i>${escapeHtml(type)}</i></li>`;
  });
  const reads = inputs.length === 0 ? "" : `<p class="inputs">${inputs.slice(0, 3).map(escapeHtml).join(", ")}</p>`;
  return element(
    "article",
    { class: `unit ${view.categories[id]}`, "data-unit": id, tabindex: 0 },
    `<h4>${escapeHtml(title)}</h4>`,
    `<p class="meta"><span>${what}</span><span>${formatBytes(bytes)}</span>${saves}</p>`,
    reads,
    `<ol class="ops">${rows.join("")}</ol>`,
  );
}

/** What a kernel's compiler recognised in its source, each with its line. */
export function renderIntents({ source }: View): string {
  const { intents = [] } = source ?? {};
  if (intents.length === 0) return "";
  const items = intents.map(({ name, what, how, line }) => {
    const text = `<b>${escapeHtml(name)}</b> ${escapeHtml(what)}<i>line ${line}; ${escapeHtml(how)}</i>`;
    return `<li data-line="${line}" tabindex="0">${text}</li>`;
  });
  return `<section class="block"><h3>recognised in the source</h3><ul class="intents">${items.join("")}</ul></section>`;
}

/** Kernels by the time that they take, each with a bar: its time, and how much of it the ceiling would need. */
export function renderKernelTable(view: View): string {
  const weight = ({ measuredSeconds, predictedSeconds, bytes }: ViewKernel): number =>
    measuredSeconds ?? predictedSeconds ?? bytes;
  const sorted = view.kernels.toSorted((a, b) => weight(b) - weight(a));
  const most = Math.max(...sorted.map(weight), Number.MIN_VALUE);
  const total = sorted.reduce((sum, kernel) => sum + weight(kernel), 0);
  const rows = sorted.map((kernel) => {
    const { id, name, category, count, bytes, operations, measuredSeconds, predictedSeconds } = kernel;
    const share =
      predictedSeconds === undefined || measuredSeconds === undefined
        ? undefined
        : Math.min(1, predictedSeconds / Math.max(measuredSeconds, 1e-12));
    const width = round((100 * weight(kernel)) / most);
    const inner = share === undefined ? "" : `<b style="width:${round(100 * share)}%"></b>`;
    return row({ class: category, "data-kernel": id, tabindex: 0 }, [
      `${escapeHtml(name)} <i>#${id} ${escapeHtml(purposeOf(view, kernel))}</i>`,
      String(count),
      formatBytes(bytes),
      (operations / Math.max(1, bytes)).toPrecision(2),
      measuredSeconds === undefined ? "" : formatSeconds(measuredSeconds),
      predictedSeconds === undefined ? "" : formatSeconds(predictedSeconds),
      share === undefined ? "" : percent(share),
      percent(weight(kernel) / Math.max(total, 1e-30)),
      `<td class="bar"><span style="width:${width}%">${inner}</span></td>`,
    ]);
  });
  const head = ["kernel", "calls", "moves", "op/byte", "measured", "at least", "of ceiling", "of time", ""];
  return tableOf("kernels", head, rows);
}

/** What a kernel is for, where its name does not say it. */
function purposeOf({ explanation: { units } }: View, { name, units: ids }: ViewKernel): string {
  const titles = new Set(ids.map((id) => units[id]!.title).filter((title) => !name.startsWith(title)));
  const [first] = titles;
  return first === undefined ? "" : titles.size === 1 ? first : `${first}, ...`;
}

/** The run as a strip: every call as wide as the time that it takes, stages set apart. */
export function renderTimeline(view: View): string {
  const { calls, stages, units } = view.explanation;
  const timeOf = (id: number): number =>
    view.profile?.callSeconds[id] ?? calls[id]!.predictedSeconds ?? calls[id]!.bytes;
  const total = calls.reduce((sum, { id }) => sum + timeOf(id), 0);
  const pieces = stages.map(({ id: stage, kind, calls: ids, loops }) => {
    const inner = ids.map((id) => {
      const call = calls[id]!;
      const { name, category } = view.kernels[call.kernel]!;
      const title = `${units[call.unit]!.title}: ${name} #${call.kernel}`;
      const style = `flex-grow:${round((1e4 * timeOf(id)) / total)}`;
      return element("i", { class: category, "data-unit": call.unit, style, title });
    });
    const grow = ids.reduce((sum, id) => sum + timeOf(id), 0);
    const times = loops.length > 0 ? `, ${loops.join(" x ")} times` : "";
    const style = `flex-grow:${round((1e4 * grow) / total)}`;
    return element("div", { class: `stage ${kind}`, style, title: `stage ${stage}, ${kind}${times}` }, ...inner);
  });
  const parallel = stages.filter(({ kind }) => kind === "parallel").length;
  const caption =
    `${plural(parallel, "stage")} shared by all threads, ${stages.length - parallel} on one thread, too small to ` +
    "share. The team meets between stages.";
  return `<div class="timeline">${pieces.join("")}</div><p class="caption">${caption}</p>`;
}

/** Donations and layouts. */
export function renderDecisions(view: View): string {
  const { donations, layouts, totals, memory } = view.explanation;
  const inPlace = donations.filter(({ isInPlace }) => isInPlace);
  const copied = donations.filter(({ isInPlace }) => !isInPlace);
  const bytesOf = (list: typeof donations): string =>
    formatBytes(list.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  const cards: [title: string, value: string, text: string][] = [
    [
      "Fusion",
      formatBytes(totals.savedBytes),
      `saved of ${formatBytes(totals.savedBytes + totals.bytes)} that the ops would move one by one`,
    ],
    [
      "Memory plan",
      formatBytes(memory.arenaBytes),
      `for ${formatBytes(memory.totalBytes)} of buffers; ${formatBytes(memory.liveBytesMax)} are alive at the peak`,
    ],
  ];
  if (donations.length > 0) {
    const rest = copied.length === 0 ? "none copied" : `${copied.length} copied at the end, ${bytesOf(copied)}`;
    cards.push([
      "In place",
      `${inPlace.length} of ${donations.length}`,
      `inputs are updated where they lie, ${bytesOf(inPlace)}; ${rest}`,
    ]);
  }
  const rows = layouts.map(({ what, count, bytes }) => {
    return row({}, [escapeHtml(what), String(count), bytes === 0 ? "free" : formatBytes(bytes)]);
  });
  const html = cards.map(
    ([title, value, text]) =>
      `<div class="card"><h3>${title}</h3><p class="value">${escapeHtml(value)}</p><p>${escapeHtml(text)}</p></div>`,
  );
  return element("div", { class: "cards" }, ...html) + tableOf("layouts", ["layout", "count", "moves"], rows);
}
