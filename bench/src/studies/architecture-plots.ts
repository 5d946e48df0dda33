// The pictures of the study of architectures. A mixer has one colour everywhere; ternary weights are dashed.

import { median } from "../statistics.ts";
import { MIXERS, MQAR } from "./architecture-arms.ts";
import type { Mixer } from "./architecture-arms.ts";
import { accuracies, differences, find } from "./architecture-tables.ts";
import type { Group } from "./architecture-tables.ts";
import { curvesSvg } from "./curves.ts";
import type { StudyCurve } from "./curves.ts";
import { dotsSvg } from "./dots.ts";

const COLORS: Readonly<Record<Mixer, string>> = {
  transformer: "#b33a7f",
  MLGRU: "#0a66c2",
  "Mamba-2": "#1a7f37",
  "Gated DeltaNet": "#9a6700",
  hybrid: "#6639ba",
};

/** The width of a picture beside that of its curves: room for the legend. */
const LEGEND = 1.45;

function curveOf({ mixer, weights }: Group, points: StudyCurve["points"]): StudyCurve {
  const isTernary = weights === "ternary";
  return { name: `${mixer}, ${weights}`, color: COLORS[mixer], points, ...(isTernary && { dash: "5 4" }) };
}

/** The median over seeds of the validation loss at each step. */
function medianCurve({ outcomes }: Group): [step: number, loss: number][] {
  return outcomes[0].curve.map(([step], i) => [step, median(outcomes.map(({ curve }) => curve[i][1]))]);
}

/** Validation loss by step, medians over the seeds; what is more than `spanMax` above the lowest is left out. */
export function lossCurves(groups: readonly Group[], yName: string, spanMax = 1): string {
  const curves = groups.map((group) => curveOf(group, medianCurve(group)));
  const ends = curves.flatMap(({ points }) => points.map(([, loss]) => loss));
  const yLow = Math.floor(10 * Math.min(...ends)) / 10;
  const span = Math.min(spanMax, Math.max(...ends) - yLow);
  const yHigh = yLow + 0.5 * Math.ceil(span / 0.5); // five lines of the grid at tenths
  const xMax = Math.max(...curves.flatMap(({ points }) => points.map(([step]) => step)));
  const xTicks = [0, 1, 2, 3, 4].map((part) => ({ at: (xMax * part) / 4, label: String((xMax * part) / 4) }));
  return curvesSvg(curves, { xMax: LEGEND * xMax, yLow, yHigh, xName: "step", yName, xTicks });
}

/** Accuracy by the number of pairs, medians over the seeds. */
export function recallPlot(groups: readonly Group[]): string {
  const curves = groups.map((group) =>
    curveOf(
      group,
      MQAR.pairs.map((pairs, i): [number, number] => [i, median(accuracies(group, pairs))]),
    ),
  );
  const xTicks = MQAR.pairs.map((pairs, at) => ({ at, label: String(pairs) }));
  const yName = "MQAR: share of the queries that were answered, %, median of the seeds";
  return curvesSvg(curves, { xMax: LEGEND * (xTicks.length - 1), yLow: 0, yHigh: 100, xName: "pairs", yName, xTicks });
}

/** Losses beside those of the dense transformer with the same seed. */
export function besideTransformer(groups: readonly Group[], task: string): string {
  const base = find(groups, "transformer", "dense");
  const rows = groups
    .filter((group) => group !== base)
    .map((group) => ({ name: `${group.mixer}, ${group.weights}`, values: differences(group, base) }));
  return dots(rows, `${task}: validation loss minus that of the dense transformer; a dot a seed, a bar of ± one`);
}

/** What ternary weights cost each mixer. */
export function ternaryCost(groups: readonly Group[], task: string): string {
  const rows = MIXERS.map((mixer) => {
    return { name: mixer, values: differences(find(groups, mixer, "ternary"), find(groups, mixer, "dense")) };
  });
  return dots(rows, `${task}: loss with ternary weights minus loss with dense ones; a dot a seed, a bar of ± one`);
}

function dots(rows: readonly { readonly name: string; readonly values: readonly number[] }[], title: string): string {
  const all = rows.flatMap(({ values }) => values);
  // Six parts that are multiples of 0.01, with 0 among their ends.
  const widest = Math.max(...all, 0) - Math.min(...all, 0);
  const part = 0.01 * Math.max(1, Math.ceil(widest / 0.05));
  const low = part * Math.floor(Math.min(...all, 0) / part);
  const high = low + 6 * part;
  return dotsSvg(rows, { low, high, title: `${title} standard error` });
}
