// The memory plan as a picture: time goes right, in items of the schedule, addresses go down. Each buffer is a
// rectangle for as long as it lives; what alignment adds is drawn, too; above lies what is alive at each time, and the
// peak is marked.

import { formatBytes } from "@fidelity/units";
import type { BufferExplanation } from "../explain/explanation.ts";
import type { Category } from "./category.ts";
import type { View } from "./data.ts";
import { element, escapeHtml, label, rectangle, round, roundStep } from "./html.ts";

const SIZE = { width: 1400, left: 84, right: 12, curve: 84, gap: 26, plan: 300, bottom: 34 } as const;
const ALIGNMENT_BYTES = 64;

type Placed = BufferExplanation & Required<Pick<BufferExplanation, "offsetBytes" | "first" | "last">>;

/** The picture, or a sentence where the program has no intermediate values. */
export function renderMemory(view: View): string {
  const { buffers, memory } = view.explanation;
  const placed = buffers.filter((buffer): buffer is Placed => buffer.offsetBytes !== undefined);
  if (placed.length === 0)
    return `<p class="empty">No intermediate value needs memory: all are results or stay in registers.</p>`;
  const plot = SIZE.width - SIZE.left - SIZE.right;
  const x = (item: number): number => SIZE.left + (item * plot) / memory.itemCount;
  const planTop = SIZE.curve + SIZE.gap;
  const y = (bytes: number): number => planTop + (bytes * SIZE.plan) / memory.arenaBytes;
  const height = planTop + SIZE.plan + SIZE.bottom;
  const writers = writersOf(view);
  const rects = placed.map((buffer) => {
    const { id, name, offsetBytes, sizeBytes, first, last } = buffer;
    const category = writers.get(id) ?? "move";
    const width = Math.max(0.6, x(last + 1) - x(first) - 0.6);
    const padded = Math.ceil(sizeBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    const [left, top, bottom] = [x(first), y(offsetBytes), y(offsetBytes + sizeBytes)];
    const pad =
      padded === sizeBytes
        ? ""
        : rectangle({ class: "padding" }, [left, bottom, width, Math.max(0.5, y(padded) - y(sizeBytes))]);
    const title = `${name}, ${formatBytes(sizeBytes)} at ${offsetBytes}, alive in items ${first} to ${last}`;
    const rect = rectangle(
      { class: `buffer ${category}`, "data-buffer": id },
      [left, top, width, Math.max(0.8, bottom - top - 0.5)],
      `<title>${escapeHtml(title)}</title>`,
    );
    return rect + pad;
  });
  const peak = x(memory.peakItem + 0.5);
  return element(
    "svg",
    { class: "memory", viewBox: `0 0 ${SIZE.width} ${height}`, role: "img", "aria-label": "memory plan" },
    aliveCurve(placed, view, x),
    ...addressTicks(memory.arenaBytes, y),
    `<rect class="frame" x="${SIZE.left}" y="${planTop}" width="${plot}" height="${SIZE.plan}"/>`,
    ...rects,
    ...itemTicks(memory.itemCount, x, planTop + SIZE.plan),
    `<line class="peak" x1="${round(peak)}" x2="${round(peak)}" y1="${SIZE.curve - 58}" y2="${planTop + SIZE.plan}"/>`,
    peakLabel(peak, memory.liveBytesMax),
  );
}

function peakLabel(x: number, bytes: number): string {
  const isRight = x > SIZE.width / 2;
  const anchor = isRight ? "end" : "start";
  return label("peak-label", x + (isRight ? -7 : 7), 14, `peak: ${formatBytes(bytes)} alive`, anchor);
}

/** The category of what writes each buffer first. */
function writersOf({ explanation, kernels }: View): Map<number, Category> {
  const writers = new Map<number, Category>();
  for (const { arguments: args, kernel } of explanation.calls) {
    for (const { buffer, writtenBytes } of args) {
      if (writtenBytes > 0 && !writers.has(buffer)) writers.set(buffer, kernels[kernel]!.category);
    }
  }
  return writers;
}

function aliveCurve(placed: readonly Placed[], { explanation: { memory } }: View, x: (item: number) => number): string {
  const alive = new Float64Array(memory.itemCount);
  for (const { sizeBytes, first, last } of placed) for (let i = first; i <= last; i++) alive[i]! += sizeBytes;
  const top = 24;
  const y = (bytes: number): number => SIZE.curve - ((SIZE.curve - top) * bytes) / Math.max(1, memory.arenaBytes);
  const steps = Array.from(alive, (bytes, i) => `L${round(x(i))} ${round(y(bytes))}H${round(x(i + 1))}`).join("");
  const area = `M${round(x(0))} ${SIZE.curve}${steps}V${SIZE.curve}Z`;
  return `<path class="alive" d="${area}"/>${label("tick", SIZE.left - 8, SIZE.curve, "alive", "end")}`;
}

function addressTicks(arenaBytes: number, y: (bytes: number) => number): string[] {
  const unit = 1024 ** Math.max(0, Math.floor(Math.log(arenaBytes) / Math.log(1024)));
  const step = roundStep(arenaBytes / unit, 5) * unit;
  const count = Math.floor(arenaBytes / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => {
    const at = round(y(i * step));
    return label("tick", SIZE.left - 8, at + 4, i === 0 ? "0" : formatBytes(i * step), "end");
  });
}

function itemTicks(itemCount: number, x: (item: number) => number, bottom: number): string[] {
  const step = Math.max(1, roundStep(itemCount, 10));
  const ticks: string[] = [];
  for (let item = 0; item < itemCount; item += step) {
    ticks.push(`<text class="tick" x="${round(x(item + 0.5))}" y="${bottom + 16}" text-anchor="middle">${item}</text>`);
  }
  const middle = SIZE.left + (SIZE.width - SIZE.left - SIZE.right) / 2;
  return [
    ...ticks,
    `<text class="axis" x="${middle}" y="${bottom + 31}" text-anchor="middle">items of the schedule</text>`,
  ];
}
