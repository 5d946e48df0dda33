// The rows of a report: what `--json` writes, and the table that people read.

import { pairedRatios, summarise } from "./statistics.ts";

/** One measured value. Absent things are null, so that every row has the same fields. */
export type Row = {
  /** `suite/what/where`, the same in every run. */
  readonly id: string;
  /** The median of the samples. */
  readonly value: number;
  readonly unit: string;
  /** First and third quartile of the samples. */
  readonly low: number;
  readonly high: number;
  /** With what the value is compared, and the median and the quartiles over the rounds of value / peer. */
  readonly peer: string | null;
  readonly ratio: number | null;
  readonly ratioLow: number | null;
  readonly ratioHigh: number | null;
  /** What the machine could do, and the median over the rounds of the share of it that was reached. */
  readonly ceiling: string | null;
  readonly share: number | null;
  /** The share of all processors that others used meanwhile, 0 to 1; null where the system does not tell. */
  readonly quiet: number | null;
};

/** A row to make from the samples of a source. */
export interface RowPlan {
  readonly id: string;
  readonly unit: string;
  /** Name of the source. */
  readonly source: string;
  /** Value of the row for each unit of a sample; 1 by default. */
  readonly scale?: number;
  /** A source with samples of the same unit. */
  readonly peer?: { readonly source: string; readonly name: string };
  /** A source with samples of `work` units for each unit of this one's. */
  readonly ceiling?: { readonly source: string; readonly name: string; readonly work: number };
}

/** Samples by the name of their source: one for each round. */
export type Samples = ReadonlyMap<string, readonly number[]>;

/** The row of a plan; a peer that was not measured, because it is not there, leaves its fields null. */
export function makeRow(plan: RowPlan, samples: Samples, quiet: number | null): Row {
  const { id, unit, source, scale = 1, peer, ceiling } = plan;
  const own = samples.get(source)!;
  const { median, low, high } = summarise(own.map((sample) => sample * scale));
  const peerSamples = peer && samples.get(peer.source);
  const ratio = peerSamples ? pairedRatios(own, peerSamples) : undefined;
  const ceilingSamples = ceiling && samples.get(ceiling.source);
  return {
    id,
    value: median,
    unit,
    low,
    high,
    peer: peerSamples ? peer.name : null,
    ratio: ratio?.median ?? null,
    ratioLow: ratio?.low ?? null,
    ratioHigh: ratio?.high ?? null,
    ceiling: ceilingSamples ? ceiling.name : null,
    share: ceilingSamples ? ceiling.work * pairedRatios(own, ceilingSamples).median : null,
    quiet,
  };
}

const HEADINGS = ["", "median", "unit", "quartiles", "ratio", "quartiles", "peer", "share", "ceiling", "others"];
const TEXT_COLUMNS: ReadonlySet<number> = new Set([0, 2, 6, 8]);

/** Rows as a table; ids lose the suite's name, which all of them begin with. */
export function formatRows(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.id.slice(row.id.indexOf("/") + 1),
    formatNumber(row.value),
    row.unit,
    `${formatNumber(row.low)} - ${formatNumber(row.high)}`,
    row.ratio === null ? "" : `${row.ratio.toFixed(2)} x`,
    row.ratioLow === null ? "" : `${row.ratioLow.toFixed(2)} - ${row.ratioHigh!.toFixed(2)}`,
    row.peer ?? "",
    row.share === null ? "" : formatShare(row.share),
    row.ceiling ?? "",
    row.quiet === null ? "?" : formatShare(row.quiet),
  ]);
  return formatTable([HEADINGS, ...cells], TEXT_COLUMNS);
}

/** Cells in aligned columns: numbers to the right, the columns of text to the left; empty columns are left out. */
export function formatTable(rows: readonly (readonly string[])[], textColumns: ReadonlySet<number>): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const shown = widths.flatMap((_, column) => (rows.slice(1).some((row) => row[column] !== "") ? [column] : []));
  const pad = (text: string, column: number): string =>
    textColumns.has(column) ? text.padEnd(widths[column]) : text.padStart(widths[column]);
  const lines = rows.map((row) => shown.map((column) => pad(row[column], column)).join("  "));
  return lines.map((line) => line.trimEnd()).join("\n");
}

/** Three digits that mean something: `14,600`, `98.7`, `0.0123`. */
export function formatNumber(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const digits = 2 - Math.floor(Math.log10(Math.abs(value)));
  if (digits > 0) return value.toFixed(Math.min(digits, 6));
  return (Math.round(value * 10 ** digits) / 10 ** digits).toLocaleString("en-US");
}

export function formatShare(share: number): string {
  return `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}
