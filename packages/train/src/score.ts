// What a model makes of given tokens, one by one: the log-probability of each target, and whether the model would have
// chosen it itself. Multiple choice and recall are counted from these.

import { crossEntropy, iota, isTernary, le, mapTree, neg, reduceMax, reduceSum, reshape, select } from "@fidelity/core";
import { eq, max, tensorType, trace } from "@fidelity/core";
import type { Device, DeviceTensor, Executable, Tensor, TensorType, Tree } from "@fidelity/core";
import { isParameterSpec, namedParameters, requireCausal } from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import type { Shape } from "@fidelity/units";

export interface ScoreSizes {
  readonly batchSize: number;
  readonly contextLength: number;
}

/** Scores of a batch, row-major [batch, time]. Where a target is `NO_TARGET`, they mean nothing. */
export interface Scores {
  /** Natural logarithms, at most 0. */
  readonly logProbabilities: Float32Array;
  /** 1 where no token is more probable than the target, else 0. */
  readonly isBest: Float32Array;
}

/** A compiled program that scores batches of one shape, on parameters that stay as they are: float32, or packed. */
export class Scoring {
  /** Inputs of the next run, i32 [batch, time]. */
  readonly tokens: DeviceTensor;
  readonly targets: DeviceTensor;
  readonly #executable: Executable;
  readonly #results: readonly [logProbabilities: DeviceTensor, isBest: DeviceTensor];

  private constructor(device: Device, executable: Executable, parameters: readonly DeviceTensor[], batch: TensorType) {
    this.tokens = device.tensor(batch);
    this.targets = device.tensor(batch);
    const result = tensorType("f32", batch.shape);
    this.#results = [device.tensor(result), device.tensor(result)];
    this.#executable = executable;
    executable.bind([...parameters, this.tokens, this.targets], [...this.#results]);
  }

  /** Compiles for the types of the given tensors. Throws `ModelKindError` for an encoder, and what compiling throws. */
  static async compile(
    device: Device,
    model: Model,
    parameters: DeviceParameters,
    { batchSize, contextLength }: ScoreSizes,
  ): Promise<Scoring> {
    requireCausal(model, "scoring tokens");
    const batch = tensorType("i32", [batchSize, contextLength]);
    const tree: unknown = model.parameters;
    const types: unknown = mapTree(tree, isParameterSpec, (_spec, path) => parameters.get(path)!.type);
    const name = [...parameters.values()].some(({ type }) => isTernary(type.dtype)) ? "score_packed" : "score";
    const inputs: readonly [unknown, TensorType, TensorType] = [types, batch, batch];
    const { graph } = trace(
      name,
      (leaves, tokens, targets) => score(model, leaves, tokens as Integers, targets as Integers),
      inputs,
    );
    const ordered = namedParameters(model.parameters).map(({ path }) => parameters.get(path)!);
    return new Scoring(device, await device.compile(graph, { name }), ordered, batch);
  }

  /** Scores the tokens and targets as they are. The arrays are valid until the next run. */
  async run(): Promise<Scores> {
    await this.#executable.runAsync();
    const [logProbabilities, isBest] = this.#results;
    return { logProbabilities: logProbabilities.f32(), isBest: isBest.f32() };
  }

  free(): void {
    this.#executable.free();
    for (const tensor of [this.tokens, this.targets, ...this.#results]) tensor.free();
  }
}

type Floats = Tensor<Shape, "f32">;
type Integers = Tensor<Shape, "i32">;

function score(model: Model, leaves: unknown, tokens: Integers, targets: Integers): [Floats, Floats] {
  const { logits } = model.forward(leaves as Tree<Tensor>, tokens);
  const asked = max(targets, 0) as Integers;
  const isTarget = eq(iota(logits.shape, "i32"), reshape(asked, [...asked.shape, 1]));
  const ofTarget: Floats = reduceSum(select(isTarget, logits, 0), -1);
  const isBest: Floats = select(le(reduceMax(logits, -1), ofTarget), 1, 0);
  return [neg(crossEntropy(logits, asked)) as Floats, isBest];
}
