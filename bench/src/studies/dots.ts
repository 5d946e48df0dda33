// A picture of comparisons: one line a contender, a dot for each seed, a bar for the mean with its standard error, as
// one SVG that stands alone in a document.

import { mean, standardError } from "../statistics.ts";

export interface DotRow {
  readonly name: string;
  /** One number for each seed. */
  readonly values: readonly number[];
}

export interface DotAxes {
  readonly low: number;
  readonly high: number;
  readonly title: string;
}

const FONT = 'font-family="sans-serif" font-size="12"';
const WIDTH = 760;
const PLOT = { right: 736, top: 44 } as const;
/** Room for names, at least, and for each of their characters. */
const NAME_WIDTH = { least: 150, character: 7 } as const;
const ROW_HEIGHT = 22;
const TICKS = 6;

/** Where values lie beyond the axes, the mean is written at their end instead. */
export function dotsSvg(rows: readonly DotRow[], { low, high, title }: DotAxes): string {
  const left = Math.max(NAME_WIDTH.least, 16 + NAME_WIDTH.character * Math.max(...rows.map(({ name }) => name.length)));
  const bottom = PLOT.top + rows.length * ROW_HEIGHT;
  const share = (value: number): number => Math.min(1, Math.max(0, (value - low) / (high - low)));
  const x = (value: number): number => Math.round(10 * (left + (PLOT.right - left) * share(value))) / 10;
  const ticks = Array.from({ length: TICKS + 1 }, (_, i) => low + ((high - low) * i) / TICKS);
  const grid = ticks.map(
    (tick) =>
      `<line x1="${x(tick)}" x2="${x(tick)}" y1="${PLOT.top}" y2="${bottom}" stroke="#ddd"/>` +
      `<text x="${x(tick)}" y="${bottom + 18}" text-anchor="middle" fill="#666">${tick.toFixed(2)}</text>`,
  );
  const drawn = rows.map(({ name, values }, i) => {
    const y = PLOT.top + (i + 0.5) * ROW_HEIGHT;
    const [middle, error] = [mean(values), standardError(values)];
    const color = middle < 0 ? "#0a66c2" : "#b33a7f";
    const dots = values.map((value) =>
      value > high
        ? `<text x="${PLOT.right}" y="${y + 4}" text-anchor="end" fill="${color}">→ ${middle.toFixed(2)}</text>`
        : `<circle cx="${x(value)}" cy="${y}" r="3" fill="${color}" fill-opacity="0.45"/>`,
    );
    return (
      `<text x="${left - 10}" y="${y + 4}" text-anchor="end" fill="#222">${name}</text>` +
      `<line x1="${x(middle - error)}" x2="${x(middle + error)}" y1="${y}" y2="${y}" ` +
      `stroke="${color}" stroke-width="5"/>` +
      [...new Set(dots)].join("")
    );
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 32}" ${FONT}>`,
    `<rect width="${WIDTH}" height="${bottom + 32}" fill="#fff"/>`,
    `<text x="16" y="22" fill="#444">${title}</text>`,
    ...grid,
    `<line x1="${x(0)}" x2="${x(0)}" y1="${PLOT.top}" y2="${bottom}" stroke="#444"/>`,
    ...drawn,
    "</svg>",
    "",
  ].join("\n");
}
