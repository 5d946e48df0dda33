// The page of a program: one HTML file that needs nothing from anywhere. Lists and pictures are drawn here and show
// without scripts; the script ties them together and fills the columns with the kernel that is looked at.

import type { Explanation } from "../explain/explanation.ts";
import { foldUnits } from "../explain/sequences.ts";
import { pageScript } from "./client.ts";
import type { PageData, PageText } from "./client.ts";
import { createView } from "./data.ts";
import type { View, ViewInput, ViewSource } from "./data.ts";
import { renderGraph } from "./graph_svg.ts";
import { element, escapeHtml } from "./html.ts";
import type { StageLine } from "./lines.ts";
import { renderMemory } from "./memory_svg.ts";
import { renderRoofline } from "./roofline_svg.ts";
import {
  renderDecisions,
  renderHeader,
  renderIntents,
  renderKernelTable,
  renderLegend,
  renderTimeline,
  renderUnits,
} from "./sections.ts";
import { highlightSource } from "./source_text.ts";
import { STYLE } from "./style.ts";

/** The whole page as text. */
export function renderView(input: ViewInput): string {
  const view = createView(input);
  const data = JSON.stringify(pageData(view)).replaceAll("<", "\\u003c");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(view.title)}</title><style>${STYLE}</style></head>
<body>
${renderHeader(view)}
<main>
${sections(view).join("\n")}
</main>
<footer>Written by fidelity compile --view. The page is one file and works without a network.</footer>
<script type="application/json" id="data">${data}</script>
<script>${pageScript()}</script>
</body></html>
`;
}

function sections(view: View): string[] {
  const figure = (html: string, name?: string): string => element("figure", { class: name }, html);
  return [
    section(
      "From the model to the machine",
      "Every unit of the fused graph becomes one kernel; equal kernels are kept once. Point at a unit or a line to " +
        "see its counterparts, click to bring them into sight.",
      renderLegend(view) + renderColumns(view),
    ),
    section(
      "Where the time goes",
      timeText(view),
      element("div", { class: "profile" }, figure(renderRoofline(view)), figure(renderKernelTable(view), "tall")),
    ),
    section(
      "One run",
      "Each piece is a call, as wide as its time; low ones run on one thread.",
      figure(renderTimeline(view)),
    ),
    section(
      "Memory plan",
      "Intermediate values share one arena: time goes right, addresses go down, and a buffer's place is free again " +
        "when its last reader is done.",
      figure(renderMemory(view)),
    ),
    section("Decisions and what they cost", "Counted from the program, not estimated.", renderDecisions(view)),
  ];
}

function section(title: string, text: string, body: string): string {
  return `<section><h2>${escapeHtml(title)}</h2><p>${escapeHtml(text)}</p>${body}</section>`;
}

function timeText({ profile, explanation }: View): string {
  const ceiling = "A bar's full part is what the machine's measured ceiling allows at best.";
  if (profile !== undefined) {
    const where = `${profile.target}, ${profile.threads} ${profile.threads === 1 ? "thread" : "threads"}`;
    return `Measured call by call (${where}). ${ceiling} Circles are kernels, their area the time.`;
  }
  return explanation.ceilings === undefined
    ? "Nothing was measured: kernels are sorted by the bytes that they move."
    : "Not run: times are the least that the measured ceilings allow.";
}

const WIDTHS = {
  source: "minmax(420px, 1.2fr)",
  graph: "minmax(340px, 1fr)",
  units: "minmax(290px, 0.85fr)",
  code: "minmax(330px, 1fr)",
} as const;

function renderColumns(view: View): string {
  const { source } = view;
  const columns: [width: string, html: string][] = [];
  if (source !== undefined) {
    columns.push([
      WIDTHS.source,
      column("source", "Source", source.file, `<div class="scroll source">${highlightSource(source.text)}</div>`),
    ]);
  } else {
    columns.push([
      WIDTHS.graph,
      column(
        "graph",
        "Graph",
        `${view.explanation.graph.ops} ops`,
        `<div class="scroll picture">${renderGraph(view)}</div>`,
      ),
    ]);
  }
  columns.push([
    WIDTHS.units,
    column(
      "units",
      "Fused units",
      `${view.explanation.units.length}`,
      `<div class="scroll">${renderUnits(view)}${renderIntents(view)}</div>`,
    ),
  ]);
  for (const { id, title } of view.allStages) {
    const name = `<span class="kernel-name"></span>`;
    columns.push([
      WIDTHS.code,
      element(
        "div",
        { class: "column code-column", "data-stage": id },
        `<h3>${escapeHtml(title)}${name}</h3><div class="scroll code"></div>`,
      ),
    ]);
  }
  const style = `--columns: ${columns.map(([width]) => width).join(" ")}`;
  return element("div", { class: "columns", style }, ...columns.map(([, html]) => html));
}

function column(id: string, title: string, note: string, body: string): string {
  return element(
    "div",
    { class: "column", "data-stage": id },
    `<h3>${title}<span>${escapeHtml(note)}</span></h3>${body}`,
  );
}

function pageData(view: View): PageData {
  const { explanation, allStages, kernels, source, program } = view;
  const { units, calls } = explanation;
  return {
    stages: allStages.map(({ id }) => id),
    texts: program.kernels.map((_, kernel) => allStages.map((stage) => pageText(stage.kernels[kernel] ?? []))),
    names: kernels.map(({ name }) => name),
    unitKernels: units.map((unit) => [...new Set(unit.calls.map((id) => calls[id]!.kernel))]),
    kernelUnits: kernels.map((kernel) => [...kernel.units]),
    unitShown: shownUnits(explanation),
    sourceLines: source === undefined ? [] : program.kernels.map((_, kernel) => sourceLines(source, kernel, view)),
    firstUnit: firstUnit(explanation),
  };
}

function pageText(lines: readonly StageLine[]): PageText {
  // Declarations of a function's locals are many and say little.
  const shown = lines.filter(({ text }) => !/^\s*\(local /.test(text));
  return { text: shown.map(({ text }) => text).join("\n"), inst: shown.map(({ inst }) => inst ?? -1) };
}

/** Which unit stands for each: those of folded layers are shown by the first layer's. */
function shownUnits(explanation: Explanation): number[] {
  const shown = explanation.units.map(({ id }) => id);
  for (const { folded } of foldUnits(explanation)) {
    for (const occurrence of folded) occurrence.forEach(({ id }, i) => (shown[id] = folded[0]![i]!.id));
  }
  return shown;
}

function sourceLines(source: ViewSource, kernel: number, { allStages }: View): number[] {
  const known = allStages[0]!.kernels[kernel]!.map(({ inst }) => inst ?? -1);
  return Array.from({ length: Math.max(-1, ...known) + 1 }, (_, inst) => source.lineOf(kernel, inst) ?? -1);
}

/** The unit that the page begins with: the one in which fusion saves the most, or else that with the most to do. */
function firstUnit({ units }: Explanation): number {
  const weights = units.map(({ bytes, bytesApart }) => (bytesApart > bytes ? bytesApart : 0));
  const most = weights.reduce((best, value, id) => (value > weights[best]! ? id : best), 0);
  if (weights[most]! > 0) return most;
  return units.reduce((best, { bytes, id }) => (bytes > units[best]!.bytes ? id : best), 0);
}
