// Text for people: tables with aligned columns, trees, and numbers in a form that reads at a glance.

import { formatBytes } from "@fidelity/units";

export type Align = "left" | "right";

/** Rows of cells as lines; columns are aligned as told, the first one left and all others right by default. */
export function formatTable(rows: readonly (readonly string[])[], aligns?: readonly Align[]): string {
  const columnCount = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columnCount }, (_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const alignOf = (column: number): Align => aligns?.[column] ?? (column === 0 ? "left" : "right");
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          alignOf(column) === "right" ? cell.padStart(widths[column]) : cell.padEnd(widths[column]),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** A node of a tree: a label, and cells to the right of it that line up over the whole tree. */
export interface TreeNode {
  readonly label: string;
  readonly cells?: readonly string[];
  readonly children?: readonly TreeNode[];
}

/** A tree in ASCII, so that it survives every terminal and log. */
export function formatTree(root: TreeNode, aligns: readonly Align[] = []): string {
  const rows = [[root.label, ...(root.cells ?? [])]];
  const visit = (nodes: readonly TreeNode[], indent: string): void => {
    for (const [index, { label, cells = [], children = [] }] of nodes.entries()) {
      const isLast = index === nodes.length - 1;
      rows.push([`${indent}${isLast ? "`-- " : "|-- "}${label}`, ...cells]);
      visit(children, `${indent}${isLast ? "    " : "|   "}`);
    }
  };
  visit(root.children ?? [], "");
  return formatTable(rows, ["left", ...aligns]);
}

/** `1,234,567`. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

/** A number of a file's metadata; a float32 has no more digits than it can tell apart. */
export function formatPlain(value: unknown): string {
  const isSingle = typeof value === "number" && !Number.isInteger(value) && Math.fround(value) === value;
  return isSingle ? String(Number(value.toPrecision(7))) : String(value);
}

/** `1.2 MiB`. */
export function formatSize(sizeBytes: number): string {
  return formatBytes(sizeBytes);
}

/** Tokens a second with three digits that mean something: `12,300`. */
export function formatRate(perSecond: number): string {
  if (!Number.isFinite(perSecond)) return "-";
  if (perSecond < 100) return perSecond.toPrecision(3);
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(perSecond)) - 2);
  return formatCount(Math.round(perSecond / unit) * unit);
}

/** `48 s`, `3 min 20 s`. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 120 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** `[######..................] 12/48`. */
export function progressBar(done: number, total: number): string {
  const width = 24;
  const filled = Math.round((width * done) / Math.max(1, total));
  return `[${"#".repeat(filled)}${".".repeat(width - filled)}] ${done}/${total}`;
}

/** `1 file`, `2 files`. */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}
