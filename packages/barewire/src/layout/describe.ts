// A layout for people: a table of offsets, sizes and types, and a memory map as SVG, one square a byte, padding in its
// own colour. Both show the same cells, and both say how much of the bytes is padding. Left out: interaction.

import { formatBytes } from "@fidelity/units";

import { mapsOf } from "./cells.ts";
import type { Cell, CellKind, MemoryMap } from "./cells.ts";
import type { Layout } from "./node.ts";

/** The maps of a layout as text: offset, size, path and type of every cell, padding included. */
export function describeLayout(layout: Layout): string {
  return mapsOf(layout).map(describeMap).join("\n\n");
}

/** One map as text. */
export function describeMap(map: MemoryMap): string {
  const rows = map.cells.map((cell) => [`${cell.offsetBytes}`, `${cell.sizeBytes}`, cell.path, cell.type]);
  const table = [["offset", "size", "path", "type"], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...table.map((row) => row[column].length)));
  const lines = table.map(([offset, size, path, type]) => {
    return `  ${offset.padStart(widths[0])}  ${size.padStart(widths[1])}  ${path.padEnd(widths[2])}  ${type}`.trimEnd();
  });
  return [summary(map), ...lines].join("\n");
}

function summary({ title, sizeBytes, alignBytes, cells }: MemoryMap): string {
  const padding = cells.reduce((sum, cell) => sum + (cell.kind === "padding" ? cell.sizeBytes : 0), 0);
  return `${title}: ${formatBytes(sizeBytes)}, aligned to ${alignBytes}, ${padding} of padding`;
}

const COLOURS: Readonly<Record<CellKind, string>> = {
  number: "#7fb3d5",
  bool: "#a3d9c9",
  enum: "#76c7a3",
  data: "#c3b1e1",
  list: "#9fa8da",
  slot: "#f7c873",
  tag: "#f1948a",
  overlay: "#f5b7b1",
  presence: "#d7e27a",
  padding: "#d5d8dc",
};

const BYTES_PER_ROW = 32;
const BYTE_PX = 24;
const ROW_PX = 30;
const MARGIN_PX = 56;
const TITLE_PX = 34;
/** Rows of a map that are drawn; longer ones say how much they leave out. */
const ROWS_MAX = 24;
/** Width of a letter of the labels' font, to see whether a label fits into its cell. */
const LETTER_PX = 6.2;

/** The maps of a layout as an SVG document: 32 bytes a row, each kind of cell in its colour, names where they fit. */
export function drawLayout(layout: Layout): string {
  return drawMaps(mapsOf(layout));
}

/** Maps as an SVG document. */
export function drawMaps(maps: readonly MemoryMap[]): string {
  const body: string[] = [];
  let y = 8;
  for (const map of maps) {
    const { text, heightPx } = drawMap(map, y);
    body.push(text);
    y += heightPx;
  }
  body.push(drawLegend(maps, y));
  const width = MARGIN_PX + BYTES_PER_ROW * BYTE_PX + 16;
  const height = y + 40;
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  const open = `<svg xmlns="http://www.w3.org/2000/svg" ${size}`;
  const style = `font-family="ui-monospace, monospace" font-size="10"`;
  const ground = `<rect width="${width}" height="${height}" fill="#ffffff"/>`;
  return `${open} ${style}>\n${ground}\n${body.join("\n")}\n</svg>\n`;
}

function drawMap(map: MemoryMap, y: number): { readonly text: string; readonly heightPx: number } {
  const parts = [`<text x="8" y="${y + 16}" font-size="13" font-weight="bold">${escape(summary(map))}</text>`];
  const top = y + TITLE_PX - 8;
  const rows = Math.min(ROWS_MAX, Math.ceil(map.sizeBytes / BYTES_PER_ROW));
  for (let row = 0; row < rows; row++) {
    parts.push(`<text x="8" y="${top + row * ROW_PX + 18}" fill="#566573">${row * BYTES_PER_ROW}</text>`);
  }
  for (const cell of map.cells) parts.push(...drawCell(cell, top, rows));
  const hidden = map.sizeBytes - rows * BYTES_PER_ROW;
  const note = hidden > 0 ? `<text x="8" y="${top + rows * ROW_PX + 10}">... and ${hidden} bytes more</text>` : "";
  if (note !== "") parts.push(note);
  return { text: parts.join("\n"), heightPx: TITLE_PX + rows * ROW_PX + (note === "" ? 8 : 20) };
}

// A cell is one rectangle on each row that it touches; the first that has room for it carries the name.
function drawCell(cell: Cell, top: number, rows: number): string[] {
  const parts: string[] = [];
  const title = `<title>${escape(`byte ${cell.offsetBytes}, ${cell.sizeBytes} B: ${cell.path} ${cell.type}`)}</title>`;
  const end = cell.offsetBytes + cell.sizeBytes;
  const label = cell.kind === "padding" ? "" : cell.path === "" ? cell.type : cell.path;
  let isLabelled = label === "";
  for (let at = cell.offsetBytes; at < end && at < rows * BYTES_PER_ROW;) {
    const row = Math.floor(at / BYTES_PER_ROW);
    const stop = Math.min(end, (row + 1) * BYTES_PER_ROW);
    const x = MARGIN_PX + (at % BYTES_PER_ROW) * BYTE_PX;
    const width = (stop - at) * BYTE_PX;
    const place = `x="${x}" y="${top + row * ROW_PX}" width="${width}" height="${ROW_PX - 4}"`;
    parts.push(`<rect ${place} fill="${COLOURS[cell.kind]}" stroke="#34495e" stroke-width="0.5">${title}</rect>`);
    const letters = Math.floor((width - 6) / LETTER_PX);
    if (!isLabelled && letters >= 1) {
      const text = label.length <= letters ? label : `${label.slice(0, letters - 1)}…`;
      parts.push(`<text x="${x + 3}" y="${top + row * ROW_PX + 17}" pointer-events="none">${escape(text)}</text>`);
      isLabelled = true;
    }
    at = stop;
  }
  return parts;
}

function drawLegend(maps: readonly MemoryMap[], y: number): string {
  const used = new Set(maps.flatMap((map) => map.cells.map((cell) => cell.kind)));
  const kinds = (Object.keys(COLOURS) as CellKind[]).filter((kind) => used.has(kind));
  return kinds
    .map((kind, i) => {
      const x = 8 + i * 84;
      const box = `<rect x="${x}" y="${y + 8}" width="12" height="12" fill="${COLOURS[kind]}" stroke="#34495e"/>`;
      return `${box}<text x="${x + 16}" y="${y + 18}">${kind}</text>`;
    })
    .join("\n");
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
