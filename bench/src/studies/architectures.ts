// What ternary weights cost, what recurrence costs, and what a hybrid gives back (docs/studies/architectures.md):
//
//   npm run study:architectures -- --data PATH/tinyshakespeare.txt --data PATH/war-and-peace.txt
//
// Trainings are kept under --runs, two at a time on one thread each, so that a study that was stopped goes on where it
// was. --pages-only draws the page from the trainings that are there.

import { studyArguments } from "./arguments.ts";
import { DEFAULT_BUDGET, mainArms, RECALL, sweepArms } from "./architecture-arms.ts";
import type { Arm } from "./architecture-arms.ts";
import { writePages } from "./architecture-pages.ts";
import { chosenRate, readOutcome, runArms } from "./architecture-runs.ts";
import { corpusName, openText, startShard } from "./runs.ts";

const USAGE = `npm run study:architectures -- --data PATH/tinyshakespeare.txt --data PATH/war-and-peace.txt

Trains a transformer, MLGRU, Mamba-2, Gated DeltaNet and a hybrid, dense and ternary, on texts and on associative
recall, for 3 seeds, and draws a page.
  --data FILE         a text; tinyshakespeare.txt first, whose sweep chooses the rates
  --text-steps N      steps of a training on text (${DEFAULT_BUDGET.textSteps})
  --recall-steps N    steps of a training on recall (${DEFAULT_BUDGET.recallSteps})
  --out FOLDER        where the page goes (docs/studies)
  --runs FOLDER       where trainings are kept (runs/study-architectures)
  --processes N       trainings at a time (2)
  --pages-only        draw the page from the trainings that are there`;

const values = studyArguments(
  USAGE,
  {
    data: { type: "string", multiple: true, default: [] },
    "text-steps": { type: "string", default: String(DEFAULT_BUDGET.textSteps) },
    "recall-steps": { type: "string", default: String(DEFAULT_BUDGET.recallSteps) },
    out: { type: "string", default: "docs/studies" },
    runs: { type: "string", default: "runs/study-architectures" },
    processes: { type: "string", default: "2" },
    shard: { type: "string" },
    phase: { type: "string" },
    "pages-only": { type: "boolean", default: false },
  },
  ["data"],
);

const budget = { textSteps: Number(values["text-steps"]), recallSteps: Number(values["recall-steps"]) };
const texts = values.data.map(corpusName);
const processes = Number(values.processes);

/** The trainings of each phase; those of a later one follow from what the earlier ones came to. */
const PHASES: Readonly<Record<string, () => Arm[]>> = {
  "text rates": () => sweepArms(texts[0], budget),
  text: () => mainArms(texts, budget, (contender) => chosenRate(values.runs, contender, budget, texts[0])),
  "recall rates": () => sweepArms(RECALL, budget),
  recall: () => mainArms([RECALL], budget, (contender) => chosenRate(values.runs, contender, budget, texts[0])),
};

if (values.shard !== undefined) {
  const shard = Number(values.shard);
  const arms = PHASES[values.phase ?? "text"]();
  await runArms(
    arms.filter((_arm, i) => i % processes === shard),
    values.data,
    values.runs,
  );
} else {
  for (const phase of values["pages-only"] ? [] : Object.keys(PHASES)) {
    console.error(`${phase}: ${PHASES[phase]().length} trainings`);
    await Promise.all(Array.from({ length: processes }, (_, shard) => startShard(shard, ["--phase", phase])));
  }
  const outcomes = Object.values(PHASES).flatMap((arms) =>
    arms().flatMap((arm) => readOutcome(values.runs, arm) ?? []),
  );
  const vocabularies = values.data.map((path) => openText(path).tokenizer.vocabSize);
  writePages({ outcomes, texts, budget, vocabularies }, values.out);
}
