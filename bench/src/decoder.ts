// One-token decoding at a position of choice: the program that a session of `models` runs, with its state and position
// set by hand instead of by reading all the tokens before. Of a recurrent model, that is.

import type { Device, DeviceTensor, Executable, Tensor, TensorType, Tree } from "@fidelity/core";
import { flattenTree, isTensorType, mapTree, storageBytes, trace } from "@fidelity/core";
import { isParameterSpec, namedParameters } from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import type { Shape } from "@fidelity/units";

export class Decoder {
  readonly #executable: Executable;
  readonly #tokens: Int32Array;
  readonly #tokensTensor: DeviceTensor;
  readonly #state: readonly DeviceTensor[];
  readonly #position: DeviceTensor;
  readonly #vocabSize: number;
  #token = 0;

  private constructor(model: Model, executable: Executable, inputs: readonly DeviceTensor[], stateCount: number) {
    const [tokens, ...rest] = inputs;
    this.#executable = executable;
    this.#tokensTensor = tokens;
    this.#tokens = tokens.i32();
    this.#state = rest.slice(0, stateCount);
    this.#position = rest[stateCount];
    this.#vocabSize = model.vocabSize;
  }

  /** Compiles the program for parameters as they are, float32 or packed. */
  static async open(device: Device, model: Model, parameters: DeviceParameters): Promise<Decoder> {
    const tokens: TensorType = { dtype: "i32", shape: [1, 1] };
    const position: TensorType = { dtype: "i32", shape: [] };
    const stateTypes = model.stateTypes({ batch: 1, capacity: 1 });
    const tree: unknown = model.parameters;
    const types: unknown = mapTree(tree, isParameterSpec, (_spec, path) => parameters.get(path)!.type);
    const inputTypes: readonly [unknown, TensorType, unknown, TensorType] = [types, tokens, stateTypes, position];
    const { graph, inputPaths, resultPaths } = trace(
      "decode",
      (weights, token, state, at) => {
        const past = { state: state as Tree<Tensor>, position: at as Tensor<readonly [], "i32"> };
        return model.forward(weights as Tree<Tensor>, token as Tensor<Shape, "i32">, past);
      },
      inputTypes,
    );
    const donations = resultPaths.flatMap((path, result) => {
      const parameter = path.startsWith("state.") ? inputPaths.indexOf(`2.${path.slice("state.".length)}`) : -1;
      return parameter < 0 ? [] : [{ parameter, result }];
    });
    const executable = await device.compile(graph, { donations });
    const state = flattenTree(stateTypes, isTensorType);
    const inputs = [tokens, ...state.map(({ leaf }) => leaf), position].map((type) => device.tensor(type));
    const weights = namedParameters(model.parameters).map(({ path }) => parameters.get(path)!);
    const bound = [...weights, ...inputs];
    const results = graph.results.map(({ type }, result) => {
      const donation = donations.find((candidate) => candidate.result === result);
      return donation === undefined ? device.tensor(type) : bound[donation.parameter];
    });
    executable.bind(bound, results);
    return new Decoder(model, executable, inputs, state.length);
  }

  /** Bytes of the state. */
  get stateBytes(): number {
    return this.#state.reduce((sum, { type }) => sum + storageBytes(type), 0);
  }

  /** Goes to a position, with a state that is nowhere zero. */
  moveTo(position: number): void {
    this.#position.i32()[0] = position;
    for (const tensor of this.#state) {
      const values = tensor.f32();
      for (let i = 0; i < values.length; i++) values[i] = Math.sin(position + i);
    }
  }

  /** Reads a token, another one each time, and computes the logits of the next. */
  step(): void {
    const tokens = this.#tokens.length > 0 ? this.#tokens : this.#tokensTensor.i32();
    this.#token = (this.#token + 1) % this.#vocabSize;
    tokens[0] = this.#token;
    this.#executable.run();
    this.#position.i32()[0]++;
  }
}

/** Bytes of parameters that a token reads: all of them, and of an embedding that is only looked up, one row. */
export function bytesReadPerToken(model: Model, parameters: DeviceParameters): number {
  return namedParameters(model.parameters).reduce((sum, { path, leaf }) => {
    const bytes = storageBytes(parameters.get(path)!.type);
    const isLookedUp = leaf.role === "embedding" && model.config.tiedEmbeddings !== true;
    return sum + (isLookedUp ? bytes / leaf.shape[0] : bytes);
  }, 0);
}
