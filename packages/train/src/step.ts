// The programs of training. One step is one compiled program: forward, backward, clipping and AdamW, with parameters
// and moments donated, so that they are updated where they lie. Evaluation is a program of its own, and the same one
// for float32 and for packed parameters.

import {
  decodeTensor,
  findNonFinite,
  flattenTree,
  formatNonFinite,
  isTensor,
  isTernary,
  mapTree,
} from "@fidelity/core";
import { tensorType, trace } from "@fidelity/core";
import type {
  Device,
  DeviceTensor,
  Executable,
  Graph,
  Tensor,
  TensorType,
  Tree,
  TypedTensorType,
} from "@fidelity/core";
import { accumulateGrad, clipByGlobalNorm, gradients, valueAndGrad } from "@fidelity/furnace";
import type { OptimizerState } from "@fidelity/furnace";
import { isParameterSpec, languageModelLoss, namedParameters, parameterTypes } from "@fidelity/models";
import type { DeviceParameters, LossOptions, Model } from "@fidelity/models";
import type { Shape } from "@fidelity/units";
import { invariant } from "@fidelity/units";
import { countFlips } from "./flips.ts";
import { roundProducts } from "./mixed-precision.ts";
import { optimizerOf } from "./optimizer.ts";
import { recomputeLayers } from "./recompute.ts";
import type { Precision, TrainSettings } from "./settings.ts";
import { estimateWeights, estimationOf, fillNoise } from "./weight-estimation.ts";
import type { Estimation, EstimationInputs } from "./weight-estimation.ts";

type TokenTensor = Tensor<Shape, "i32">;
type Scalar = Tensor<readonly [], "f32">;

/** A training step that runs on a device, with the memory that it updates. */
export class TrainStep {
  /** Those of the model, and after them what its estimator learns. */
  readonly parameters: DeviceParameters;
  readonly estimation: Estimation;
  /** The optimiser's moments by name (`first`, `second`), each by the path of its parameter. */
  readonly moments: ReadonlyMap<string, DeviceParameters>;
  /** Inputs of the next run, i32 [batch, time]. */
  readonly tokens: DeviceTensor;
  readonly targets: DeviceTensor;
  readonly executable: Executable;
  readonly #step: DeviceTensor;
  readonly #learningRate: DeviceTensor;
  readonly #loss: DeviceTensor;
  readonly #gradientNorm: DeviceTensor;
  readonly #flips: DeviceTensor | undefined;
  readonly #progress: DeviceTensor;
  readonly #noise: DeviceTensor | undefined;
  readonly #settings: TrainSettings;
  /** Everything that the program reads, in its order. */
  readonly #inputs: readonly DeviceTensor[];
  readonly #watched: { readonly graph: Graph; start: readonly Uint8Array[] | undefined } | undefined;

  private constructor(device: Device, executable: Executable, parts: StepParts) {
    const { estimation, momentNames, settings, watched } = parts;
    const types = executable.parameterTypes;
    const paths = namedParameters(estimation.model.parameters).map(({ path }) => path);
    const tensors = types.map((type) => device.tensor(type));
    const group = (at: number): DeviceParameters =>
      new Map(paths.map((path, i) => [path, tensors[at * paths.length + i]]));
    this.executable = executable;
    this.estimation = estimation;
    this.#settings = settings;
    this.#inputs = tensors;
    this.#watched = watched === undefined ? undefined : { graph: watched, start: undefined };
    this.parameters = group(0);
    this.moments = new Map(momentNames.map((name, i) => [name, group(i + 1)]));
    const updatedCount = (1 + momentNames.length) * paths.length;
    const others = tensors.slice(updatedCount);
    const expected = estimation.noiseLength > 0 ? 6 : 5;
    invariant(others.length === expected, `a step has ${expected} inputs besides what it updates`);
    [this.#step, this.#learningRate, this.tokens, this.targets, this.#progress, this.#noise] = others;
    this.#loss = device.tensor(tensorType("f32", []));
    this.#gradientNorm = device.tensor(tensorType("f32", []));
    const { matrices } = estimation;
    this.#flips = matrices.length === 0 ? undefined : device.tensor(tensorType("f32", [matrices.length]));
    const measured = [this.#loss, this.#gradientNorm, ...(this.#flips === undefined ? [] : [this.#flips])];
    executable.bind(tensors, [...tensors.slice(0, updatedCount), ...measured]);
  }

  /** Compiles the step of a model. Parameters and moments are zeros. Throws what tracing and compiling throw. */
  static async compile(
    device: Device,
    model: Model,
    settings: TrainSettings,
    options: StepOptions = {},
  ): Promise<TrainStep> {
    const estimation = estimationOf(model, settings.estimator);
    const { graph, momentNames } = traceStep(estimation, settings, options);
    const updatedCount = (1 + momentNames.length) * namedParameters(estimation.model.parameters).length;
    const donations = Array.from({ length: updatedCount }, (_, i) => ({ parameter: i, result: i }));
    const executable = await device.compile(graph, { name: "train_step", donations });
    const watched = options.watch === true ? graph : undefined;
    return new TrainStep(device, executable, { estimation, momentNames, settings, watched });
  }

  /** Runs step number `step`, counted from 1, on the tokens and targets as they are. */
  async run(step: number, learningRate: number): Promise<void> {
    this.#step.f32()[0] = step;
    this.#learningRate.f32()[0] = learningRate;
    const { steps, seed } = this.#settings;
    this.#progress.f32()[0] = Math.fround(step - 1) * Math.fround(1 / steps);
    if (this.#noise !== undefined) fillNoise(seed, step, this.#noise.f32());
    if (this.#watched !== undefined) this.#watched.start = this.#inputs.map((tensor) => tensor.bytes().slice());
    await this.executable.runAsync();
  }

  /**
   * What made the NaN or Inf of the last run, for a person; undefined where the step was not compiled with `watch`.
   * Interprets the step, which takes long.
   */
  originOfNonFinite(): string | undefined {
    const { graph, start } = this.#watched ?? {};
    if (graph === undefined || start === undefined) return undefined;
    const inputs = this.#inputs.map(({ type }, i) => decodeTensor(type, start[i]));
    const origin = findNonFinite(graph, inputs);
    if (origin !== undefined) return formatNonFinite(origin);
    return "op by op in the interpreter the step stays finite: it overflows by the compiled program's rounding only";
  }

  /** Loss of the last run, in nats a token. */
  get loss(): number {
    return this.#loss.f32()[0];
  }

  /** Norm of the gradients of the last run, before clipping. */
  get gradientNorm(): number {
    return this.#gradientNorm.f32()[0];
  }

  /** How many codes of each ternary matrix the last run changed, in the order of `estimation.matrices`. */
  get flips(): ArrayLike<number> {
    return this.#flips?.f32().subarray(0, this.estimation.matrices.length) ?? [];
  }

  /** Frees everything but the parameters. */
  free(): void {
    this.executable.free();
    for (const moment of this.moments.values()) for (const tensor of moment.values()) tensor.free();
    const inputs = [this.tokens, this.targets, this.#step, this.#learningRate, this.#progress, this.#noise];
    for (const tensor of [...inputs, this.#loss, this.#gradientNorm, this.#flips]) tensor?.free();
  }
}

/** What changes how a step is computed, and what it computes only by rounding. */
export interface StepOptions extends LossOptions {
  /** Keep one activation a layer and compute the others again: less memory, about 15 % more work. False by default. */
  readonly recompute?: boolean;
  /** Remember what each step starts from, so that `originOfNonFinite` can tell: a second copy of what is updated. */
  readonly watch?: boolean;
}

interface StepParts {
  readonly estimation: Estimation;
  readonly momentNames: readonly string[];
  readonly settings: TrainSettings;
  readonly watched: Graph | undefined;
}

// The structure of a model's trees is not in the types, and needs not be: tracing finds it in the values.
type StepTypes = readonly [
  parameters: unknown,
  moments: OptimizerState<unknown>,
  step: TypedTensorType<readonly [], "f32">,
  learningRate: TypedTensorType<readonly [], "f32">,
  tokens: TypedTensorType<Shape, "i32">,
  targets: TypedTensorType<Shape, "i32">,
  progress: TypedTensorType<readonly [], "f32">,
  noise: readonly TypedTensorType<Shape, "f32">[],
];

function traceStep(estimation: Estimation, settings: TrainSettings, { recompute = false, hasGaps }: StepOptions) {
  const { model, noiseLength } = estimation;
  const { batchSize, contextLength, precision, clipNorm } = settings;
  const optimizer = optimizerOf(settings, model);
  const types: unknown = parameterTypes(model.parameters, { packed: false });
  const moments = optimizer.init(types);
  const scalar = tensorType("f32", []);
  const batch = tensorType("i32", [batchSize, contextLength]);
  const differentiated = withGradients(trainedLossOf(estimation, { precision, recompute, hasGaps }), settings);
  const noiseTypes = noiseLength > 0 ? [tensorType("f32", [noiseLength])] : [];
  const inputs: StepTypes = [types, moments, scalar, scalar, batch, batch, scalar, noiseTypes];
  const { graph } = trace(
    "train_step",
    (parameters, state, step, learningRate, tokens, targets, progress, [noise]) => {
      const given = { progress, noise };
      const { value, all } = differentiated(parameters, tokens as TokenTensor, targets as TokenTensor, given);
      const { grads, norm } = clipByGlobalNorm(all, clipNorm);
      const scalars = { learningRate: learningRate as Tensor, step: step as Tensor };
      const updated = optimizer.update(parameters, grads, state, scalars);
      const flips = countFlips(estimation, leavesOf(parameters), leavesOf(updated.params));
      const measured = { loss: value, gradientNorm: norm, ...(flips !== undefined && { flips }) };
      return { parameters: updated.params, moments: updated.state, ...measured };
    },
    inputs,
  );
  return { graph, momentNames: Object.keys(moments) };
}

/** A loss with its gradients, in the form that the settings ask for. */
function withGradients(trained: ReturnType<typeof trainedLossOf>, settings: TrainSettings) {
  return (parameters: unknown, tokens: TokenTensor, targets: TokenTensor, given: StepEstimation) => {
    const loss = (at: unknown, ...batch: [TokenTensor, TokenTensor]): Scalar => trained(at, ...batch, given);
    if (settings.accumulate > 1 || settings.gradients === "dense") {
      const of = settings.accumulate > 1 ? accumulateGrad(loss, settings.accumulate) : valueAndGrad(loss);
      const { value, grad } = of(parameters, tokens, targets);
      return { value, all: grad as unknown };
    }
    const { value, gradients: all } = gradients(loss)(parameters, tokens, targets);
    return { value, all: all as unknown };
  };
}

type StepEstimation = Pick<EstimationInputs, "progress" | "noise">;

/** The loss of a model as it is trained: with estimated weights. */
function trainedLossOf(
  estimation: Estimation,
  { precision, recompute, hasGaps }: LossOptions & { readonly precision: Precision; readonly recompute: boolean },
) {
  const loss = languageModelLoss(estimation.model, { hasGaps });
  return (parameters: unknown, tokens: TokenTensor, targets: TokenTensor, given: StepEstimation): Scalar => {
    const value = loss(parameters as Tree<Tensor>, tokens, targets);
    const estimated = estimateWeights(value, estimation, { leaves: leavesOf(parameters), ...given });
    const rounded = precision === "bf16" ? roundProducts(estimated) : estimated;
    return recompute ? recomputeLayers(rounded) : rounded;
  };
}

function leavesOf(tree: unknown): Tensor[] {
  return flattenTree(tree, isTensor).map(({ leaf }) => leaf);
}

function lossOf(model: Model, precision: Precision, options: LossOptions) {
  const loss = languageModelLoss(model, options);
  return (parameters: unknown, tokens: TokenTensor, targets: TokenTensor): Scalar => {
    const value = loss(parameters as Tree<Tensor>, tokens, targets);
    return precision === "bf16" ? roundProducts(value) : value;
  };
}

/** How a model is evaluated. */
export interface EvaluateOptions extends LossOptions {
  readonly batchSize: number;
  readonly contextLength: number;
  /** "f32" by default. */
  readonly precision?: Precision;
}

/** The loss of a model over batches, on parameters that stay as they are: float32, or packed. */
export class Evaluation {
  /** Inputs of the next run, i32 [batch, time]. */
  readonly tokens: DeviceTensor;
  readonly targets: DeviceTensor;
  readonly #executable: Executable;
  readonly #loss: DeviceTensor;

  private constructor(device: Device, executable: Executable, parameters: readonly DeviceTensor[], batch: TensorType) {
    this.tokens = device.tensor(batch);
    this.targets = device.tensor(batch);
    this.#loss = device.tensor(tensorType("f32", []));
    this.#executable = executable;
    executable.bind([...parameters, this.tokens, this.targets], [this.#loss]);
  }

  /** Compiles for the types of the given tensors: packed ones are computed with as they are. */
  static async compile(
    device: Device,
    model: Model,
    parameters: DeviceParameters,
    { batchSize, contextLength, precision = "f32", hasGaps }: EvaluateOptions,
  ): Promise<Evaluation> {
    const batch = tensorType("i32", [batchSize, contextLength]);
    const tree: unknown = model.parameters;
    const types: unknown = mapTree(tree, isParameterSpec, (_spec, path) => parameters.get(path)!.type);
    const packed = [...parameters.values()].some(({ type }) => isTernary(type.dtype));
    const name = packed ? "evaluate_packed" : "evaluate";
    const inputs: readonly [unknown, TensorType, TensorType] = [types, batch, batch];
    const loss = lossOf(model, precision, { hasGaps });
    const { graph } = trace(
      name,
      (leaves, tokens, targets) => loss(leaves, tokens as TokenTensor, targets as TokenTensor),
      inputs,
    );
    const ordered = namedParameters(model.parameters).map(({ path }) => parameters.get(path)!);
    return new Evaluation(device, await device.compile(graph, { name }), ordered, batch);
  }

  /** The mean loss over `count` batches, which `fill` writes to the tensors of tokens and targets, in nats a token. */
  async mean(count: number, fill: (index: number, tokens: Int32Array, targets: Int32Array) => void): Promise<number> {
    let sum = 0;
    for (let index = 0; index < count; index++) {
      fill(index, this.tokens.i32(), this.targets.i32());
      await this.#executable.runAsync();
      sum += this.#loss.f32()[0];
    }
    return sum / count;
  }

  free(): void {
    this.#executable.free();
    for (const tensor of [this.tokens, this.targets, this.#loss]) tensor.free();
  }
}
