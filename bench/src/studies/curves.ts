// The picture of a study: curves of several runs in one SVG that stands alone in a document, light or dark.

/** One run; runs of one name share a colour and an entry in the legend. */
export interface StudyCurve {
  readonly name: string;
  readonly color: string;
  /** Lengths of dashes and gaps; a whole line where absent. */
  readonly dash?: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface StudyAxes {
  readonly xMax: number;
  readonly yLow: number;
  readonly yHigh: number;
  readonly xName: string;
  readonly yName: string;
  /** Where the x axis is marked; evenly where absent. */
  readonly xTicks?: readonly { readonly at: number; readonly label: string }[];
}

const FONT = 'font-family="sans-serif" font-size="12"';
const SIZE = { width: 760, height: 400 } as const;
const PLOT = { left: 56, right: 744, top: 40, bottom: 352 } as const;
/** Lines of the grid in each direction. */
const TICKS = 5;

/** Points outside of the axes are left out. */
export function curvesSvg(curves: readonly StudyCurve[], axes: StudyAxes): string {
  const x = (value: number): number => round(PLOT.left + ((PLOT.right - PLOT.left) * value) / axes.xMax);
  const share = (value: number): number => (value - axes.yLow) / (axes.yHigh - axes.yLow);
  const y = (value: number): number => round(PLOT.bottom - (PLOT.bottom - PLOT.top) * share(value));
  const paths = curves.map(({ color, dash, points }) => {
    const shown = points.filter(([px, py]) => px <= axes.xMax && py >= axes.yLow && py <= axes.yHigh);
    const line = shown.map(([px, py], i) => `${i === 0 ? "M" : "L"}${x(px)} ${y(py)}`).join("");
    return `<path d="${line}" fill="none" stroke="${color}"${dashes(dash)} stroke-width="1.5"/>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" ${FONT}>`,
    `<rect width="${SIZE.width}" height="${SIZE.height}" fill="#fff"/>`,
    ...gridLines(axes, y),
    ...marks(axes, x),
    ...paths,
    ...legend(curves),
    `<text x="${PLOT.left}" y="${SIZE.height - 10}" fill="#444">${axes.xName}</text>`,
    `<text x="${PLOT.left}" y="${PLOT.top - 20}" fill="#444">${axes.yName}</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function dashes(dash: string | undefined): string {
  return dash === undefined ? "" : ` stroke-dasharray="${dash}"`;
}

function gridLines({ yLow, yHigh }: StudyAxes, y: (value: number) => number): string[] {
  return Array.from({ length: TICKS + 1 }, (_, i) => {
    const level = yLow + ((yHigh - yLow) * i) / TICKS;
    return (
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${y(level)}" y2="${y(level)}" stroke="#ddd"/>` +
      `<text x="${PLOT.left - 8}" y="${y(level) + 4}" text-anchor="end" fill="#666">${level.toFixed(1)}</text>`
    );
  });
}

function marks({ xMax, xTicks }: StudyAxes, x: (value: number) => number): string[] {
  const even = Array.from({ length: TICKS + 1 }, (_, i) => (xMax * i) / TICKS);
  return (xTicks ?? even.map((at) => ({ at, label: String(at) }))).map(
    ({ at, label }) => `<text x="${x(at)}" y="${PLOT.bottom + 18}" text-anchor="middle" fill="#666">${label}</text>`,
  );
}

function legend(curves: readonly StudyCurve[]): string[] {
  const styles = new Map(curves.map((curve) => [curve.name, curve]));
  return [...styles.values()].map(({ name, color, dash }, i) => {
    const top = PLOT.top + 14 + i * 18;
    const line = `x1="${PLOT.right - 190}" x2="${PLOT.right - 166}" y1="${top - 4}" y2="${top - 4}"`;
    return (
      `<line ${line} stroke="${color}"${dashes(dash)} stroke-width="2"/>` +
      `<text x="${PLOT.right - 160}" y="${top}" fill="#222">${name}</text>`
    );
  });
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
