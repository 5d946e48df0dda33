// The study behind docs/studies/extended-precision.md: the claim that extended precision improves convergence by 15 to
// 30 % and quality by 2 to 5 %, on small language models, on gradients, and on problems that are known to need digits.
//
//   npm run study:precision -- --data PATH/tinyshakespeare.txt [--out FOLDER] [--runs FOLDER]
//
// One thread; about half an hour. Trainings are kept under --runs, so a study that was stopped goes on where it was.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { bestTarget, createDevice } from "@fidelity/alex/node";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { CharacterTokenizer } from "@fidelity/models";
import { TextCorpus } from "@fidelity/train";
import { gradientErrors, modelStability } from "./gradients.ts";
import type { GradientErrors } from "./gradients.ts";
import { illConditioned, thresholds } from "./ill_conditioned.ts";
import { matmulFree, transformer } from "./models.ts";
import type { StudyResults } from "./report.ts";
import { page, pictures } from "./report.ts";
import { studyArguments } from "../arguments.ts";
import type { TrainingResult } from "./training.ts";
import { trainOnce, VARIANTS } from "./training.ts";

const SEEDS = [1, 2, 3] as const;
/** What the stability report is asked for: a third of the transformer's float32 error. */
const TOLERANCE = 1e-7;

const USAGE = `npm run study:precision -- --data PATH/tinyshakespeare.txt [--out FOLDER] [--runs FOLDER]

Trains in eight arithmetics, and measures gradients and ill-conditioned problems, for 3 seeds; half an hour.
  --data FILE       tinyshakespeare.txt
  --out FOLDER      where the page goes (docs/studies)
  --runs FOLDER     where trainings are kept (runs/study-extended-precision)`;

const options = {
  data: { type: "string" },
  out: { type: "string", default: "docs/studies" },
  runs: { type: "string", default: "runs/study-extended-precision" },
} as const;
const values = studyArguments(USAGE, options, ["data"]);

const corpus = TextCorpus.open([values.data!]);
const tokenizer = CharacterTokenizer.fromTexts(corpus.texts());
const data = corpus.tokenize(tokenizer);
const sizes = { width: 128, hidden: 336, layers: 2, heads: 4, vocabulary: tokenizer.vocabSize };
const models = [matmulFree(sizes), transformer(sizes)];
const device = createDevice({ target: bestTarget(), threads: 1 });
// Graphs in double-double are large and run once: wasm has them ready sooner.
const quick = createDevice({ target: "wasm", threads: 1 });
try {
  const trainings: TrainingResult[] = [];
  const gradients: GradientErrors[] = [];
  for (const seed of SEEDS) {
    for (const model of models) {
      for (const variant of VARIANTS) {
        const run = await trainOnce(device, data, model, variant, seed, values.runs);
        trainings.push(run);
        console.error(`${model.name}, ${variant.name}, seed ${seed}: loss ${run.curve.at(-1)![1].toFixed(4)}`);
      }
      gradients.push(await gradientErrors(quick, data, model, seed));
    }
  }
  const problems = await illConditioned(quick, SEEDS);
  const results: StudyResults = { trainings, gradients, problems, thresholds: await thresholds(quick, SEEDS) };
  const stability = await modelStability(quick, data, transformer(sizes), SEEDS[0], TOLERANCE);
  const files = new Map(pictures(results, stability));
  files.set("extended-precision.md", page(results, stability));
  files.set("extended-precision.jsonl", measurements(results));
  mkdirSync(values.out, { recursive: true });
  for (const [name, text] of files) writeFileAtomic(join(values.out, name), [new TextEncoder().encode(text)]);
} finally {
  await device.close();
  await quick.close();
}

/** One measurement a line, with the part of the study that it is of. */
function measurements(results: StudyResults): string {
  const lines = Object.entries(results).flatMap(([part, all]) =>
    (all as readonly object[]).map((each) => JSON.stringify({ part, ...each })),
  );
  return `${lines.join("\n")}\n`;
}
