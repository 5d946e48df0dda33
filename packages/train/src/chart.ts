// A line chart as SVG text: axes at round numbers, one path a curve. Colours are CSS variables of the page around it,
// so that one drawing serves light and dark. The page's script finds the positions again by the data attributes.

/** A curve: points [x, y] with rising x. */
export interface Curve {
  readonly name: string;
  /** A class of the page's style sheet, `curve-loss` for "loss". */
  readonly style: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface ChartOptions {
  readonly title: string;
  readonly curves: readonly Curve[];
  /** Right end of the x axis, which starts at 0. */
  readonly xMax: number;
  readonly format: (value: number) => string;
  readonly heightPx: number;
  /** Whether the y axis starts at 0 instead of the lowest value. */
  readonly fromZero?: boolean;
}

const widthPx = 760;
const margin = { left: 64, right: 16, top: 12, bottom: 28 };

/** A `<figure>` with the chart, or with a sentence where there is nothing to draw yet. */
export function renderChart(options: ChartOptions): string {
  const { title, curves, xMax, heightPx } = options;
  const drawn = curves.map((curve) => ({ ...curve, points: curve.points.filter(([, y]) => Number.isFinite(y)) }));
  const values = drawn.flatMap(({ points }) => points.map(([, y]) => y));
  const legend = drawn.map(({ name, style }) => `<span class="key ${style}">${escapeHtml(name)}</span>`).join(" ");
  const caption = `<figcaption>${escapeHtml(title)} ${drawn.length > 1 ? legend : ""}</figcaption>`;
  if (values.length === 0) return `<figure>${caption}<p class="empty">nothing measured yet</p></figure>`;
  const low = options.fromZero === true ? 0 : Math.min(...values);
  const ticks = roundTicks(low, Math.max(...values), 5);
  const [yLow, yHigh] = [ticks[0], ticks[ticks.length - 1]];
  const plot = { width: widthPx - margin.left - margin.right, height: heightPx - margin.top - margin.bottom };
  const x = (value: number): number => round2(margin.left + (plot.width * value) / xMax);
  const y = (value: number): number => round2(margin.top + plot.height * (1 - (value - yLow) / (yHigh - yLow)));
  const rows = ticks.map(
    (tick) =>
      `<line class="grid" x1="${margin.left}" x2="${widthPx - margin.right}" y1="${y(tick)}" y2="${y(tick)}"/>` +
      `<text class="tick" x="${margin.left - 8}" y="${y(tick) + 4}" text-anchor="end">${options.format(tick)}</text>`,
  );
  const columns = roundTicks(0, xMax, 6)
    .filter((tick) => tick <= xMax)
    .map((tick) => `<text class="tick" x="${x(tick)}" y="${heightPx - 8}" text-anchor="middle">${tick}</text>`);
  const paths = drawn.map(({ style, points }) => {
    // A single point is a line of no length, which a round cap makes visible.
    const visible = points.length === 1 ? [points[0], points[0]] : points;
    const line = visible.map(([px, py], i) => `${i === 0 ? "M" : "L"}${x(px)} ${y(py)}`).join("");
    return `<path class="${style}" d="${line}"/>`;
  });
  const size = `viewBox="0 0 ${widthPx} ${heightPx}" data-left="${margin.left}" data-width="${plot.width}"`;
  const cursor = `<line class="cursor" y1="${margin.top}" y2="${heightPx - margin.bottom}" visibility="hidden"/>`;
  return `<figure>${caption}<svg ${size} role="img" aria-label="${escapeHtml(title)}">${rows.join("")}${columns.join(
    "",
  )}${paths.join("")}${cursor}</svg></figure>`;
}

/** About `count` round numbers, 1, 2 or 5 times a power of ten apart, that span low to high (Heckbert 1990). */
export function roundTicks(low: number, high: number, count: number): number[] {
  const range = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(range / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => range / candidate <= count) ?? power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  // Fixed digits keep 0.30000000000000004 off the axis.
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toFixed(Math.min(digits, 20))));
}

export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}
