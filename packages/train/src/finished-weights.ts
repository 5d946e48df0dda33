// The parameters of the model that a run is making. Some estimators train masters that are not yet what `ternarize`
// takes; what they make of them is computed to tensors beside the masters, and from there on is a model like others:
// validated, saved and packed without knowing how it was trained.

import { flattenTree, isTensor, trace } from "@fidelity/core";
import type { Device, DeviceTensor, Executable, Tensor } from "@fidelity/core";
import { freeParameters, namedParameters, parameterTypes } from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import { masterOf } from "./weight-estimation.ts";
import type { Estimation } from "./weight-estimation.ts";

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

  /** Compiles what takes `trained`, all leaves that `estimation` has, to the parameters of `model`. */
  static async compile(
    device: Device,
    model: Model,
    estimation: Estimation,
    trained: DeviceParameters,
  ): Promise<FinishedWeights> {
    const { matrices, estimator } = estimation;
    const parameters = new Map(namedParameters(model.parameters).map(({ path }) => [path, trained.get(path)!]));
    if (estimator.finish === undefined) return new FinishedWeights(parameters, trained, undefined);
    const finish = estimator.finish.bind(estimator);
    const types: readonly [unknown] = [parameterTypes(estimation.model.parameters, { packed: false })];
    const { graph } = trace(
      "finish_weights",
      (tree) => {
        const leaves = flattenTree(tree, isTensor).map(({ leaf }): Tensor => leaf);
        return matrices.map((_matrix, i) => finish(masterOf(estimation, leaves, i)));
      },
      types,
    );
    const executable = await device.compile(graph, { name: "finish_weights" });
    const made = graph.results.map(({ type }): DeviceTensor => device.tensor(type));
    executable.bind([...trained.values()], made);
    matrices.forEach(({ path }, i) => parameters.set(path, made[i]));
    return new FinishedWeights(parameters, trained, executable);
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
