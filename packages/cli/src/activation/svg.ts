// The picture of an activation: the function and its derivatives in one panel each, over one axis, breaks marked.

import { formatExpression } from "@fidelity/furnace/symbolic";
import { escapeHtml, roundTicks } from "@fidelity/train";
import type { Interval, Profile } from "./profile.ts";
import { describeBreak } from "./profile.ts";

const WIDTH = 760;
const PANEL = { left: 64, right: 744, height: 150, gap: 44, top: 76 } as const;
const NAMES = ["f(x)", "f'(x)", "f''(x)", "f'''(x)"] as const;
const COLORS = ["#0969da", "#1a7f37", "#9a6700", "#bf3989"] as const;
/** A line of a formula; longer ones end in dots. */
const FORMULA_LENGTH_MAX = 84;
/** Poles would flatten everything else: a panel shows what most samples have. */
const SHOWN_SHARE = 0.98;

export function activationSvg({ text, formulas, samples, breaks }: Profile, interval: Interval): string {
  const height = PANEL.top + formulas.length * (PANEL.height + PANEL.gap) + 12;
  const panels = formulas.map((formula, order) => {
    const values = samples.map((row) => [row[0], row[order + 1]] as const);
    const top = PANEL.top + order * (PANEL.height + PANEL.gap);
    const marks = breaks.filter((found) => found.order <= order).map(({ at }) => at);
    return panel(`${NAMES[order]} = ${shorten(formatExpression(formula))}`, values, marks, { top, order, interval });
  });
  const note =
    breaks.length === 0
      ? "no breaks up to the third derivative"
      : breaks.length === 1
        ? describeBreak(breaks[0])
        : `${breaks.length} places where it or a derivative breaks`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="16" y="22" font-size="15" fill="#1b1f24">${escapeHtml(shorten(text))}</text>`,
    `<text x="16" y="40" fill="#57606a">${escapeHtml(note)}</text>`,
    ...panels,
    "</svg>",
    "",
  ].join("\n");
}

interface Place {
  readonly top: number;
  readonly order: number;
  readonly interval: Interval;
}

function panel(
  title: string,
  values: readonly (readonly [x: number, y: number])[],
  marks: readonly number[],
  { top, order, interval }: Place,
): string {
  const ticks = roundTicks(...extent(values.map(([, y]) => y)), 4);
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const x = (value: number): number =>
    round(PANEL.left + ((PANEL.right - PANEL.left) * (value - interval.from)) / (interval.to - interval.from));
  const y = (value: number): number => round(top + PANEL.height * (1 - (value - low) / (high - low)));
  const across = `x1="${PANEL.left}" x2="${PANEL.right}"`;
  const down = `y1="${top}" y2="${top + PANEL.height}"`;
  const below = `y="${top + PANEL.height + 14}" text-anchor="middle" fill="#57606a" font-size="10"`;
  const rows = ticks.map(
    (tick) =>
      `<line ${across} y1="${y(tick)}" y2="${y(tick)}" stroke="${tick === 0 ? "#8d96a0" : "#e4e8ec"}"/>` +
      `<text x="${PANEL.left - 8}" y="${y(tick) + 4}" text-anchor="end" fill="#57606a">${tick}</text>`,
  );
  const columns = roundTicks(interval.from, interval.to, 10)
    .filter((tick) => tick >= interval.from && tick <= interval.to)
    .map((tick) => `<text x="${x(tick)}" ${below}>${tick}</text>`);
  const lines = marks.map(
    (at) => `<line x1="${x(at)}" x2="${x(at)}" ${down} stroke="#cf222e" stroke-dasharray="3 3"/>`,
  );
  const path = curve(values, marks, low, high)
    .map((points) => points.map(([px, py], i) => `${i === 0 ? "M" : "L"}${x(px)} ${y(py)}`).join(""))
    .join("");
  return [
    `<text x="${PANEL.left}" y="${top - 6}" fill="${COLORS[order]}">${escapeHtml(title)}</text>`,
    ...rows,
    ...columns,
    ...lines,
    `<path d="${path}" fill="none" stroke="${COLORS[order]}" stroke-width="1.8" stroke-linejoin="round"/>`,
  ].join("\n");
}

/** Pieces that are drawn without lifting the pen: not over a break, and not outside of the panel. */
function curve(
  values: readonly (readonly [x: number, y: number])[],
  marks: readonly number[],
  low: number,
  high: number,
): (readonly [number, number])[][] {
  const pieces: (readonly [number, number])[][] = [[]];
  let before = -Infinity;
  for (const [x, y] of values) {
    const isBroken = marks.some((at) => before < at && x >= at);
    if (!(y >= low && y <= high) || isBroken) pieces.push([]);
    if (y >= low && y <= high) pieces.at(-1)!.push([x, y]);
    before = x;
  }
  return pieces.filter((piece) => piece.length > 0);
}

function extent(values: readonly number[]): [low: number, high: number] {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return [0, 1];
  const [least, most] = [sorted[0], sorted[sorted.length - 1]];
  const cut = Math.floor((sorted.length * (1 - SHOWN_SHARE)) / 2);
  const [low, high] = [sorted[cut], sorted[sorted.length - 1 - cut]];
  // Zero is always shown; tails are cut only where they are far away.
  const isFar = most - least > 4 * (high - low) && high > low;
  return isFar ? [Math.min(low, 0), Math.max(high, 0)] : [Math.min(least, 0), Math.max(most, 0)];
}

const shorten = (text: string): string =>
  text.length <= FORMULA_LENGTH_MAX ? text : `${text.slice(0, FORMULA_LENGTH_MAX)}...`;
const round = (value: number): number => Math.round(value * 100) / 100;
