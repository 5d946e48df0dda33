// A process of the memory suite: takes two training steps of the MatMul-free language model on one sequence, and prints
// the most memory that it had, less what it had before the model was made, and what the plan said.

import { readFileSync } from "node:fs";
import { createDevice } from "@fidelity/alex/node";
import { createModel, fillParameter, namedParameters } from "@fidelity/models";
import { TrainStep, trainSettings } from "@fidelity/train";
import type { BenchTarget } from "../options.ts";

export interface MemoryJob {
  readonly target: BenchTarget;
  readonly width: number;
  readonly hidden: number;
  readonly layers: number;
  readonly context: number;
  readonly recompute: boolean;
}

export interface MemoryUse {
  readonly peakBytes: number;
  /** Parameters with their moments, and the arena of what lies between. */
  readonly plannedBytes: number;
}

function resident(name: "VmRSS" | "VmHWM"): number {
  const [, kibibytes] = new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/self/status", "utf8"))!;
  return Number(kibibytes) * 1024;
}

async function run({ target, width, hidden, layers, context, recompute }: MemoryJob): Promise<MemoryUse> {
  const device = createDevice({ target, threads: 1 });
  const before = resident("VmRSS");
  const sizes = { dim: width, hiddenDim: hidden, layerCount: layers, vocabSize: 256 };
  const model = createModel({ architecture: "matmul-free", ...sizes });
  const settings = trainSettings({ steps: 10, batchSize: 1, contextLength: context, estimator: "straight-through" });
  const step = await TrainStep.compile(device, model, settings, { recompute });
  const leaves = namedParameters(model.parameters);
  for (const { path, leaf } of leaves) fillParameter(leaf, path, 1, step.parameters.get(path)!.f32());
  for (const number of [1, 2]) {
    step.tokens.i32().forEach((_token, i, tokens) => void (tokens[i] = (i * 7) % 256));
    step.targets.i32().forEach((_token, i, tokens) => void (tokens[i] = (i * 7 + 7) % 256));
    await step.run(number, 1e-3);
  }
  const updatedBytes = leaves.reduce((sum, { path }) => sum + 3 * step.parameters.get(path)!.bytes().byteLength, 0);
  const plannedBytes = updatedBytes + step.executable.arenaBytes;
  const use = { peakBytes: resident("VmHWM") - before, plannedBytes };
  await device.close();
  return use;
}

process.stdout.write(JSON.stringify(await run(JSON.parse(process.argv[2]) as MemoryJob)));
