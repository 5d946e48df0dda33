// The roofline (Williams, Waterman and Patterson, 2009): operations a second over operations a byte, both by
// logarithm. The roofs are the measured ceilings, of memory and of the nearest cache, for float32 and for bytes; each
// kernel is a circle, its area the time that it takes.

import { formatBytes } from "@fidelity/units";
import type { Ceilings } from "../explain/ceilings.ts";
import { formatRate, formatSeconds } from "../explain/text.ts";
import type { View, ViewKernel } from "./data.ts";
import { element, escapeHtml, label, round } from "./html.ts";

const SIZE = { width: 760, height: 500, left: 66, right: 20, top: 18, bottom: 46 } as const;
const LABELS_MAX = 5;
/** Kernels with less of the time than this do not widen the axes; they are drawn at the edge. */
const SHARE_MIN = 0.005;
const RADIUS = { least: 3, most: 26 } as const;

interface Scale {
  x(intensity: number): number;
  y(perSecond: number): number;
  readonly intensities: readonly [number, number];
  readonly rates: readonly [number, number];
}

/** The chart, or a sentence where nothing was measured. */
export function renderRoofline(view: View): string {
  const { ceilings } = view.explanation;
  if (ceilings === undefined) return `<p class="empty">The machine's ceilings were not measured.</p>`;
  const points = view.kernels
    .filter(({ operations, bytes }) => operations > 0 && bytes > 0)
    .flatMap((kernel) => {
      const seconds = kernel.measuredSeconds ?? kernel.predictedSeconds ?? 0;
      return seconds > 0
        ? [{ kernel, seconds, rate: kernel.operations / seconds, intensity: kernel.operations / kernel.bytes }]
        : [];
    });
  const total = points.reduce((sum, { seconds }) => sum + seconds, 0);
  const scale = createScale(
    points.filter(({ seconds }) => seconds > SHARE_MIN * total),
    ceilings,
  );
  const sorted = points.toSorted((a, b) => b.seconds - a.seconds);
  const radiusOf = (seconds: number): number => Math.max(RADIUS.least, RADIUS.most * Math.sqrt(seconds / total));
  const circles = sorted.map(({ kernel, seconds, rate, intensity }) =>
    circle(kernel, scale.x(intensity), scale.y(rate), radiusOf(seconds), seconds),
  );
  return element(
    "svg",
    { class: "roofline", viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img", "aria-label": "roofline" },
    ...grid(scale),
    ...roofs(scale, ceilings),
    ...circles,
    ...labels(
      sorted.slice(0, LABELS_MAX).map(({ kernel, rate, intensity, seconds }) => {
        return { name: kernel.name, x: scale.x(intensity), y: scale.y(rate), radius: radiusOf(seconds) };
      }),
    ),
  );
}

function createScale(
  points: readonly { readonly rate: number; readonly intensity: number }[],
  ceilings: Ceilings,
): Scale {
  const { team, one } = ceilings;
  const log = (values: readonly number[], low: (a: number) => number): number =>
    low(Math.log10(values.reduce((a, b) => (low === Math.floor ? Math.min(a, b) : Math.max(a, b)))));
  const slowest = Math.min(...one.bandwidths.map(({ bytesPerSecond }) => bytesPerSecond));
  const ridge = team.int8PerSecond / slowest;
  const intensities = [
    10 ** log([0.1, ...points.map(({ intensity }) => intensity)], Math.floor),
    10 ** log([ridge, ...points.map(({ intensity }) => intensity)], Math.ceil),
  ] as const;
  const rates = [
    10 ** log([1e9, ...points.map(({ rate }) => rate)], Math.floor),
    10 ** log([team.int8PerSecond, ...points.map(({ rate }) => rate)], Math.ceil),
  ] as const;
  const span = (value: number, [low, high]: readonly [number, number]): number =>
    Math.min(1, Math.max(0, Math.log(value / low) / Math.log(high / low)));
  return {
    intensities,
    rates,
    x: (intensity) => SIZE.left + span(intensity, intensities) * (SIZE.width - SIZE.left - SIZE.right),
    y: (rate) => SIZE.height - SIZE.bottom - span(rate, rates) * (SIZE.height - SIZE.top - SIZE.bottom),
  };
}

function grid(scale: Scale): string[] {
  const [left, right] = [SIZE.left, SIZE.width - SIZE.right];
  const [top, bottom] = [SIZE.top, SIZE.height - SIZE.bottom];
  const powers = ([low, high]: readonly [number, number]): number[] => {
    const count = Math.round(Math.log10(high / low));
    return Array.from({ length: count + 1 }, (_, i) => low * 10 ** i);
  };
  return [
    ...powers(scale.intensities).map((value) => {
      const x = round(scale.x(value));
      const text = label("tick", x, bottom + 17, plain(value), "middle");
      return `<line class="grid" x1="${x}" x2="${x}" y1="${top}" y2="${bottom}"/>${text}`;
    }),
    ...powers(scale.rates).map((value) => {
      const y = round(scale.y(value));
      const text = label("tick", left - 8, y + 4, plain(value / 1e9), "end");
      return `<line class="grid" x1="${left}" x2="${right}" y1="${y}" y2="${y}"/>${text}`;
    }),
    `<text class="axis" x="${(left + right) / 2}" y="${SIZE.height - 8}" text-anchor="middle">operations a byte</text>`,
    turned("axis", 14, (top + bottom) / 2, -90, "billion operations a second", "middle"),
  ];
}

/** Text at an angle in degrees. */
function turned(
  name: string,
  x: number,
  y: number,
  angle: number,
  text: string,
  anchor: "start" | "middle" | "end",
): string {
  const transform = `translate(${round(x)} ${round(y)}) rotate(${round(angle)})`;
  return element("text", { class: name, transform, "text-anchor": anchor }, escapeHtml(text));
}

/** 0.01, 10, 10k. */
function plain(value: number): string {
  if (value >= 1000) return `${Math.round(value / 1000)}k`;
  return value >= 1 ? String(Math.round(value)) : value.toPrecision(1);
}

function roofs(scale: Scale, { team, threads }: Ceilings): string[] {
  const memory = team.bandwidths[team.bandwidths.length - 1]!;
  const cache = team.bandwidths[0]!;
  const peaks = [
    { name: "int8", rate: team.int8PerSecond, unit: "op/s" },
    { name: "float32", rate: team.f32PerSecond, unit: "FLOP/s" },
  ];
  const slopes = [
    { name: "memory", bandwidth: memory },
    { name: `${formatBytes(cache.sizeBytes)} in cache`, bandwidth: cache },
  ];
  const top = team.int8PerSecond;
  const [least, most] = scale.intensities;
  const who = threads === 1 ? "1 thread" : `${threads} threads`;
  return [
    ...slopes.map(({ name, bandwidth: { bytesPerSecond } }, i) => {
      const from = Math.max(least, scale.rates[0] / bytesPerSecond);
      const to = Math.min(most, top / bytesPerSecond);
      const [x1, y1, x2, y2] = [
        scale.x(from),
        scale.y(from * bytesPerSecond),
        scale.x(to),
        scale.y(to * bytesPerSecond),
      ];
      const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
      const at = 0.26 + 0.1 * i;
      const [x, y] = [x1 + (x2 - x1) * at, y1 + (y2 - y1) * at - 6];
      const text = turned("roof-label", x, y, angle, `${name} ${formatRate(bytesPerSecond, "B/s")}`, "start");
      return `<path class="roof" d="M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}"/>${text}`;
    }),
    ...peaks.map(({ name, rate, unit }) => {
      const from = Math.max(least, rate / cache.bytesPerSecond);
      const y = round(scale.y(rate));
      const text = label("roof-label", scale.x(most) - 4, y - 6, `${name} ${formatRate(rate, unit)}, ${who}`, "end");
      return `<path class="roof" d="M${round(scale.x(from))} ${y}H${round(scale.x(most))}"/>${text}`;
    }),
  ];
}

function circle(kernel: ViewKernel, x: number, y: number, radius: number, seconds: number): string {
  const intensity = (kernel.operations / kernel.bytes).toPrecision(3);
  const title = `${kernel.name} #${kernel.id}: ${formatSeconds(seconds)}, ${intensity} operations a byte`;
  return element(
    "circle",
    {
      class: `point ${kernel.category}`,
      "data-kernel": kernel.id,
      cx: round(x),
      cy: round(y),
      r: round(radius),
      tabindex: 0,
    },
    `<title>${escapeHtml(title)}</title>`,
  );
}

interface LabelledPoint {
  readonly name: string;
  readonly x: number;
  readonly y: number;
  readonly radius: number;
}

/** Names beside points, moved down where they would lie on each other. */
function labels(points: readonly LabelledPoint[]): string[] {
  const placed: { readonly x: number; readonly y: number }[] = [];
  const shown = new Set<string>();
  return points.flatMap(({ name, x, y, radius }) => {
    if (shown.has(name)) return [];
    shown.add(name);
    let at = y + 4;
    while (placed.some((other) => Math.abs(other.x - x) < 130 && Math.abs(other.y - at) < 14)) at += 14;
    placed.push({ x, y: at });
    const isRight = x > SIZE.width - 170;
    const anchor = isRight ? "end" : "start";
    const away = radius + 5;
    return [label("point-label", x + (isRight ? -away : away), at, name, anchor)];
  });
}
