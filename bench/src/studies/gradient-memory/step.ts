// One training step in one of three forms, compiled with all that it updates donated, and what it needs.

import type { Device, DeviceTensor, Executable, Tensor, TensorType } from "@fidelity/core";
import { flattenTree, isTensor, isTensorType, storageBytes, tensorType, trace } from "@fidelity/core";
import { adamW, clipByGlobalNorm, gradients, isGradient, partsOf, valueAndGrad } from "@fidelity/furnace";
import type { OptimizerState } from "@fidelity/furnace";
import type { Shape } from "@fidelity/units";
import { batchTypes, fillBatch, lossOf, parameterTypes, randomNumbers } from "./model.ts";
import type { Batch, Parameters, Setting } from "./model.ts";

/** Tensors for gradients; variants, all rows updated as by the tensor; variants, only named rows updated. */
export const FORMS = ["dense", "exact", "lazy"] as const;
export type Form = (typeof FORMS)[number];

const LEARNING_RATE = 3e-3;
const FIRST_VALUES = 0.05;

type F32 = Tensor<Shape, "f32">;

/** A step that runs on a device. */
export class StudyStep {
  readonly executable: Executable;
  /** Bytes of what stands for the gradients when the last one is known. */
  readonly gradientBytes: number;
  readonly parameterBytes: number;
  readonly #setting: Setting;
  readonly #tensors: readonly DeviceTensor[];
  readonly #learned: number;
  readonly #loss: DeviceTensor;
  readonly #norm: DeviceTensor;
  #random = randomNumbers(0);
  #step = 0;

  private constructor(device: Device, setting: Setting, executable: Executable, traced: TracedStep) {
    this.executable = executable;
    this.#setting = setting;
    this.gradientBytes = traced.gradientBytes;
    this.#tensors = executable.parameterTypes.map((type) => device.tensor(type));
    this.#learned = traced.learned;
    this.#loss = device.tensor(tensorType("f32", []));
    this.#norm = device.tensor(tensorType("f32", []));
    this.parameterBytes = this.#learnedTensors().reduce((sum, { type }) => sum + storageBytes(type), 0);
    executable.bind(this.#tensors, [...this.#tensors.slice(0, 3 * traced.learned), this.#loss, this.#norm]);
  }

  static async compile(device: Device, setting: Setting, form: Form): Promise<StudyStep> {
    const traced = traceStep(setting, form);
    const donations = Array.from({ length: 3 * traced.learned }, (_, i) => ({ parameter: i, result: i }));
    const executable = await device.compile(traced.graph, { name: `${setting.head}_${form}`, donations });
    return new StudyStep(device, setting, executable, traced);
  }

  /** First values of a seed, written to all that is learned and to all moments. */
  start(seed: number): void {
    const random = randomNumbers(seed);
    this.#tensors.slice(0, 3 * this.#learned).forEach((tensor, i) => {
      const values = tensor.f32();
      if (i >= this.#learned) values.fill(0);
      else for (let j = 0; j < values.length; j++) values[j] = FIRST_VALUES * (2 * random() - 1);
    });
    this.#random = randomNumbers(seed + 1000);
    this.#step = 0;
  }

  /** Draws a batch, takes a step and gives the loss. `milliseconds` is the time of the step alone. */
  async run(): Promise<{ loss: number; milliseconds: number }> {
    const [rate, step, tokens, targets, negatives, ...correction] = this.#tensors.slice(3 * this.#learned);
    rate.f32()[0] = LEARNING_RATE;
    step.f32()[0] = ++this.#step;
    fillBatch(this.#setting, this.#random, {
      tokens: tokens.i32(),
      targets: targets.i32(),
      negatives: negatives === undefined ? [] : [negatives.i32()],
      correction: correction.map((tensor) => tensor.f32()),
    });
    const start = performance.now();
    await this.executable.runAsync();
    return { milliseconds: performance.now() - start, loss: this.#loss.f32()[0] };
  }

  free(): void {
    this.executable.free();
    for (const tensor of [...this.#tensors, this.#loss, this.#norm]) tensor.free();
  }

  #learnedTensors(): readonly DeviceTensor[] {
    return this.#tensors.slice(0, this.#learned);
  }
}

interface TracedStep {
  readonly graph: ReturnType<typeof trace>["graph"];
  /** Number of parameters. */
  readonly learned: number;
  readonly gradientBytes: number;
}

function traceStep(setting: Setting, form: Form): TracedStep {
  const types: unknown = parameterTypes(setting);
  const learned = flattenTree(types, isTensorType).length;
  const optimizer = adamW({ weightDecay: 0.01, rows: form === "lazy" ? "lazy" : "exact" });
  const scalar = tensorType("f32", []);
  const loss = (parameters: unknown, batch: unknown): F32 =>
    lossOf(setting, parameters as Parameters<F32>, batch as Batch<never, never>);
  let gradientBytes = 0;
  const inputs: readonly unknown[] = [types, optimizer.init(types), scalar, scalar, batchTypes(setting)];
  const { graph } = trace(
    "step",
    (parameters, state, learningRate, step, batch) => {
      const { value, grads } = differentiated(form, loss, parameters, batch);
      gradientBytes = heldBytes(grads);
      const clipped = clipByGlobalNorm(grads, 1);
      const scalars = { learningRate: learningRate as Tensor, step: step as Tensor };
      const updated = optimizer.update(parameters, clipped.grads, state as OptimizerState<unknown>, scalars);
      return { parameters: updated.params, state: updated.state, value, norm: clipped.norm };
    },
    inputs,
  );
  return { graph, learned, gradientBytes };
}

function differentiated(form: Form, loss: (p: unknown, b: unknown) => F32, parameters: unknown, batch: unknown) {
  if (form === "dense") {
    const { value, grad } = valueAndGrad(loss)(parameters, batch);
    return { value, grads: grad };
  }
  const { value, gradients: grads } = gradients(loss)(parameters, batch);
  return { value, grads };
}

/** Bytes of all tensors that the gradients are made of, each counted once. */
function heldBytes(grads: unknown): number {
  const isLeaf = (value: unknown): value is object => isTensor(value) || isGradient(value);
  const parts = flattenTree(grads, isLeaf).flatMap(({ leaf }) => (isGradient(leaf) ? partsOf(leaf) : [leaf as Tensor]));
  const types: TensorType[] = [...new Set(parts)].map(({ type }) => type);
  return types.reduce((sum, type) => sum + storageBytes(type), 0);
}
