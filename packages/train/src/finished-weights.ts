// The parameters of the model that a run is making, where they are not what it trains: some optimisers evaluate an
// average of the parameters, and some estimators train masters that are not yet what `ternarize` takes. What is made
// of them is computed to tensors beside the trained ones, and from there on is a model like others: validated, saved
// and packed without knowing how it was trained.

import { flattenTree, isTensor, trace } from "@fidelity/core";
import type { Device, DeviceTensor, Executable, Tensor, TensorType, Tree } from "@fidelity/core";
import type { OptimizerState } from "@fidelity/furnace";
import { createParameters, freeParameters, namedParameters, parameterTypes } from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import { copyCheckpoint, savedSettings } from "./checkpoint.ts";
import type { RunTensors } from "./checkpoint.ts";
import { optimizerOf } from "./optimizer.ts";
import type { TrainSettings } from "./settings.ts";
import { estimationOf, masterOf } from "./weight-estimation.ts";
import type { Estimation } from "./weight-estimation.ts";

/** How a run comes from what it trains to its model. */
interface Finish {
  readonly estimation: Estimation;
  readonly settings: TrainSettings;
}

/** The finished parameters of a model whose masters are trained. */
export class FinishedWeights {
  /** Of the model alone; those that training does not change on the way are the trained tensors themselves. */
  readonly parameters: DeviceParameters;
  readonly #trained: DeviceParameters;
  readonly #executable: Executable | undefined;

  private constructor(parameters: DeviceParameters, trained: DeviceParameters, executable: Executable | undefined) {
    this.parameters = parameters;
    this.#trained = trained;
    this.#executable = executable;
  }

  /** Compiles what takes `trained`, all leaves of the estimation and their moments, to the parameters of `model`. */
  static async compile(device: Device, model: Model, finish: Finish, trained: RunTensors): Promise<FinishedWeights> {
    const paths = namedParameters(model.parameters).map(({ path }) => path);
    const parameters = new Map(paths.map((path) => [path, trained.parameters.get(path)!]));
    if (!needsFinish(finish)) return new FinishedWeights(parameters, trained.parameters, undefined);
    const { graph, made, momentNames } = traceFinish(finish, paths);
    const executable = await device.compile(graph, { name: "finish_weights" });
    const results = graph.results.map(({ type }): DeviceTensor => device.tensor(type));
    const moments = momentNames.flatMap((name) => [...trained.moments.get(name)!.values()]);
    executable.bind([...trained.parameters.values(), ...moments], results);
    made.forEach((path, i) => parameters.set(path, results[i]));
    return new FinishedWeights(parameters, trained.parameters, executable);
  }

  /** Brings `parameters` up to date with the masters. */
  async update(): Promise<void> {
    await this.#executable?.runAsync();
  }

  /** Frees the program and all that was trained and is no parameter of the finished model, which stays. */
  release(): void {
    this.#executable?.free();
    const kept = new Set(this.parameters.values());
    for (const tensor of this.#trained.values()) if (!kept.has(tensor)) tensor.free();
  }

  /** Frees the program and the finished parameters, but none that is trained. */
  discard(): void {
    this.#executable?.free();
    const trained = new Set(this.#trained.values());
    freeParameters(new Map([...this.parameters].filter(([, tensor]) => !trained.has(tensor))));
  }
}

function needsFinish({ estimation: { estimator, matrices, model }, settings }: Finish): boolean {
  const isMade = estimator.finish !== undefined && matrices.length > 0;
  return isMade || optimizerOf(settings, model).averaged !== undefined;
}

/** The program of what is made, with the paths of its results and the names of the moments that it reads. */
function traceFinish({ estimation, settings }: Finish, paths: readonly string[]) {
  const { estimator, matrices, model } = estimation;
  const optimizer = optimizerOf(settings, model);
  const types: unknown = parameterTypes(model.parameters, { packed: false });
  const moments: OptimizerState<unknown> = optimizer.averaged === undefined ? {} : optimizer.init(types);
  const finishes = new Map(estimator.finish === undefined ? [] : matrices.map(({ path }, i) => [path, i]));
  const made = optimizer.averaged === undefined ? [...finishes.keys()] : paths;
  const inputs: readonly [unknown, OptimizerState<unknown>] = [types, moments];
  const { graph } = trace(
    "finish_weights",
    (tree, state) => {
      const named = flattenTree(optimizer.averaged?.(tree, state) ?? tree, isTensor);
      const leaves = named.map(({ leaf }): Tensor => leaf);
      const byPath = new Map(named.map(({ path, leaf }): [string, Tensor] => [path, leaf]));
      return made.map((path) => {
        const index = finishes.get(path);
        return index === undefined ? byPath.get(path)! : estimator.finish!(masterOf(estimation, leaves, index));
      });
    },
    inputs,
  );
  return { graph, made, momentNames: Object.keys(moments) };
}

/**
 * The parameters of the model that a checkpoint's run is making, on a device; the caller's to free. `settings` are
 * those of the checkpoint. Throws `ContainerError` when the file is damaged.
 */
export async function readFinished(
  path: string,
  device: Device,
  model: Model,
  settings: TrainSettings,
): Promise<DeviceParameters> {
  const estimation = estimationOf(model, settings.estimator);
  const optimizer = optimizerOf(settings, estimation.model);
  const types = parameterTypes(estimation.model.parameters, { packed: false }) as Tree<TensorType>;
  const zeros = (of: Tree<TensorType>): DeviceParameters => createParameters(device, of, () => undefined);
  const parameters = zeros(types);
  const states = optimizer.averaged === undefined ? {} : optimizer.init(types);
  const moments = new Map(Object.entries(states).map(([name, state]) => [name, zeros(state)]));
  let finished: FinishedWeights | undefined;
  try {
    copyCheckpoint(path, { parameters, moments });
    finished = await FinishedWeights.compile(device, model, { estimation, settings }, { parameters, moments });
    await finished.update();
    finished.release();
    return finished.parameters;
  } catch (error) {
    finished?.discard();
    freeParameters(parameters);
    throw error;
  } finally {
    for (const moment of moments.values()) freeParameters(moment);
  }
}

/**
 * The same for a checkpoint of `model` that nothing else is known of; undefined where its own tensors are those of the
 * model. Throws what `readFinished` throws, and `TrainSettingError` for settings that cannot be.
 */
export async function finishCheckpoint(
  path: string,
  device: Device,
  model: Model,
): Promise<DeviceParameters | undefined> {
  const settings = savedSettings(path);
  const estimation = estimationOf(model, settings.estimator);
  return needsFinish({ estimation, settings }) ? await readFinished(path, device, model, settings) : undefined;
}
