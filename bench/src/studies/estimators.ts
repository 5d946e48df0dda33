// Three studies in one command, as they share their trainings:
//
//   npm run study:estimators -- --data PATH/tinyshakespeare.txt --data PATH/war-and-peace.txt
//
// which estimator is best (docs/studies/estimators.md), whether adaptive gradient scaling helps (adaptive-scaling.md),
// and which schedule of progressive quantisation (progressive-quantisation.md). Trainings are kept under --runs, two at
// a time on one thread each, so that a study that was stopped goes on where it was. --pages-only draws the pages from
// the trainings that are there.

import { studyArguments } from "./arguments.ts";
import { allArms, readOutcome, runArms } from "./estimator-runs.ts";
import { writePages } from "./estimator-pages.ts";
import { corpusName, startShard } from "./runs.ts";

const USAGE = `npm run study:estimators -- --data PATH/tinyshakespeare.txt --data PATH/war-and-peace.txt

Trains every estimator, scaling and schedule of quantisation for 3 seeds, and draws three pages.
  --data FILE       a text; tinyshakespeare.txt first
  --out FOLDER      where the pages go (docs/studies)
  --runs FOLDER     where trainings are kept (runs/study-estimators)
  --processes N     trainings at a time (2)
  --pages-only      draw the pages from the trainings that are there`;

const values = studyArguments(
  USAGE,
  {
    data: { type: "string", multiple: true, default: [] },
    out: { type: "string", default: "docs/studies" },
    runs: { type: "string", default: "runs/study-estimators" },
    processes: { type: "string", default: "2" },
    shard: { type: "string" },
    "pages-only": { type: "boolean", default: false },
  },
  ["data"],
);

const arms = allArms(values.data.map(corpusName));
const processes = Number(values.processes);
if (values.shard !== undefined) {
  const shard = Number(values.shard);
  await runArms(
    arms.filter((_arm, i) => i % processes === shard),
    values.data,
    values.runs,
  );
} else {
  if (!values["pages-only"]) await Promise.all(Array.from({ length: processes }, (_, shard) => startShard(shard)));
  const outcomes = arms.flatMap((arm) => readOutcome(values.runs, arm) ?? []);
  writePages(outcomes, values.out);
}
