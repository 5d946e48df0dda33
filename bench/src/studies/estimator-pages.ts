// The pages of the estimator studies, with their pictures. The numbers come from the trainings; what is said about them
// was written once, when they were there.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { curvesSvg } from "./curves.ts";
import type { StudyCurve } from "./curves.ts";
import { dotsSvg } from "./dots.ts";
import { BASELINE, RATE, SEEDS, SHARED, SIZES, STEPS } from "./estimator-runs.ts";
import type { Outcome } from "./estimator-runs.ts";
import { dotRows, groupsOf, meanCurve, signed, table } from "./estimator-tables.ts";
import type { Group } from "./estimator-tables.ts";

const COLORS = ["#444444", "#0a66c2", "#b33a7f", "#1a7f37", "#9a6700", "#6639ba"] as const;
const COMMAND = "npm run study:estimators -- --data tinyshakespeare.txt --data war-and-peace.txt";

interface Corpus {
  readonly corpus: string;
  readonly groups: readonly Group[];
}

const isWarmup = (name: string): boolean => name.startsWith("warmup-");
const isAdaptive = (name: string): boolean => name.startsWith("adaptive");
const isPlain = (name: string): boolean => !isWarmup(name) && !isAdaptive(name);

/** Those that `isShown` names, and the baseline. */
function only(groups: readonly Group[], isShown: (name: string) => boolean): Group[] {
  return groups.filter(({ estimator }) => estimator === BASELINE || isShown(estimator));
}

/** Writes three pages and their pictures to the folder `out`. */
export function writePages(outcomes: readonly Outcome[], out: string): void {
  mkdirSync(out, { recursive: true });
  const write = (name: string, text: string): void =>
    void writeFileAtomic(join(out, name), [new TextEncoder().encode(text)]);
  const corpora = [...new Set(outcomes.map(({ corpus }) => corpus))];
  const main = corpora.map((corpus): Corpus => ({ corpus, groups: groupsOf(outcomes, corpus) }));
  for (const { corpus, groups } of main) {
    const title = `${corpus}: validation loss minus that of ${BASELINE}; a dot a seed, a bar of ± one standard error`;
    write(
      `estimators-${corpus}.svg`,
      dotsSvg(dotRows(groups.filter(({ estimator }) => isPlain(estimator))), { low: -0.06, high: 0.06, title }),
    );
  }
  const first = main[0].groups;
  write("estimators-flips.svg", flipsSvg(first));
  write("adaptive-scaling.svg", lossesSvg(only(first, isAdaptive)));
  write("progressive-quantisation.svg", lossesSvg(only(first, isWarmup)));
  write("estimators.md", estimatorsPage(main));
  write("adaptive-scaling.md", adaptivePage(main));
  write("progressive-quantisation.md", progressivePage(main));
}

/** Validation losses by step, means over the seeds. */
function lossesSvg(groups: readonly Group[]): string {
  const drawn = groups.map(({ estimator, outcomes }, i): StudyCurve => {
    return { name: estimator, color: COLORS[i % COLORS.length], points: meanCurve(outcomes, ({ curve }) => curve) };
  });
  const yName = "validation loss, nats a character, mean of the seeds";
  return curvesSvg(drawn, { xMax: STEPS, yLow: 1.7, yHigh: 2.7, xName: "step", yName });
}

/** The share of weights that change in a step, in percent. */
function flipsSvg(groups: readonly Group[]): string {
  const shown = ["straight-through", "dsq", "reste", "stochastic", "gumbel", "adaptive"];
  const drawn = groups
    .filter(({ estimator }) => shown.includes(estimator))
    .map(({ estimator, outcomes }, i): StudyCurve => {
      const points = meanCurve(outcomes, ({ flips }) => flips).map(([step, share]) => [step, 100 * share] as const);
      return { name: estimator, color: COLORS[i % COLORS.length], points };
    });
  const yName = "ternary weights whose code changes in a step, percent, mean of the seeds";
  return curvesSvg(drawn, { xMax: STEPS, yLow: 0, yHigh: 2, xName: "step", yName });
}

function tables(corpora: readonly Corpus[], isShown: (name: string) => boolean): string {
  return corpora.map(({ corpus, groups }) => `**${corpus}**\n\n${table(only(groups, isShown))}`).join("\n\n");
}

/** What all three pages have in common. */
function setting(): string {
  const { batchSize, contextLength, finalRatio } = SHARED;
  const characters = (STEPS * batchSize * contextLength).toLocaleString("en");
  return `The MatMul-free language model, ${SIZES.layerCount} layers of width ${SIZES.dim}, trained on characters:
${STEPS} steps of ${batchSize} x ${contextLength}, which are ${characters} characters, with AdamW (decay 0.1), a peak
rate of ${RATE} after 50 steps of warm-up, and a cosine down to ${finalRatio} of it. For one seed all estimators have
the same first values and the same batches. Losses are those of the packed model over the whole validation split, in
nats a character. "Against" is the mean over ${SEEDS.length} seeds of the difference from ${BASELINE} with the same
seed, with the standard error of that mean. "Flips" is the share of ternary weights whose code changes in a step, over
the whole run.`;
}

function estimatorsPage(main: readonly Corpus[]): string {
  const pictures = main
    .map(({ corpus }) => `![differences in validation loss on ${corpus}](estimators-${corpus}.svg)`)
    .join("\n\n");
  return `# Gradient estimators for ternary weights

${setting()}

${tables(main, isPlain)}

${pictures}

Each estimator is one file in [packages/furnace/src/estimators](../../packages/furnace/src/estimators), with its
equation and its source. The rate was not tuned for any of them.

## What it says

**ReSTE is best on both texts**: its difference from straight-through gradients is ${of(main, 0, "reste")} on
the first and ${of(main, 1, "reste")} on the second, and it is the lower one for every seed. Next is
DSQ (${of(main, 0, "dsq")} and
${of(main, 1, "dsq")}). Both give larger gradients to masters near a threshold and smaller ones, or none, to masters far
from it. ReSTE is therefore the default of \`fidelity train\`.

Tequila cannot be told from straight-through gradients; clipped gradients (${of(main, 0, "clipped")} and
${of(main, 1, "clipped")}) hardly. QuEST, with and without the Hadamard transform, and stretched elastic quantisation
end 0.01 to 0.02 above them. A standard error of three seeds is itself known to half of its size only: an earlier run
with the same seeds, whose kernels rounded otherwise in the last bit, gave ReSTE -0.0282 ± 0.0066 and -0.0309 ± 0.0039,
DSQ -0.0172 ± 0.0044 and -0.0129 ± 0.0036.

Stochastic rounding and the Gumbel-softmax are far worse. The first adds noise to every weight in every step. The
second has true derivatives, and those of a sharp softmax are nearly 0 for masters away from the thresholds: fewest
codes change.

## How many codes change

![share of the codes that change in a step](estimators-flips.svg)

With ReSTE and DSQ half as many codes change in a step as with straight-through gradients. Fewer changes alone are no
merit: the Gumbel-softmax has the fewest and ends highest. Nor is it the same as a lower rate: in the sweep of
[tinyshakespeare.md](tinyshakespeare.md) the loss of straight-through gradients moves by 0.01 between 1.5e-3 and 3e-3.

## What it does not say

One size, one budget (about one pass over the smaller text), one rate, three seeds. The constants of the methods are
those of their papers or, where a method was made for finished models, guesses that were not tuned: the sharpness of
the Gumbel-softmax, and the half of the run in which quantisation sets in. Methods that the papers use with one scale
a row have one a matrix here, and Tequila's bias fades, so that models pack. Which part of ReSTE helps, its curve or
its schedule, was not taken apart. A step with ReSTE costs a logarithm and an exponential more for each weight,
whatever the batch: 5 to 13 % of a step in batches of 1,024 tokens at width 128 on a busy machine. Counting flips
costs about 1 %.

Made by \`${COMMAND}\`.
`;
}

/** The paired difference of an estimator on the first or second corpus. */
function of(main: readonly Corpus[], corpus: number, estimator: string): string {
  const group = main[corpus]?.groups.find((candidate) => candidate.estimator === estimator);
  return group === undefined ? "(not measured)" : signed(group.differences);
}

function adaptivePage(main: readonly Corpus[]): string {
  return `# Adaptive gradient scaling

The claim, from the design notes of the framework: gradients that are too small to take a ternary weight over a
threshold of its quantiser should be raised to what takes it there, g <- sign(g) max(|g|, c d), with d the distance of
the master from the nearest threshold and c = 1. \`adaptive-0.1\` and \`adaptive-0.01\` have smaller c.

${setting()}

${tables(main.slice(0, 1), isAdaptive)}

![validation loss by step](adaptive-scaling.svg)

**The claim does not hold here.** As it is written, c = 1, it costs ${of(main, 0, "adaptive")}; with c = 0.1 still
${of(main, 0, "adaptive-0.1")}. With c = 0.01 the difference is ${of(main, 0, "adaptive-0.01")} (-0.0051 ± 0.0028 in an
earlier run): no gain that can be told from none.

AdamW divides each gradient by its own recent magnitude, so that a small gradient is no small step to begin with. What
raising changes is which gradients count: noise is raised like signal, twice as many codes change in a step, and they
go on changing when the rate has fallen. Nor is there the standstill that the claim starts from: with straight-through
gradients 0.6 % of the codes change in a step, so that a weight changes about six times in the run.

Not tried: optimisers without that division, rates that are too small for the budget, other texts and sizes.

Made by \`${COMMAND}\`.
`;
}

function progressivePage(main: readonly Corpus[]): string {
  return `# Progressive quantisation while training goes on

The claim: converting a model to ternary weights little by little, or one part after the other, while training goes
on, is better than training with ternary weights from the start. The weight of a step is (1 - l) w + l q(w), and l
rises from 0 to 1 over the first half of the run by five schedules; \`layerwise\` turns the matrices ternary one after
the other, in the order of the layers. [warmup.ts](../../packages/furnace/src/estimators/warmup.ts) has the equations.

${setting()}

${tables(main.slice(0, 1), isWarmup)}

![validation loss by step](progressive-quantisation.svg)

The curves are those of the packed model throughout: in the first half of the run that is not the model that a schedule
trains.

**Mixing helps a little, if at all, and the schedule hardly matters.** Linear mixing
(${of(main, 0, "warmup-linear")}) ends below ternary weights from the start for every seed, as it did in an earlier run
(-0.0074 ± 0.0021). Exponential (${of(main, 0, "warmup-exponential")}), sigmoid
(${of(main, 0, "warmup-sigmoid")}) and discrete (${of(main, 0, "warmup-discrete")}) mixing changed places between the
runs: three seeds do not put the four in an order. A failure of steps of a quarter, which is reported for a model
that was trained before, is not seen when training starts from nothing.

**Turning one matrix ternary after the other**, which is what the claim says by the letter, gives
${of(main, 0, "warmup-layerwise")}: no gain that can be told from none.

All of this is less than what ReSTE gains at no cost in the forward pass ([estimators.md](estimators.md)), and a step
that mixes is slower by the float32 product that takes the place of the integer one.

Not tried: other shares of the run than the first half, mixing with ReSTE's gradient, models that are trained already,
other texts and sizes.

Made by \`${COMMAND}\`.
`;
}
