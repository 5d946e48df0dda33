// The page of the study of architectures, with its pictures and its numbers as lines of JSON. The numbers come from the
// trainings; what is said about them was written once, when they were there.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { versions } from "@fidelity/run/node";
import { machine } from "@fidelity/train";
import { MIXERS, RATES, RECALL, SEEDS, SWEEP_SEED, WEIGHTS } from "./architecture-arms.ts";
import type { Budget, Mixer, Weights } from "./architecture-arms.ts";
import { besideTransformer, lossCurves, recallPlot, ternaryCost } from "./architecture-plots.ts";
import type { Outcome } from "./architecture-runs.ts";
import {
  differences,
  find,
  groupsOf,
  mainTable,
  recallTable,
  seedTable,
  signed,
  sweepTable,
} from "./architecture-tables.ts";
import { findings, limits, quickstart, recallSetup, setup } from "./architecture-words.ts";

const COMMAND = "npm run study:architectures -- --data tinyshakespeare.txt --data war-and-peace.txt";

/** What the page is made of. */
export interface Study {
  readonly outcomes: readonly Outcome[];
  readonly texts: readonly string[];
  readonly budget: Budget;
  /** Characters that each text has. */
  readonly vocabularies: readonly number[];
}

/** Writes the page, its pictures and its numbers to the folder `out`. */
export function writePages(study: Study, out: string): void {
  mkdirSync(out, { recursive: true });
  const write = (name: string, text: string): void =>
    void writeFileAtomic(join(out, name), [new TextEncoder().encode(text)]);
  const { outcomes, texts } = study;
  for (const text of texts) {
    const groups = groupsOf(outcomes, text);
    const yName = `${text}: validation loss, nats a character, median of the seeds`;
    write(`architectures-${text}-curves.svg`, lossCurves(groups, yName));
    write(`architectures-${text}.svg`, besideTransformer(groups, text));
    write(`architectures-${text}-ternary.svg`, ternaryCost(groups, text));
  }
  const recall = groupsOf(outcomes, RECALL);
  write("architectures-recall.svg", recallPlot(recall));
  write(
    "architectures-recall-curves.svg",
    lossCurves(recall, "MQAR: validation loss, nats an answer, median of the seeds", 3),
  );
  const about = { ...versions(), ...machine(), texts, budget: study.budget, seeds: SEEDS };
  write("architectures.jsonl", [about, ...outcomes].map((line) => `${JSON.stringify(line)}\n`).join(""));
  write("architectures.md", page(study));
}

/** Two contenders whose losses are subtracted. */
interface Pair {
  readonly name: string;
  readonly one: readonly [Mixer, Weights];
  readonly other: readonly [Mixer, Weights];
}

/** A row for each pair, a column for each text: mean and standard error of the differences of equal seeds. */
function comparison({ texts, outcomes }: Study, pairs: readonly Pair[]): string {
  const groups = texts.map((text) => groupsOf(outcomes, text));
  const rows = pairs.map(({ name, one, other }) => {
    const cells = groups.map((of) => signed(differences(find(of, ...one), find(of, ...other))));
    return `| ${[name, ...cells].join(" | ")} |`;
  });
  return [`| | ${texts.join(" | ")} |`, `|${" --- |".repeat(texts.length + 1)}`, ...rows].join("\n");
}

function page(study: Study): string {
  const { outcomes, texts, vocabularies } = study;
  return `# What ternary weights cost, what recurrence costs, and what a hybrid gives back

${setup(study)}

${mainTable(outcomes, texts, vocabularies[0])}

Losses are medians of ${SEEDS.length} seeds, in brackets what the seeds lie between, in nats a character over the whole
validation split; ternary models are packed for it. The last columns are the share of MQAR's queries that are answered,
in percent, by the number of pairs: medians over the seeds, of models with two layers ([below](#recall)). "Saved" is the
size of the model's file, with ternary weights packed.

## What it says

${findings(study)}

${weightsSection(study)}

${mixersSection(study)}

${recallSection(study)}

${quickstart()}

${seedsSection(study)}

${limits()}
`;
}

function weightsSection(study: Study): string {
  const pairs = MIXERS.map((mixer): Pair => ({ name: mixer, one: [mixer, "ternary"], other: [mixer, "dense"] }));
  const pictures = study.texts.map(
    (text) => `![what ternary weights cost on ${text}](architectures-${text}-ternary.svg)`,
  );
  return `## Ternary weights

Loss with ternary weights minus loss with dense ones and the same seed; mean and standard error:

${comparison(study, pairs)}

${pictures.join("\n\n")}`;
}

function mixersSection(study: Study): string {
  const others = MIXERS.filter((mixer) => mixer !== "transformer");
  const beside = others.flatMap((mixer) =>
    WEIGHTS.map((weights): Pair => {
      return { name: `${mixer}, ${weights}`, one: [mixer, weights], other: ["transformer", weights] };
    }),
  );
  const hybrids = WEIGHTS.map((weights): Pair => {
    return { name: weights, one: ["hybrid", weights], other: ["Gated DeltaNet", weights] };
  });
  const pictures = study.texts.flatMap((text) => [
    `![losses beside the dense transformer on ${text}](architectures-${text}.svg)`,
    `![validation loss by step on ${text}](architectures-${text}-curves.svg)`,
  ]);
  return `## Recurrence, and hybrids

Loss minus that of the transformer with the same kind of weights and the same seed:

${comparison(study, beside)}

Loss of the hybrid minus that of Gated DeltaNet, which it is but for one layer in four:

${comparison(study, hybrids)}

${pictures.join("\n\n")}`;
}

function recallSection({ outcomes, budget }: Study): string {
  return `## Recall

${recallSetup(budget)}

![accuracy by the number of pairs](architectures-recall.svg)

![loss on recall by step](architectures-recall-curves.svg)

${recallTable(groupsOf(outcomes, RECALL))}`;
}

function seedsSection({ outcomes, texts, budget }: Study): string {
  const tables = texts.map((text) => `**${text}**\n\n${seedTable(groupsOf(outcomes, text))}`);
  const { fidelity, node } = versions();
  const { cpu, cores } = machine();
  return `## Seeds and rates

${tables.join("\n\n")}

A contender's peak rate on both texts is the one of three that ended lowest on ${texts[0]} with seed ${SWEEP_SEED} and
half of the steps:

${sweepTable(outcomes, texts[0], RATES.text, SWEEP_SEED)}

That on recall is the one of two, with all steps:

${sweepTable(outcomes, RECALL, RATES.recall, SWEEP_SEED)}

Fidelity ${fidelity}, Node ${node}, native code by LLVM 19, ${cpu} with ${cores} cores, one thread a training. All
${outcomes.length} trainings with their curves are in \`architectures.jsonl\` beside this page. Made by
\`${COMMAND}\`,
with ${budget.textSteps} steps on text and ${budget.recallSteps} on recall, its defaults.`;
}
