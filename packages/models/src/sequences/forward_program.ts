// A model's forward pass as a program that is bound to memory: tokens and positions go in, the state is updated where
// it lies, and logits come out if they are wanted.

import type { CacheDtype, Device, DeviceTensor, Executable, Tensor, TensorType, Tree } from "@fidelity/core";
import { flattenTree, isTensorType, trace } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { invariant } from "@fidelity/units";
import type { DeviceParameters } from "../device_parameters.ts";
import { orderedParameters } from "../device_parameters.ts";
import type { Model } from "../model.ts";
import { mapParameters } from "../parameters.ts";

/** What a program is compiled for. */
export interface ForwardShape {
  /** Sequences, and tokens of each. */
  readonly batch: number;
  readonly length: number;
  /** Whether it gives the logits after each token. */
  readonly withLogits: boolean;
  /**
   * For sequences of different lengths, with positions of their own: the pages that the caches of each have, 0 where
   * nothing is cached. Absent, all are at one position, and each cache is one run of memory.
   */
  readonly pagesPerSequence?: number;
}

/** State as a tree of types, and the tensors of its leaves. */
export interface BoundState {
  readonly types: Tree<TensorType>;
  readonly tensors: readonly DeviceTensor[];
}

/** The inputs and results of a program that are its own. */
export interface ForwardTensors {
  /** i32 [batch, length]. */
  readonly tokens: DeviceTensor;
  /** i32 [batch], or [] where all are at one position. */
  readonly position: DeviceTensor;
  /** i32 [batch, pages a sequence] and [batch, length], where there are pages. */
  readonly table: DeviceTensor | undefined;
  readonly rows: DeviceTensor | undefined;
  /** [batch, length, vocabulary]. */
  readonly logits: DeviceTensor | undefined;
}

/** A compiled program and its tensors. */
export interface ForwardProgram extends ForwardTensors {
  readonly shape: ForwardShape;
  readonly executable: Executable;
  free(): void;
}

/** Compiles the program of a shape, bound to parameters and state, which stay the caller's. */
export async function compileForward(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  state: BoundState,
  shape: ForwardShape,
): Promise<ForwardProgram> {
  const { batch, length, withLogits, pagesPerSequence } = shape;
  const integers = (...dims: number[]): TensorType => ({ dtype: "i32", shape: dims });
  const tokensType = integers(batch, length);
  const places = [pagesPerSequence === undefined ? integers() : integers(batch)];
  if (pagesPerSequence) places.push(integers(batch, pagesPerSequence), tokensType);
  const name = length === 1 ? "step" : `prefill ${length}`;
  const types = mapParameters(model.parameters, (_spec, path) => parameters.get(path)!.type);
  // The structure of a model's trees is not in the types, and needs not be: `trace` finds it in the values.
  const inputTypes: readonly unknown[] = [types, tokensType, state.types, ...places];
  const traced = trace(
    pagesPerSequence === undefined ? name : `${name} of ${batch}`,
    (weights, tokens, before, position, table, rows) => {
      const at = position as Tensor<Shape, "i32">;
      const pages = table && { table: table as Tensor<Shape, "i32">, rows: rows as Tensor<Shape, "i32"> };
      const past = { state: before as Tree<Tensor>, position: at, ...(pages && { pages }) };
      const result = model.forward(weights as Tree<Tensor>, tokens as Tensor<Shape, "i32">, past);
      return withLogits ? { logits: result.logits, state: result.state } : { state: result.state };
    },
    inputTypes as readonly [unknown, TensorType, unknown, TensorType, TensorType, TensorType],
  );
  // The state of the results lies in the memory of the state of the inputs: `2.blocks.0.hidden`, `state.blocks.0...`.
  const donations = traced.resultPaths.flatMap((path, result) => {
    if (!path.startsWith("state.")) return [];
    const parameter = traced.inputPaths.indexOf(`2.${path.slice("state.".length)}`);
    invariant(parameter >= 0, `the state of a ${model.architecture} model has no ${path}`);
    return [{ parameter, result }];
  });
  const executable = await device.compile(traced.graph, { donations });
  const owned: { free(): void }[] = [executable];
  const free = (): void => {
    for (const each of owned.splice(0).reverse()) each.free();
  };
  try {
    const allocate = (type: TensorType): DeviceTensor => {
      const tensor = device.tensor(type);
      owned.push(tensor);
      return tensor;
    };
    const tokens = allocate(tokensType);
    const [position, table, rows] = places.map(allocate);
    const logitsAt = traced.resultPaths.indexOf("logits");
    const logits = logitsAt < 0 ? undefined : allocate(traced.graph.results[logitsAt].type);
    const inputs = [...orderedParameters(model, parameters), tokens, ...state.tensors, position];
    if (table !== undefined) inputs.push(table, rows);
    const results = traced.resultPaths.map((path, result) => {
      const donation = donations.find((candidate) => candidate.result === result);
      const tensor = donation === undefined ? logits : inputs[donation.parameter];
      invariant(tensor !== undefined, `the result ${path} has no tensor`);
      return tensor;
    });
    executable.bind(inputs, results);
    return { shape, executable, tokens, position, table, rows, logits, free };
  } catch (error) {
    free();
    throw error;
  }
}

/** What a leaf of a model's state holds: rows of a cache, one a token, or a state that does not grow; [batch, ...]. */
export interface StateLeaf {
  readonly path: string;
  readonly isCache: boolean;
  /** Of one sequence at a capacity of one token. */
  readonly type: TensorType;
}

/** The leaves of a model's state, in order, with caches of a dtype. */
export function stateLeaves(model: Model, cacheDtype?: CacheDtype): readonly StateLeaf[] {
  const shapes = (batch: number, capacity: number): readonly (readonly number[])[] =>
    flattenTree(model.stateTypes({ batch, capacity }), isTensorType).map(({ leaf }) => leaf.shape);
  const [longer, wider] = [shapes(1, 2), shapes(2, 1)];
  return flattenTree(model.stateTypes({ batch: 1, capacity: 1, cacheDtype }), isTensorType).map(({ path, leaf }, i) => {
    const isCache = longer[i].some((size, axis) => size !== leaf.shape[axis]);
    const leads = wider[i].every((size, axis) => size === (axis === 0 ? 2 : 1) * leaf.shape[axis]);
    invariant(leads, `the state ${path} of a ${model.architecture} model has the batch in front`);
    invariant(
      !isCache || longer[i][1] === 2,
      `the cache ${path} of a ${model.architecture} model has [batch, capacity]`,
    );
    return { path, isCache, type: leaf };
  });
}
