// The graph of units as a picture: one box a part of the model, equal layers folded into one box that says how many
// there are, the units of each box laid out in layers.

import { foldUnits } from "../explain/sequences.ts";
import type { UnitBlock } from "../explain/sequences.ts";
import type { View } from "./data.ts";
import { element, escapeHtml, label, round } from "./html.ts";
import { layOut } from "./layered.ts";
import type { PlacedNode } from "./layered.ts";

const NODE_HEIGHT = 24;
const LAYOUT = { nodeHeight: NODE_HEIGHT, columnGap: 8, rowGap: 20, widthMax: 380 } as const;
const CHARACTER_WIDTH = 6.3;
const NODE_PADDING = 18;
const TITLE_CHARACTERS = 22;
const BOX = { padding: 14, top: 34, bottom: 16, gap: 26 } as const;
const WIDTH_MIN = 260;
/** Narrower columns scroll instead of shrinking the picture further. */
const SCALE_MIN = 0.86;

/** The picture, as SVG. Units have `data-unit`, folded ones their first occurrence's. */
export function renderGraph(view: View): string {
  const blocks = foldUnits(view.explanation).map((block) => placeBlock(block));
  const width = Math.max(WIDTH_MIN, ...blocks.map(({ graph }) => graph.width + 2 * BOX.padding));
  let y = 2;
  const parts: string[] = [];
  blocks.forEach((placed, i) => {
    const height = BOX.top + placed.graph.height + BOX.bottom;
    if (i > 0) parts.push(spine(width / 2, y - BOX.gap, y));
    parts.push(drawBlock(view, placed, width, y, height));
    y += height + BOX.gap;
  });
  const height = Math.max(1, y - BOX.gap + 2);
  return element(
    "svg",
    {
      class: "graph",
      viewBox: `0 0 ${round(width)} ${round(height)}`,
      style: `min-width:${round(width * SCALE_MIN)}px;width:${round(width)}px`,
      role: "img",
      "aria-label": "graph of fused units",
    },
    ...parts,
  );
}

interface PlacedBlock {
  readonly block: UnitBlock;
  readonly graph: ReturnType<typeof layOut>;
}

function placeBlock(block: UnitBlock): PlacedBlock {
  const ids = new Set(block.units.map(({ id }) => id));
  const nodes = block.units.map(({ id, title, reads }) => ({
    id,
    width: Math.round(clip(title).length * CHARACTER_WIDTH + NODE_PADDING),
    reads: reads.filter((read) => ids.has(read)),
  }));
  return { block, graph: layOut(nodes, LAYOUT) };
}

function clip(title: string): string {
  return title.length <= TITLE_CHARACTERS ? title : `${title.slice(0, TITLE_CHARACTERS - 1)}…`;
}

/** The line between two boxes. */
function spine(x: number, from: number, to: number): string {
  return `<path class="edge spine" d="M${round(x)} ${from}V${to}" marker-end="url(#arrow)"/>`;
}

function drawBlock(view: View, { block, graph }: PlacedBlock, width: number, top: number, height: number): string {
  const left = (width - graph.width) / 2;
  const at = ({ x, y, ...rest }: PlacedNode): PlacedNode => ({ ...rest, x: left + x, y: top + BOX.top + y });
  const nodes = new Map([...graph.nodes].map(([id, node]) => [id, at(node)]));
  const readInside = new Set(block.units.flatMap(({ reads }) => reads));
  const edges = block.units.flatMap(({ id, reads, inputs }) => {
    const inside = reads.flatMap((read) => nodes.get(read) ?? []).map((from) => edge(from, nodes.get(id)!));
    const fromOutside = reads.length > inside.length || (reads.length === 0 && inputs.length > 0);
    return fromOutside && inside.length === 0
      ? [...inside, stub(width / 2, top + BOX.top - 8, nodes.get(id)!)]
      : inside;
  });
  const outputs = block.units
    .filter(({ id }) => !readInside.has(id))
    .map(({ id }) => outStub(nodes.get(id)!, width / 2, top + height));
  const name = block.group === "" ? "other" : block.group;
  const title = block.times === 1 ? name : `${block.group} … ${block.lastGroup}`;
  const times = block.times === 1 ? "" : label("times", width - BOX.padding, top + 21, `× ${block.times}`, "end");
  const shadow =
    block.times === 1
      ? ""
      : `<rect class="box behind" x="5" y="${top + 4}" width="${round(width - 6)}" height="${height}" rx="10"/>`;
  return [
    shadow,
    `<rect class="box" x="1" y="${top}" width="${round(width - 6)}" height="${height}" rx="10"/>`,
    `<text class="box-title" x="${BOX.padding}" y="${top + 21}">${escapeHtml(title)}</text>`,
    times,
    ...edges,
    ...outputs,
    ...block.units.map(({ id, title: text }) => drawNode(view, id, text, nodes.get(id)!)),
  ].join("");
}

function drawNode(view: View, id: number, title: string, { x, y, width }: PlacedNode): string {
  return element(
    "g",
    { class: `node ${view.categories[id]}`, "data-unit": id, tabindex: 0 },
    `<title>${escapeHtml(title)}</title>`,
    `<rect x="${round(x - width / 2)}" y="${round(y)}" width="${width}" height="${NODE_HEIGHT}" rx="6"/>`,
    `<text x="${round(x)}" y="${round(y + 16)}" text-anchor="middle">${escapeHtml(clip(title))}</text>`,
  );
}

function edge(from: PlacedNode, to: PlacedNode): string {
  return curve(from.x, from.y + NODE_HEIGHT, to.x, to.y);
}

function stub(x: number, y: number, to: PlacedNode): string {
  return curve(x, y, to.x, to.y);
}

function outStub(from: PlacedNode, x: number, bottom: number): string {
  const start = from.y + NODE_HEIGHT;
  return edgePath([from.x, start], [from.x, bottom], [x, start], [x, bottom]);
}

type Point = readonly [x: number, y: number];

/** A cubic curve by its ends and what it leans to between them. */
function edgePath(from: Point, ...rest: readonly [Point, Point, Point]): string {
  const text = ([x, y]: Point): string => `${round(x)} ${round(y)}`;
  return `<path class="edge" d="M${text(from)}C${rest.map(text).join(" ")}"/>`;
}

function curve(x1: number, y1: number, x2: number, y2: number): string {
  const middle = round((y1 + y2) / 2);
  return edgePath([x1, y1], [x1, middle], [x2, middle], [x2, y2]);
}
