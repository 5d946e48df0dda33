// The page and the picture of the study of gradient memory, from what was measured.

import { median, pairedRatios } from "../../statistics.ts";
import type { Courses, Memory } from "./measure.ts";
import type { Setting } from "./model.ts";
import { FORMS } from "./step.ts";
import type { Form } from "./step.ts";

/** What is known of one setting: one entry for each seed. */
export interface Measured {
  readonly name: string;
  readonly setting: Setting;
  readonly memories: Readonly<Record<Form, readonly Memory[]>>;
  readonly courses: readonly Courses[];
}

const MEBIBYTE = 2 ** 20;
/** The goal: this share of the memory of dense gradients. */
const GOAL = 1 / 3;
/** Losses are means over that many last steps. */
const LAST = 8;

/** Milliseconds of a form over those of dense gradients in the same round, over all rounds and seeds. */
function timeRatio({ courses }: Measured, form: Form): number {
  const all = (of: Form): number[] => courses.flatMap((course) => course[of].milliseconds);
  return pairedRatios(all(form), all("dense")).median;
}

function memoryOf({ memories }: Measured, form: Form, what: keyof Memory): number {
  return median(memories[form].map((memory) => memory[what]));
}

/** How many times less memory a form takes than dense gradients. */
function saving(measured: Measured, form: Form, what: keyof Memory): number {
  return memoryOf(measured, "dense", what) / memoryOf(measured, form, what);
}

function lastLoss(course: Courses, form: Form): number {
  const losses = course[form].losses.slice(-LAST);
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

function memoryTable(measured: readonly Measured[]): string {
  const cell = (each: Measured, form: Form, what: keyof Memory): string => {
    const size = (memoryOf(each, form, what) / MEBIBYTE).toFixed(1);
    return form === "dense" ? size : `${size} (${saving(each, form, what).toFixed(1)}x)`;
  };
  const rows = measured.flatMap((each) =>
    FORMS.map((form, i) => {
      const [name, parameters] = i === 0 ? [each.name, cell(each, "dense", "parameters")] : ["", ""];
      const memory = (["gradients", "arena", "resident"] as const).map((what) => cell(each, form, what)).join(" | ");
      const milliseconds = median(each.courses.flatMap((course) => course[form].milliseconds)).toFixed(1);
      const time = form === "dense" ? milliseconds : `${milliseconds} (${timeRatio(each, form).toFixed(2)})`;
      return `| ${name} | ${parameters} | ${form} | ${memory} | ${time} |`;
    }),
  );
  return [
    "| setting | parameters | form | gradients | arena | resident | ms a step |",
    `|${" --- |".repeat(7)}`,
    ...rows,
  ].join("\n");
}

function lossTable(measured: readonly Measured[], seeds: number): string {
  const rows = measured.flatMap((each) =>
    FORMS.map((form, i) => {
      const losses = each.courses.map((course) => lastLoss(course, form).toFixed(4)).join(" | ");
      const steps = each.courses[0].dense.losses.length + 2;
      return `| ${i === 0 ? `${each.name}, ${steps} steps` : ""} | ${form} | ${losses} |`;
    }),
  );
  const heads = Array.from({ length: seeds }, (_, i) => `seed ${i + 1}`).join(" | ");
  return [`| setting | form | ${heads} |`, `|${" --- |".repeat(seeds + 2)}`, ...rows].join("\n");
}

/** Where the goal was met, and where it was not, one line each. */
function verdict(measured: readonly Measured[], what: keyof Memory): string {
  const list = (meets: boolean): string => {
    const named = measured.filter((each) => saving(each, "exact", what) >= 1 / GOAL === meets);
    return named.map(({ name }) => name).join("; ") || "nowhere";
  };
  return [`- met: ${list(true)}`, `- not met: ${list(false)}`].join("\n");
}

export function page(measured: readonly Measured[], seeds: number): string {
  const { width, negatives, contextLength } = measured[0].setting;
  return `# Gradients as rows and factors, where the vocabulary is large

The claim: gradients that are tagged with their structure and made whole lazily, if at all, save memory. The goal was a
third of the peak memory of dense gradients. Here is a model with a large vocabulary and a small width: an embedding of
width ${width}, two gated linear recurrences, and one of three heads: a softmax over the target and ${negatives} shared
negatives ("sampled softmax"), one over the whole vocabulary with a table of its own, and one with the embedding for a
table ("tied"). Sequences have ${contextLength} tokens, drawn from a log-uniform distribution. The optimiser is AdamW,
with gradients clipped by their common norm, so that all gradients are there at once before anything is updated.

- **dense**: \`valueAndGrad\`; every gradient is a tensor.
- **exact**: \`gradients\`; an embedding's gradient is the rows of the batch, a head's is two factors where they are
  smaller than the matrix. AdamW works through blocks of rows of parameter and moments, and makes of the gradient what
  belongs to a block. The step is that of the dense gradient.
- **lazy**: the same gradients; a sparse one updates the rows of the batch and their moments, and no others.

Memory is in MiB; in brackets how many times less than dense. *Gradients*: all tensors that the gradients are made of
when the last one is known, counted once, factors that the backward pass has anyway included. *Arena*: what the memory
plan gives to everything between parameters and results (activations, gradients, temporaries). *Resident*: by how much
the process grew in its first three steps, with parameters and moments written, and a small model stepped, before; the
median of ${seeds} seeds.
Times are medians over rounds in which each form takes one step; in brackets the median ratio to dense within a round,
over ${seeds} seeds. The machine was shared: the ratios count.

${memoryTable(measured)}

![Memory and time beside dense gradients](gradient-memory.svg)

A third of the memory of gradients, in exact steps:

${verdict(measured, "gradients")}

A third of the arena:

${verdict(measured, "arena")}

What this says:

- With a **sampled softmax** both tables have sparse gradients, whose size is that of the batch and not of the
  vocabulary: the larger the vocabulary, the larger the saving, in memory and in time. The claim holds.
- With a **softmax over the vocabulary** the head's gradient is G^T H of a cotangent G [tokens, vocabulary] and hidden
  states H [tokens, width]. Its factors are smaller than the matrix only while a batch has fewer tokens than the width.
  Above that it is dense: with a table of its own half of the gradients' memory is left, and with a tied table all of
  it, as the rows of the embedding are added to it in place. The logits are the larger part of the arena then, and no
  form of gradients changes them. **The claim fails there.**
- Where the head's gradient is kept as factors, an exact step may take longer than a dense one: the product of the
  factors is computed by blocks for the update, and a second time, or as Gram matrices, for the norm.
- **Exact** steps give the losses of dense ones to the digits that float32 keeps (below): the order of a sum differs, in
  the norm. **Lazy** ones are another optimiser: rows rest between batches, their momentum does not move them and they
  do not decay. In these short runs they end with a higher loss at the same learning rate.

Mean training loss of the last ${LAST} steps, in nats a token:

${lossTable(measured, seeds)}

What the study does not say: how lazy rows do in long trainings on real text, and what becomes of the memory on
accelerators.

Made by \`npm run study:gradient-memory\`.
`;
}

const FONT = 'font-family="sans-serif" font-size="12"';
const PLOT = { left: 230, right: 700, top: 52 } as const;
const GROUP = 50;
const BARS = [
  { name: "gradients", color: "#0a66c2" },
  { name: "arena", color: "#6b9a3c" },
  { name: "time of a step", color: "#b33a7f" },
] as const;

/** One group of bars a setting: what exact steps take as a share of what dense ones take. */
export function picture(measured: readonly Measured[]): string {
  const bottom = PLOT.top + measured.length * GROUP;
  const most = 1.6;
  const x = (share: number): number => {
    return Math.round(10 * (PLOT.left + ((PLOT.right - PLOT.left) * Math.min(share, most)) / most)) / 10;
  };
  const line = (share: number, color: string, dashes = ""): string =>
    `<line x1="${x(share)}" x2="${x(share)}" y1="${PLOT.top - 6}" y2="${bottom}" stroke="${color}"${dashes}/>`;
  const tick = (share: number): string => {
    const place = `x="${x(share)}" y="${bottom + 16}" text-anchor="middle" fill="#666"`;
    return `${line(share, "#ddd")}<text ${place}>${share.toFixed(1)}</text>`;
  };
  const groups = measured.flatMap((each, i) => {
    const top = PLOT.top + i * GROUP;
    const shares = [
      1 / saving(each, "exact", "gradients"),
      1 / saving(each, "exact", "arena"),
      timeRatio(each, "exact"),
    ];
    const bars = shares.map((share, at) => {
      const y = top + 4 + at * 14;
      const width = Math.max(1, x(share) - PLOT.left);
      return (
        `<rect x="${PLOT.left}" y="${y}" width="${width}" height="11" fill="${BARS[at].color}"/>` +
        `<text x="${x(share) + 5}" y="${y + 10}" fill="#222" font-size="10">${share.toFixed(2)}</text>`
      );
    });
    const label = `<text x="${PLOT.left - 8}" y="${top + 29}" text-anchor="end" fill="#222">${each.name}</text>`;
    return [label, ...bars];
  });
  const legend = BARS.map(({ name, color }, i) => {
    const at = PLOT.left + i * 130;
    const box = `<rect x="${at}" y="14" width="11" height="11" fill="${color}"/>`;
    return `${box}<text x="${at + 16}" y="24" fill="#222">${name}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 ${bottom + 44}" ${FONT}>`,
    `<rect width="760" height="${bottom + 44}" fill="#fff"/>`,
    ...[0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6].map(tick),
    ...groups,
    line(GOAL, "#c33", ' stroke-dasharray="4 3"'),
    `<text x="${x(GOAL)}" y="${PLOT.top - 10}" text-anchor="middle" fill="#c33" font-size="10">goal: 1/3</text>`,
    ...legend,
    `<text x="${PLOT.left}" y="${bottom + 34}" fill="#444">exact steps as a share of those with dense gradients</text>`,
    "</svg>",
    "",
  ].join("\n");
}
