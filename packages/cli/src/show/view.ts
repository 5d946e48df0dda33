// The page of a model file: what it is made of, what its tensors look like, what its state takes. One HTML file that
// fetches nothing, light or dark as the reader's system is.

import { describeFit } from "@fidelity/run/node";
import { escapeHtml } from "@fidelity/train";
import type { ComponentDescription, FileDescription, TensorDescription } from "../describe-file.ts";
import { formatCount, formatSize, plural } from "../table.ts";
import { cardRows, configRows } from "./facts.ts";
import type { TensorStatistics } from "./statistics.ts";

export interface ShowPage {
  readonly description: FileDescription;
  /** What the tokens pass through, in order. */
  readonly chain: readonly ComponentDescription[];
  /** By a tensor's name. */
  readonly statistics: ReadonlyMap<string, TensorStatistics>;
}

/** The page as text. */
export function renderShowPage({ description, chain, statistics }: ShowPage): string {
  const { path, format, fileSizeBytes, architecture, components, totals, memory, types = [] } = description;
  const title = path.split("/").at(-1) ?? path;
  const { tensors: count, elements, sizeBytes: bytes } = totals;
  const size = `${formatCount(elements)} in ${plural(count, "tensor")}, ${formatSize(bytes)}`;
  const facts = [["format", `${format}, ${formatSize(fileSizeBytes)}`]];
  if (architecture !== undefined) facts.push(["architecture", `${architecture.name}: ${architecture.summary}`]);
  facts.push(...cardRows(description), ["parameters", size]);
  for (const { dtype, tensors, sizeBytes } of types) {
    facts.push([dtype, `${plural(tensors, "tensor")}, ${formatSize(sizeBytes)}`]);
  }
  if (memory !== undefined) facts.push(["memory", describeFit(memory)]);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title><style>${styleSheet}</style></head><body>
<h1>${escapeHtml(title)}</h1>
${table(facts)}
<h2>Components</h2>
<p class="note">From the tokens down to the logits. Equal neighbours are drawn once; a bar is a share of all bytes.</p>
<div class="chain">${chainCards(chain, totals.sizeBytes)}</div>
${memory === undefined ? "" : stateSection(memory)}
<h2>Tensors</h2>
<p class="note">Histograms span least to greatest; the line is zero, and heights are square roots of counts.</p>
${tensorTable(components, statistics)}
<h2>Configuration</h2>
${table(configRows(description))}
</body></html>
`;
}

function table(rows: readonly (readonly string[])[]): string {
  const cut = (text: string): string => escapeHtml(text.length > 400 ? `${text.slice(0, 400)}...` : text);
  const lines = rows.map(([name, value]) => `<tr><th>${cut(name)}</th><td>${cut(value)}</td></tr>`);
  return `<table class="facts">${lines.join("")}</table>`;
}

/** Components one under the other; runs of the same structure are one card. */
function chainCards(components: readonly ComponentDescription[], allBytes: number): string {
  const cards: { first: ComponentDescription; last: ComponentDescription; count: number; key: string }[] = [];
  for (const component of components) {
    const key = component.tensors.map((tensor) => `${localName(tensor, component)} ${tensor.shape.join("x")}`).join();
    const before = cards.at(-1);
    if (before?.key === key && component.tensors.length > 1) {
      before.last = component;
      before.count++;
    } else cards.push({ first: component, last: component, count: 1, key });
  }
  return cards
    .map(({ first, last, count }) => {
      const name = count === 1 ? first.id : `${first.id} to ${last.id}`;
      const times = count === 1 ? "" : `<span class="times">${count} times</span>`;
      const rows = first.tensors.map((tensor) => tensorBar(tensor, first, allBytes)).join("");
      const size = `${formatCount(count * first.elements)} parameters, ${formatSize(count * first.sizeBytes)}`;
      return `<section class="card"><h3>${escapeHtml(name)} ${times}<small>${size}</small></h3>${rows}</section>`;
    })
    .join('<div class="arrow"></div>');
}

function localName({ name }: TensorDescription, { id }: ComponentDescription): string {
  return name.startsWith(`${id}.`) ? name.slice(id.length + 1) : name;
}

function tensorBar(tensor: TensorDescription, component: ComponentDescription, allBytes: number): string {
  const share = Math.max(0.2, (100 * tensor.sizeBytes) / Math.max(1, allBytes));
  const shape = tensor.shape.length === 0 ? "scalar" : tensor.shape.join(" × ");
  const cells = [
    `<span>${escapeHtml(localName(tensor, component))}</span>`,
    `<span class="shape">${shape}</span>`,
    `<span class="type">${escapeHtml(tensor.dtype)}</span>`,
    `<span class="bar"><i style="width:${share.toFixed(2)}%"></i></span>`,
  ];
  return `<div class="part">${cells.join("")}</div>`;
}

function stateSection({ state, stateBytes, bytesPerToken, capacity }: NonNullable<FileDescription["memory"]>): string {
  const growth =
    bytesPerToken === 0
      ? "It has the same size at every position."
      : `It grows by ${formatSize(bytesPerToken)} a token; here is room for ${formatCount(capacity ?? 0)}.`;
  if (state.length === 0) return `<h2>State</h2><p class="note">None: every token sees all others at once.</p>`;
  const rows = state.map(({ name, dtype, shape, sizeBytes }) =>
    row([name, dtype, shape.join(" × "), formatSize(sizeBytes)]),
  );
  const summary = `What one sequence keeps between tokens: ${formatSize(stateBytes)}. ${growth}`;
  return `<h2>State</h2><p class="note">${summary}</p>
<details${rows.length > 12 ? "" : " open"}><summary>${plural(rows.length, "tensor")}</summary>
<table class="wide">${rows.join("")}</table></details>`;
}

function row(cells: readonly string[], rest = ""): string {
  return `<tr>${cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join("")}${rest}</tr>`;
}

function tensorTable(
  components: readonly ComponentDescription[],
  statistics: ReadonlyMap<string, TensorStatistics>,
): string {
  const names = ["tensor", "type", "shape", "histogram", "least", "greatest", "mean", "deviation", "zeros"];
  const head = `<tr>${names.map((name) => `<th>${name}</th>`).join("")}</tr>`;
  const groups = components.flatMap(({ tensors }) =>
    tensors.map(({ name, dtype, shape }) => {
      const found = statistics.get(name);
      const cells = found === undefined ? '<td colspan="6" class="note">not read</td>' : statisticsCells(found);
      return row([name, dtype, shape.join(" × ")], cells);
    }),
  );
  return `<div class="scroll"><table class="wide">${head}${groups.join("")}</table></div>`;
}

function statisticsCells(statistics: TensorStatistics): string {
  const { count, least, greatest, mean, deviation, zeros, nonFinite } = statistics;
  const share = zeros === 0 ? "" : `${((100 * zeros) / count).toPrecision(3)} %`;
  const warning = nonFinite === 0 ? "" : ` <b class="bad">${formatCount(nonFinite)} not finite</b>`;
  const number = (value: number): string => `<td class="number">${Number(value.toPrecision(3))}</td>`;
  const numbers = [least, greatest, mean, deviation].map(number).join("");
  return `<td>${histogramSvg(statistics)}${warning}</td>${numbers}<td class="number">${share}</td>`;
}

const plot = { width: 164, height: 30 };

function histogramSvg({ histogram, least, greatest }: TensorStatistics): string {
  const highest = Math.sqrt(Math.max(1, ...histogram));
  const step = plot.width / histogram.length;
  const bars = histogram.map((count, bin) => {
    if (count === 0) return "";
    const height = Math.max(1, (plot.height * Math.sqrt(count)) / highest);
    const [x, y] = [(bin * step).toFixed(1), (plot.height - height).toFixed(1)];
    return `<rect x="${x}" y="${y}" width="${(step - 0.6).toFixed(1)}" height="${height.toFixed(1)}"/>`;
  });
  const zero = least < 0 && greatest > 0 ? (plot.width * -least) / (greatest - least) : undefined;
  const x = zero?.toFixed(1);
  const line = x === undefined ? "" : `<line x1="${x}" x2="${x}" y1="0" y2="${plot.height}"/>`;
  const size = `viewBox="0 0 ${plot.width} ${plot.height}" width="${plot.width}" height="${plot.height}"`;
  return `<svg ${size} role="img" aria-label="histogram">${bars.join("")}${line}</svg>`;
}

const styleSheet = `
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --card: #f6f8fa; --faint: #d8dee4; --mute: #57606a;
  --bar: #0969da; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --card: #161b22; --faint: #30363d;
  --mute: #8d96a0; --bar: #58a6ff; --bad: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin: 0 0 .5em; }
h2 { font-size: 1.1em; margin: 2em 0 .3em; }
h3 { font-size: 1em; margin: 0 0 .4em; }
small, .note, summary { color: var(--mute); font-weight: normal; } small { float: right; }
.note { margin: .2em 0 .8em; }
table { border-collapse: collapse; } .facts { width: 100%; }
th, td { text-align: left; font-weight: normal; padding: .15em .7em .15em 0; border-bottom: 1px solid var(--faint);
  vertical-align: middle; overflow-wrap: anywhere; }
th { color: var(--mute); } .facts th { width: 24%; }
.wide { width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; } .wide td { white-space: nowrap; }
.number { text-align: right; } .scroll { overflow-x: auto; } .bad { color: var(--bad); }
.chain { max-width: 720px; }
.card { background: var(--card); border: 1px solid var(--faint);
  border-radius: 8px; padding: .6em .9em; }
.arrow { width: 0; height: 18px; margin: 0 auto; border-left: 2px solid var(--mute); position: relative; }
.arrow::after { content: ""; position: absolute; left: -6px; bottom: 0; border: 5px solid transparent;
  border-top-color: var(--mute); border-bottom: 0; }
.times { background: var(--bar); color: var(--paper); border-radius: 9px; padding: 0 .6em; font-size: .85em; }
.part { display: grid; grid-template-columns: 3fr 2fr 1fr 3fr; gap: .6em; align-items: center; font-size: 13px; }
.shape, .type { color: var(--mute); font-variant-numeric: tabular-nums; }
.bar { background: var(--faint); height: 6px; border-radius: 3px; overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--bar); }
svg rect { fill: var(--bar); } svg line { stroke: var(--mute); stroke-width: 1; } svg { display: block; }
`;
