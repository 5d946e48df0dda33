// The trainings behind docs/studies/estimators.md, adaptive-scaling.md and progressive-quantisation.md: the MatMul-free
// language model with each gradient estimator, on two books, with the same batches and the same first values for one
// seed. What a training came to is kept as a file of JSON, so that a study that was stopped goes on where it was.

import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createDevice } from "@fidelity/alex/node";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { ESTIMATORS } from "@fidelity/furnace";
import { createModel, freeParameters, packParameters } from "@fidelity/models";
import { Batches, evaluateLoss, RunFolder, train } from "@fidelity/train";
import { mean } from "../statistics.ts";
import { corpusName, openText, readMetrics, validationCurve } from "./runs.ts";
import type { Text } from "./runs.ts";

export const STEPS = 1000;
export const SIZES = { dim: 128, hiddenDim: 336, layerCount: 3 } as const;
export const SHARED = { steps: STEPS, batchSize: 16, contextLength: 64, finalRatio: 0.1 } as const;
/** The peak rate that all estimators get, near the best of straight-through gradients at this size. */
export const RATE = 2.5e-3;
export const SEEDS = [1, 2, 3] as const;
/** Steps between two points of a curve. */
const POINT_STEPS = 50;

/** What others are compared with. */
export const BASELINE = "straight-through";

/** One training. */
export interface Arm {
  readonly estimator: string;
  readonly learningRate: number;
  readonly seed: number;
  /** The corpus, by the name of its file without the ending. */
  readonly corpus: string;
}

/** What a training came to. */
export interface Outcome extends Arm {
  /** Of the packed model over the whole validation split, nats a character. */
  readonly loss: number;
  readonly seconds: number;
  /** Validation losses on the way, each of the model as it would be packed then. */
  readonly curve: readonly (readonly [step: number, loss: number])[];
  /** Mean share of ternary weights that change their code in a step, by every `POINT_STEPS` steps. */
  readonly flips: readonly (readonly [step: number, share: number])[];
}

/** All trainings: schedules and adaptive scaling, which have pages of their own, on the first corpus only. */
export function allArms(corpora: readonly string[]): Arm[] {
  const names = ESTIMATORS.map(({ name }) => name);
  const special = names.filter((name) => /^(warmup|adaptive)/.test(name));
  const plain = names.filter((name) => !special.includes(name));
  const arms = (estimators: readonly string[], on: readonly string[]): Arm[] =>
    SEEDS.flatMap((seed) =>
      on.flatMap((corpus) => estimators.map((estimator) => ({ estimator, learningRate: RATE, seed, corpus }))),
    );
  return [...arms(plain, corpora), ...arms(special, corpora.slice(0, 1))];
}

function outcomePath(folder: string, { corpus, estimator, learningRate, seed }: Arm): string {
  return join(folder, `${corpus}-${estimator}-${learningRate}-${seed}.json`);
}

/** The outcome of an arm; undefined while there is none. */
export function readOutcome(folder: string, arm: Arm): Outcome | undefined {
  const path = outcomePath(folder, arm);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Outcome) : undefined;
}

/** Runs those of the arms that have no outcome yet. `paths` are the corpora's files. */
export async function runArms(arms: readonly Arm[], paths: readonly string[], folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const texts = new Map<string, Text>();
  for (const arm of arms) {
    if (readOutcome(folder, arm) !== undefined) continue;
    const path = paths.find((candidate) => corpusName(candidate) === arm.corpus);
    if (path === undefined) throw new Error(`no corpus is called ${arm.corpus}`);
    const text = texts.get(path) ?? openText(path);
    texts.set(path, text);
    const outcome = await runArm(arm, text, `${outcomePath(folder, arm)}.run`);
    const { loss, seconds } = outcome;
    const what = `${arm.corpus}, ${arm.estimator}, ${arm.learningRate}, seed ${arm.seed}`;
    console.error(`${what}: ${loss.toFixed(4)} in ${seconds.toFixed(0)} s`);
    writeFileAtomic(outcomePath(folder, arm), [new TextEncoder().encode(`${JSON.stringify(outcome)}\n`)]);
    rmSync(`${outcomePath(folder, arm)}.run`, { recursive: true });
  }
}

async function runArm(arm: Arm, { tokenizer, data }: Text, runFolder: string): Promise<Outcome> {
  const device = createDevice({ threads: 1, target: "native" });
  try {
    const { estimator, learningRate, seed } = arm;
    const model = createModel({ architecture: "matmul-free", ...SIZES, vocabSize: tokenizer.vocabSize });
    const result = await train({
      device,
      model,
      tokenizer,
      data,
      settings: { ...SHARED, seed, learningRate, estimator },
      folder: runFolder,
      validation: { everySteps: POINT_STEPS, batches: 16 },
      checkpoint: { everySeconds: 30 },
    });
    const packed = await packParameters(model, result.parameters, device);
    const batches = new Batches(data.tokens, { ...SHARED, seed });
    const { loss } = await evaluateLoss({ device, model, parameters: packed, batches });
    for (const [path, tensor] of packed) if (tensor !== result.parameters.get(path)) tensor.free();
    freeParameters(result.parameters);
    return { ...arm, loss, seconds: result.seconds, ...curvesOf(new RunFolder(runFolder).metrics) };
  } finally {
    await device.close();
  }
}

function curvesOf(path: string): Pick<Outcome, "curve" | "flips"> {
  const rows = readMetrics(path);
  const flips = Array.from({ length: Math.floor(rows.length / POINT_STEPS) }, (_, i): [number, number] => {
    const part = rows.slice(i * POINT_STEPS, (i + 1) * POINT_STEPS);
    return [(i + 1) * POINT_STEPS, mean(part.map((row) => mean(row.flips ?? [0])))];
  });
  return { curve: validationCurve(path), flips };
}
