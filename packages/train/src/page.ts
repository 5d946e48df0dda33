// The page of a run: one HTML file that needs nothing from anywhere. The curves are drawn here, as SVG, so they show
// without scripts; a few lines of script add the values under the pointer. While the run goes on the page reloads
// itself. It is light or dark as the reader's system is.

import type { PlainConfig } from "@fidelity/models";
import { escapeHtml, renderChart } from "./chart.ts";
import type { Curve } from "./chart.ts";
import { formatCount, formatDuration, formatLoss, formatSmall } from "./format.ts";
import type { MetricsRow } from "./metrics.ts";
import { Series } from "./series.ts";

/** Points of the drawn curves; more would not show on a screen. */
const pointsMax = 1024;
const reloadSeconds = 5;

/** What a page is drawn from, in bounded memory. */
export class RunCurves {
  readonly #steps = new Series(5, pointsMax); // step, loss, learning rate, gradient norm, tokens/s
  readonly #validation = new Series(2, pointsMax); // step, loss
  #flips: Series | undefined; // step, share of each layer
  #latest: MetricsRow | undefined;
  #validationLoss: number | undefined;

  add(row: MetricsRow): void {
    this.#latest = row;
    this.#steps.add(row.step, row.loss, row.learningRate, row.gradientNorm, row.tokensPerSecond);
    if (row.flips !== undefined) {
      this.#flips ??= new Series(1 + row.flips.length, pointsMax);
      this.#flips.add(row.step, ...row.flips);
    }
    if (row.validationLoss === undefined) return;
    this.#validationLoss = row.validationLoss;
    this.#validation.add(row.step, row.validationLoss);
  }

  get latest(): MetricsRow | undefined {
    return this.#latest;
  }

  get validationLoss(): number | undefined {
    return this.#validationLoss;
  }

  /** Points [step, loss, learning rate, gradient norm, tokens/s]. */
  steps(): readonly (readonly number[])[] {
    return this.#steps.points();
  }

  /** Points [step, share of the first layer's ternary weights that flipped, ...]; none without ternary weights. */
  flips(): readonly (readonly number[])[] {
    return this.#flips?.points() ?? [];
  }

  /** Points [step, validation loss]. */
  validation(): readonly (readonly number[])[] {
    return this.#validation.points();
  }
}

export interface PageInput {
  readonly title: string;
  readonly state: "running" | "stopped" | "finished";
  readonly steps: number;
  readonly curves: RunCurves;
  /** Sections of the table below the curves: names and values. */
  readonly details: Readonly<Record<string, PlainConfig>>;
}

/** The whole page as text. */
export function renderPage({ title, state, steps, curves, details }: PageInput): string {
  const points = curves.steps();
  const curve = (name: string, style: string, column: number): Curve => {
    return { name, style, points: points.map((point) => [point[0], point[column]] as const) };
  };
  const validation = curves.validation().map(([step, loss]) => [step, loss] as const);
  const xMax = steps;
  const charts = [
    renderChart({
      title: "loss, nats a token",
      curves: [
        curve("training", "curve-loss", 1),
        { name: "validation", style: "curve-validation", points: validation },
      ],
      xMax,
      heightPx: 320,
      format: formatTick,
    }),
    renderChart({
      title: "learning rate",
      curves: [curve("rate", "curve-rate", 2)],
      xMax,
      heightPx: 130,
      format: formatTick,
      fromZero: true,
    }),
    renderChart({
      title: "gradient norm",
      curves: [curve("norm", "curve-norm", 3)],
      xMax,
      heightPx: 130,
      format: formatTick,
      fromZero: true,
    }),
    ...flipsChart(curves, xMax),
    renderChart({
      title: "tokens/s",
      curves: [curve("tokens/s", "curve-speed", 4)],
      xMax,
      heightPx: 130,
      format: formatCount,
      fromZero: true,
    }),
  ];
  const reload = state === "running" ? `<meta http-equiv="refresh" content="${reloadSeconds}">` : "";
  const data = JSON.stringify({ steps: points.map(compact), validation: validation.map(compact), xMax });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">${reload}
<title>${escapeHtml(title)}</title><style>${styleSheet}</style></head>
<body><h1>${escapeHtml(title)}</h1>
<p class="summary">${summary(state, steps, curves)}</p>
<p id="values">&nbsp;</p>
${charts.join("\n")}
${Object.entries(details).map(renderTable).join("\n")}
<script type="application/json" id="data">${data.replaceAll("<", "\\u003c")}</script>
<script>${hoverScript}</script></body></html>
`;
}

/** The chart of the weights that flip, for a model that has any. */
function flipsChart(curves: RunCurves, xMax: number): string[] {
  const points = curves.flips();
  if (points.length === 0) return [];
  const layers = points[0].length - 1;
  // More layers than hues share curves.
  const bands = Math.min(layers, layerHues.length);
  const drawn = Array.from({ length: bands }, (_, band): Curve => {
    const [first, end] = [band, band + 1].map((edge) => Math.round((edge * layers) / bands));
    const name = end - first === 1 ? `layer ${first}` : `layers ${first} to ${end - 1}`;
    const mean = (point: readonly number[]): number =>
      point.slice(1 + first, 1 + end).reduce((sum, share) => sum + share, 0) / (end - first);
    return { name, style: `curve-layer-${band}`, points: points.map((point) => [point[0], mean(point)] as const) };
  });
  const title = "ternary weights that change in a step, share of the layer's";
  return [renderChart({ title, curves: drawn, xMax, heightPx: 200, format: formatShare, fromZero: true })];
}

function formatShare(value: number): string {
  return `${Number((100 * value).toPrecision(3))} %`;
}

function summary(state: PageInput["state"], steps: number, curves: RunCurves): string {
  const { latest, validationLoss } = curves;
  if (latest === undefined) return `${state}, no step yet`;
  const parts = [
    `${state}, step ${latest.step} of ${steps}`,
    `loss ${formatLoss(latest.loss)}`,
    ...(validationLoss === undefined ? [] : [`validation loss ${formatLoss(validationLoss)}`]),
    `${formatCount(latest.tokensPerSecond)} tokens/s`,
    `after ${formatDuration(latest.seconds)}`,
  ];
  return escapeHtml(parts.join(" · "));
}

function renderTable([name, rows]: readonly [string, PlainConfig]): string {
  const lines = Object.entries(rows).map(
    ([key, value]) => `<tr><th>${escapeHtml(key)}</th><td>${escapeHtml(String(value))}</td></tr>`,
  );
  return `<h2>${escapeHtml(name)}</h2><table>${lines.join("")}</table>`;
}

function formatTick(value: number): string {
  return value !== 0 && Math.abs(value) < 0.01 ? formatSmall(value) : String(value);
}

/** Six digits are more than a screen shows. */
function compact(point: readonly number[]): number[] {
  return point.map((value) => Number(value.toPrecision(6)));
}

/** Hues of layers in degrees; neighbours are far apart, and the lightness shows on light and dark paper. */
const layerHues = [215, 30, 150, 325, 55, 275, 185, 0];

const styleSheet = `
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #d8dee4; --mute: #57606a;
  --loss: #0969da; --validation: #bf3989; --rate: #1a7f37; --norm: #9a6700; --speed: #6639ba; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #30363d; --mute: #8d96a0;
  --loss: #58a6ff; --validation: #f778ba; --rate: #3fb950; --norm: #d29922; --speed: #bc8cff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 800px;
  margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.4em; margin-bottom: 0; } h2 { font-size: 1em; margin: 1.5em 0 .3em; }
.summary, .empty, figcaption, #values { color: var(--mute); } .summary { margin-top: .2em; }
#values { font-variant-numeric: tabular-nums; position: sticky; top: 0; background: var(--paper); margin: 0; }
figure { margin: 1em 0 0; } svg { width: 100%; height: auto; display: block; }
path { fill: none; stroke: var(--line); stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
.curve-loss { --line: var(--loss); } .curve-validation { --line: var(--validation); }
.curve-rate { --line: var(--rate); } .curve-norm { --line: var(--norm); } .curve-speed { --line: var(--speed); }
${layerHues.map((hue, band) => `.curve-layer-${band} { --line: hsl(${hue} 65% 50%); }`).join("\n")}
path.curve-validation { stroke-width: 2.4; }
.key { color: var(--line); margin-left: 1em; } .key::before { content: "\\2014\\00a0"; }
.grid { stroke: var(--faint); } .cursor { stroke: var(--mute); } .tick { fill: var(--mute); font-size: 12px; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; font-weight: normal;
  padding: .15em .5em .15em 0; border-bottom: 1px solid var(--faint); overflow-wrap: anywhere; vertical-align: top; }
th { color: var(--mute); width: 30%; }
`;

// Plain browser script: the step under the pointer, its values above, a line through every chart.
const hoverScript = `
const { steps, validation, xMax } = JSON.parse(document.getElementById("data").textContent);
const values = document.getElementById("values");
const nearest = (points, x) => points.reduce((best, p) => Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best);
const charts = [...document.querySelectorAll("svg")];
const leave = () => {
  values.innerHTML = "&nbsp;";
  for (const svg of charts) svg.querySelector(".cursor").setAttribute("visibility", "hidden");
};
for (const svg of charts) {
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("pointermove", (event) => {
    if (steps.length === 0) return;
    const box = svg.getBoundingClientRect();
    const { left, width } = svg.dataset;
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const [step, loss, rate, norm, speed] = nearest(steps, ((at - left) / width) * xMax);
    const v = validation.length === 0 ? undefined : nearest(validation, step);
    values.textContent = "step " + Math.round(step) + "   loss " + loss.toFixed(4) +
      (v === undefined ? "" : "   validation " + v[1].toFixed(4) + " (step " + Math.round(v[0]) + ")") +
      "   rate " + rate.toExponential(2) + "   norm " + norm.toPrecision(3) + "   " + Math.round(speed) + " tokens/s";
    for (const other of charts) {
      const x = Number(other.dataset.left) + (step / xMax) * Number(other.dataset.width);
      const line = other.querySelector(".cursor");
      line.setAttribute("x1", x); line.setAttribute("x2", x); line.setAttribute("visibility", "visible");
    }
  });
}
`;
