// The memory plan as a drawing of characters: addresses go down, the items of the schedule go right, and a cell is as
// full as its bytes are alive.

import { formatBytes } from "@fidelity/units";
import type { Explanation } from "./explanation.ts";

const COLUMNS_MAX = 72;
const ROWS = 16;
/** From empty to full. */
const SHADES = " .:=#";

/** The map with its peak marked below, or a sentence where there is nothing to draw. */
export function drawMemory({ buffers, memory }: Pick<Explanation, "buffers" | "memory">): string {
  const { arenaBytes, itemCount, peakItem } = memory;
  if (arenaBytes === 0 || itemCount === 0) return "no intermediate values in memory";
  const columns = Math.min(COLUMNS_MAX, itemCount);
  const filled = Array.from({ length: ROWS }, () => new Float64Array(columns));
  const rowBytes = arenaBytes / ROWS;
  for (const { offsetBytes, sizeBytes, first, last } of buffers) {
    if (offsetBytes === undefined || first === undefined || last === undefined) continue;
    for (let column = 0; column < columns; column++) {
      const [from, to] = [(column * itemCount) / columns, ((column + 1) * itemCount) / columns];
      const alive = Math.max(0, Math.min(to, last + 1) - Math.max(from, first)) / (to - from);
      if (alive === 0) continue;
      for (let row = 0; row < ROWS; row++) {
        const low = Math.max(offsetBytes, row * rowBytes);
        const high = Math.min(offsetBytes + sizeBytes, (row + 1) * rowBytes);
        if (high > low) filled[row]![column]! += (alive * (high - low)) / rowBytes;
      }
    }
  }
  const width = formatBytes(arenaBytes).length;
  const lines = filled.map((cells, row) => {
    const label = row === 0 ? "0" : "";
    return `${label.padStart(width)} |${Array.from(cells, shade).join("")}|`;
  });
  const peak = Math.min(columns - 1, Math.floor((peakItem * columns) / itemCount));
  lines.push(`${formatBytes(arenaBytes)} +${"-".repeat(peak)}^${"-".repeat(columns - peak - 1)}+`);
  lines.push(`${" ".repeat(width + 2)}items 0 to ${itemCount - 1} of the schedule; ^ the peak, item ${peakItem}`);
  return lines.join("\n");
}

function shade(share: number): string {
  const level = Math.ceil(Math.min(1, share) * (SHADES.length - 1));
  return SHADES[level]!;
}
