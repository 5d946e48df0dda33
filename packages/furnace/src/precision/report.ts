// A stability report as text and as a picture: the gradient of each leaf before and after, and the ops that may lose
// most digits, with those that were chosen.

import { formatType } from "@fidelity/core";
import type { OpCondition } from "./condition.ts";
import type { StabilityReport } from "./stability.ts";

const OPS_SHOWN = 16;

const short = (value: number): string => (value === 0 ? "0" : value.toExponential(1));

function describe({ node }: OpCondition): string {
  return `${node.op.name} ${formatType(node.results[0]!.type)}`;
}

/** Tables in Markdown: leaves with their errors, then the ops with the largest predicted errors. */
export function formatStability(report: StabilityReport): string {
  const { leaves, conditions, chosen, error, extendedError } = report;
  const leafRows = leaves.map(({ path, error: before, extendedError: after, cosine }) => {
    return `| ${path} | ${short(before)} | ${short(after)} | ${(1 - cosine).toExponential(1)} |`;
  });
  const opRows = conditions.slice(0, OPS_SHOWN).map((each) => {
    const { terms, condition, amplification, predictedError } = each;
    const numbers = [String(terms), ...[condition, amplification, predictedError].map(short)].join(" | ");
    return `| ${describe(each)} | ${numbers} | ${chosen.has(each.node) ? "yes" : ""} |`;
  });
  return [
    `Relative error of all results: ${short(error)} in float32, ${short(extendedError)} with ${chosen.size} of ` +
      `${conditions.length} ops in more precision.`,
    "",
    "| result | error in float32 | error extended | 1 - cosine |",
    "| --- | --- | --- | --- |",
    ...leafRows,
    "",
    "| op | terms | condition | amplification | predicted error | extended |",
    "| --- | --- | --- | --- | --- | --- |",
    ...opRows,
    "",
  ].join("\n");
}

const ROW = 20;
const LEFT = 250;
const WIDTH = 760;
const SCALE = { low: -9, high: 1 } as const;

/** Bars of the errors by decades, each leaf's in float32 and extended, as an SVG that stands alone. */
export function stabilitySvg({ leaves }: StabilityReport): string {
  const height = 60 + leaves.length * ROW;
  const x = (error: number): number => {
    const decade = Math.min(Math.max(Math.log10(Math.max(error, 1e-300)), SCALE.low), SCALE.high);
    return LEFT + ((WIDTH - LEFT - 20) * (decade - SCALE.low)) / (SCALE.high - SCALE.low);
  };
  const bar = (y: number, error: number, color: string): string =>
    `<rect x="${LEFT}" y="${y}" width="${(x(error) - LEFT).toFixed(1)}" height="7" fill="${color}"/>`;
  const rows = leaves.flatMap(({ path, error, extendedError }, i) => {
    const y = 40 + i * ROW;
    const name = path.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    return [
      `<text x="${LEFT - 8}" y="${y + 11}" text-anchor="end" fill="#222">${name}</text>`,
      bar(y, error, "#b33a7f"),
      bar(y + 8, extendedError, "#0a66c2"),
    ];
  });
  const decades = Array.from({ length: SCALE.high - SCALE.low + 1 }, (_, i) => SCALE.low + i);
  const grid = decades.map((decade) => {
    const at = x(10 ** decade).toFixed(1);
    return (
      `<line x1="${at}" x2="${at}" y1="34" y2="${height - 16}" stroke="#ddd"/>` +
      `<text x="${at}" y="${height - 4}" text-anchor="middle" fill="#666">1e${decade}</text>`
    );
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${LEFT}" y="20" fill="#b33a7f">error in float32</text>`,
    `<text x="${LEFT + 120}" y="20" fill="#0a66c2">with the chosen ops extended</text>`,
    ...grid,
    ...rows,
    "</svg>",
    "",
  ].join("\n");
}
