// One training of the study: a model, a variant of its arithmetic, and a seed. All variants see the same batches and
// begin with the same parameters.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { tensorType, trace } from "@fidelity/core";
import type { Device, DeviceTensor, Graph, Tensor } from "@fidelity/core";
import {
  accumulations,
  adamW,
  clipByGlobalNorm,
  compensated,
  extendGraph,
  rounded,
  valueAndGrad,
  warmupCosine,
} from "@fidelity/furnace";
import type { Optimizer } from "@fidelity/furnace";
import { Batches } from "@fidelity/train";
import type { TokenData } from "@fidelity/train";
import type { LanguageModel, Parameters, Tokens } from "./models.ts";
import { firstValues, inFloat32, typesIn } from "./models.ts";
import { writeTensor } from "./tensors.ts";

/** What differs between runs of a model. */
export interface Variant {
  readonly key: string;
  readonly name: string;
  /** For pictures. */
  readonly short: string;
  /** The dtype in which parameters are stored; bf16 is computed with in float32. */
  readonly dtype: "f32" | "f64" | "bf16";
  /** Sums and products of matrices in float64, rounded once. */
  readonly wideSums?: boolean;
  readonly wrap?: (optimizer: Optimizer) => Optimizer;
  /** The number of a first value that is moved by one unit in its last place: what a last bit does to a run. */
  readonly nudged?: number;
}

export const VARIANTS: readonly Variant[] = [
  { key: "f32", name: "float32", short: "float32", dtype: "f32" },
  {
    key: "f32-nudged",
    name: "float32, one weight moved by its last bit",
    short: "one bit moved",
    dtype: "f32",
    nudged: 0,
  },
  { key: "f32-other", name: "float32, another weight moved so", short: "another bit", dtype: "f32", nudged: 1 },
  { key: "f32-sums", name: "float32, sums in float64", short: "sums in float64", dtype: "f32", wideSums: true },
  { key: "f32-kahan", name: "float32, compensated AdamW", short: "compensated", dtype: "f32", wrap: compensated },
  { key: "f64", name: "float64", short: "float64", dtype: "f64" },
  { key: "bf16", name: "bf16 parameters", short: "bf16", dtype: "bf16", wrap: rounded },
  {
    key: "bf16-kahan",
    name: "bf16 parameters, compensated",
    short: "bf16, compensated",
    dtype: "bf16",
    wrap: compensated,
  },
];

export const TRAINING = { steps: 1500, warmup: 100, batch: 8, context: 64, evaluateEvery: 100, batches: 40 } as const;

/** What a run leaves behind. */
export interface TrainingResult {
  readonly model: string;
  readonly variant: string;
  readonly seed: number;
  readonly seconds: number;
  /** Validation loss by step, in nats a character. */
  readonly curve: readonly (readonly [step: number, loss: number])[];
}

const scalar = tensorType("f32", []);

/** The graph of a training step: results are parameters, state and loss. */
export function stepGraph(model: LanguageModel, variant: Variant, batch: number, context: number): Graph {
  const types = typesIn(model, variant.dtype);
  const plain = adamW({ weightDecay: 0.1, beta2: 0.95 });
  const optimizer = variant.wrap === undefined ? plain : variant.wrap(plain);
  const tokens = tensorType("i32", [batch, context]);
  const inputs = [types, optimizer.init(types), scalar, scalar, tokens, tokens] as const;
  const step = (...args: readonly unknown[]): unknown => {
    const [parameters, state, learningRate, at, ids, targets] = args as never[];
    const working = variant.dtype === "bf16" ? inFloat32(parameters) : parameters;
    const both = valueAndGrad((p: Parameters) => model.loss(p, ids as Tokens, targets as Tokens) as Tensor);
    const { value, grad } = both(working);
    const { grads } = clipByGlobalNorm(grad, 1);
    const next = optimizer.update(parameters, grads as never, state, { learningRate, step: at });
    return { parameters: next.params, state: next.state, loss: value };
  };
  const { graph } = trace("study_step", step as never, inputs as never);
  return variant.wideSums === true ? extendGraph(graph, accumulations("f64")) : graph;
}

function evaluationGraph(model: LanguageModel, variant: Variant): Graph {
  const tokens = tensorType("i32", [TRAINING.batch, TRAINING.context]);
  const loss = (p: never, ids: never, targets: never): unknown =>
    model.loss(variant.dtype === "bf16" ? inFloat32(p) : p, ids, targets);
  return trace("study_loss", loss as never, [typesIn(model, variant.dtype), tokens, tokens] as never).graph;
}

/** The rate at the peak of each model's schedule, found by hand once. */
const PEAK: Readonly<Record<string, number>> = { "MatMul-free": 4e-3, transformer: 2e-3 };

/** Trains, or reads what an earlier run left under `folder`. */
export async function trainOnce(
  device: Device,
  data: TokenData,
  model: LanguageModel,
  variant: Variant,
  seed: number,
  folder: string,
): Promise<TrainingResult> {
  const file = join(folder, `${model.name}-${variant.key}-${seed}.json`);
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as TrainingResult;
  const result = await train(device, data, model, variant, seed);
  mkdirSync(folder, { recursive: true });
  writeFileAtomic(file, [new TextEncoder().encode(JSON.stringify(result))]);
  return result;
}

async function train(
  device: Device,
  data: TokenData,
  model: LanguageModel,
  variant: Variant,
  seed: number,
): Promise<TrainingResult> {
  const { steps, warmup, batch, context, evaluateEvery } = TRAINING;
  const graph = stepGraph(model, variant, batch, context);
  const updated = graph.results.length - 1;
  const donations = Array.from({ length: updated }, (_, i) => ({ parameter: i, result: i }));
  const program = await device.compile(graph, { name: "study_step", donations });
  const tensors = program.parameterTypes.map((type) => device.tensor(type));
  const [rate, at, tokens, targets] = tensors.slice(updated) as [
    DeviceTensor,
    DeviceTensor,
    DeviceTensor,
    DeviceTensor,
  ];
  const loss = device.tensor(program.resultTypes[updated]);
  program.bind(tensors, [...tensors.slice(0, updated), loss]);
  [...firstValues(model, seed).values()].forEach((values, i) => writeTensor(tensors[i], values));
  if (variant.nudged !== undefined) tensors[0].f32()[variant.nudged] *= 1 + 2 ** -23;
  const validation = await evaluator(device, model, variant, tensors);
  const batches = new Batches(data.tokens, { batchSize: batch, contextLength: context, seed });
  const peak = PEAK[model.name];
  const schedule = warmupCosine({ peak, warmupSteps: warmup, totalSteps: steps, floor: peak / 10 });
  const curve: [number, number][] = [];
  let seconds = 0;
  for (let step = 1; step <= steps; step++) {
    batches.batch(step, tokens.i32(), targets.i32());
    rate.f32()[0] = schedule(step);
    at.f32()[0] = step;
    const started = performance.now();
    program.run();
    seconds += (performance.now() - started) / 1000;
    if (step % evaluateEvery === 0) curve.push([step, validation.run(batches)]);
  }
  validation.free();
  program.free();
  for (const tensor of [...tensors, loss]) tensor.free();
  return { model: model.name, variant: variant.key, seed, seconds, curve };
}

/** The mean loss over the same validation batches for all. */
async function evaluator(device: Device, model: LanguageModel, variant: Variant, tensors: readonly DeviceTensor[]) {
  const program = await device.compile(evaluationGraph(model, variant), { name: "study_loss" });
  const count = Object.keys(model.specs).length;
  const [tokens, targets] = program.parameterTypes.slice(count).map((type) => device.tensor(type));
  const [type] = program.resultTypes;
  const loss = device.tensor(type);
  program.bind([...tensors.slice(0, count), tokens, targets], [loss]);
  const read = (): number => {
    const bytes = loss.bytes();
    return type.dtype === "f64" ? new Float64Array(bytes.buffer, bytes.byteOffset, 1)[0] : loss.f32()[0];
  };
  return {
    run(batches: Batches): number {
      let sum = 0;
      for (let i = 0; i < TRAINING.batches; i++) {
        batches.validationBatch(i, tokens.i32(), targets.i32(), TRAINING.batches);
        program.run();
        sum += read();
      }
      return sum / TRAINING.batches;
    },
    free(): void {
      program.free();
      for (const tensor of [tokens, targets, loss]) tensor.free();
    },
  };
}
