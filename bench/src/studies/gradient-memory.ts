// The study behind docs/studies/gradient-memory.md: what gradients that are kept as rows and factors (furnace's
// variants) save in memory and time, where the vocabulary is large beside the width, and where they save nothing.
//
//   npm run study:gradient-memory [-- --out FOLDER] [--runs FOLDER]
//
// Every measurement is a process of its own; they run one after the other, and are kept under --runs, so that a study
// that was stopped goes on where it was.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { studyArguments } from "./arguments.ts";
import { CASES, measureCourses, measureMemory } from "./gradient-memory/measure.ts";
import type { Courses, Memory } from "./gradient-memory/measure.ts";
import { page, picture } from "./gradient-memory/page.ts";
import type { Measured } from "./gradient-memory/page.ts";
import { FORMS } from "./gradient-memory/step.ts";
import type { Form } from "./gradient-memory/step.ts";

const SEEDS = [1, 2, 3] as const;

const USAGE = `npm run study:gradient-memory -- [--out FOLDER] [--runs FOLDER]

Measures the memory and the time of training steps with dense gradients and with rows and factors, for 3 seeds.
  --out FOLDER      where the page goes (docs/studies)
  --runs FOLDER     where measurements are kept (runs/study-gradient-memory)
  --case N          one case alone, as JSON; with --form dense, exact or lazy its memory, else its course; --seed N`;

const values = studyArguments(USAGE, {
  out: { type: "string", default: "docs/studies" },
  runs: { type: "string", default: "runs/study-gradient-memory" },
  case: { type: "string" },
  form: { type: "string" },
  seed: { type: "string", default: "1" },
});

if (values.case !== undefined) {
  const [index, seed] = [Number(values.case), Number(values.seed)];
  const isMemory = values.form !== undefined;
  const found = await (isMemory ? measureMemory(index, values.form as Form, seed) : measureCourses(index, seed));
  console.log(JSON.stringify(found));
} else {
  const measured = CASES.map(({ name, setting }, index): Measured => {
    const memory = (form: Form): Memory[] => SEEDS.map((seed) => measure<Memory>(index, seed, form));
    const memories = { dense: memory("dense"), exact: memory("exact"), lazy: memory("lazy") };
    return { name, setting, memories, courses: SEEDS.map((seed) => measure<Courses>(index, seed)) };
  });
  mkdirSync(values.out, { recursive: true });
  const write = (name: string, text: string): void => {
    writeFileAtomic(join(values.out, name), [new TextEncoder().encode(text)]);
  };
  write("gradient-memory.svg", picture(measured));
  write("gradient-memory.md", page(measured, SEEDS.length));
}

/** One measurement, by this script in another process, or as it was kept. */
function measure<T>(index: number, seed: number, form?: Form): T {
  mkdirSync(values.runs, { recursive: true });
  const kept = join(values.runs, `${index}-${seed}-${form ?? FORMS.join("-")}.json`);
  if (!existsSync(kept)) {
    console.error(`${CASES[index].name}, seed ${seed}: ${form ?? "times and losses"}`);
    const options = ["--case", String(index), "--seed", String(seed), ...(form === undefined ? [] : ["--form", form])];
    const { status, stdout } = spawnSync(process.execPath, [process.argv[1], ...options], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (status !== 0) throw new Error(`${kept}: the measurement ended with ${status}`);
    writeFileAtomic(kept, [new TextEncoder().encode(stdout)]);
  }
  return JSON.parse(readFileSync(kept, "utf8")) as T;
}
