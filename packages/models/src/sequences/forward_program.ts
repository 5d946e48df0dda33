// A model's forward pass as a program that is bound to memory: tokens and positions go in, the state is updated where
// it lies, and logits come out if they are wanted. Tracing it takes as long as everything else of finding a program
// that was compiled before, so the configuration of a model is a recipe for it (core/src/device.ts).

import type { CacheDtype, Device, DeviceTensor, Executable, RecalledProgram, Recipe } from "@fidelity/core";
import type { Tensor, TensorType, Tree } from "@fidelity/core";
import { chooseOutputs, chosenEntries, flattenTree, formatType, isTensorType, mapTree, trace } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { invariant } from "@fidelity/units";
import type { DeviceParameters } from "../device_parameters.ts";
import { orderedParameters } from "../device_parameters.ts";
import { logitPeaks } from "../blocks/head.ts";
import { recipeOf } from "../model.ts";
import type { Model } from "../model.ts";
import { mapParameters } from "../parameters.ts";

/** What a program is compiled for. */
export interface ForwardShape {
  /** Sequences, and tokens of each. */
  readonly batch: number;
  readonly length: number;
  /** Whether it gives the logits after each token; of one token it may be asked for some of them only. */
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

/** Where tokens stand, and which logits are wanted of them. */
interface Settings<T> {
  /** i32 [batch], or [] where all are at one position. */
  readonly position: T;
  /** i32 [batch, pages a sequence] and [batch, length], where there are pages. */
  readonly table?: T;
  readonly rows?: T;
  /** The list of `chooseOutputs`, where one sequence reads one token: all of them at first. */
  readonly chosen?: T;
}

/** The inputs and results of a program that are its own. */
export interface ForwardTensors extends Settings<DeviceTensor> {
  /** i32 [batch, length]. */
  readonly tokens: DeviceTensor;
  /** [batch, length, vocabulary]. */
  readonly logits: DeviceTensor | undefined;
  /** `logitPeaks`, where logits are chosen. */
  readonly peaks: DeviceTensor | undefined;
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
  const weights = orderedParameters(model, parameters);
  const { tokens: tokensType, settings } = integersOf(model, shape);
  const stateTypes = state.tensors.map(({ type }) => type);
  const settingTypes = Object.values(settings) as TensorType[];
  const types = [...weights.map(({ type }) => type), tokensType, ...stateTypes, ...settingTypes];
  const recipe = forwardRecipe(model, weights, stateTypes, shape);
  const recalled = recipe && (await device.recall?.(recipe, types));
  const { executable, donations } = recalled ?? (await traceForward(model, parameters, device, state, shape, recipe));
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
    const own = mapTree(settings, isTensorType, allocate) as unknown as Settings<DeviceTensor>;
    if (own.chosen !== undefined) chooseOutputs(own.chosen.i32());
    const inputs = [...weights, tokens, ...state.tensors, ...(Object.values(own) as DeviceTensor[])];
    const given = new Map(donations.map(({ parameter, result }) => [result, inputs[parameter]]));
    const results = executable.resultTypes.map((type, result) => given.get(result) ?? allocate(type));
    const [logits, peaks] = results.filter((_tensor, result) => !given.has(result));
    executable.bind(inputs, results);
    return { shape, executable, tokens, ...own, logits, peaks, free };
  } catch (error) {
    free();
    throw error;
  }
}

/** The types of tokens and settings. */
function integersOf(model: Model, { batch, length, withLogits, pagesPerSequence }: ForwardShape) {
  const integers = (...dims: number[]): TensorType => ({ dtype: "i32", shape: dims });
  const tokens = integers(batch, length);
  const alone = pagesPerSequence === undefined;
  const settings: Settings<TensorType> = {
    position: alone ? integers() : integers(batch),
    ...(pagesPerSequence && { table: integers(batch, pagesPerSequence), rows: tokens }),
    ...(alone && withLogits && batch * length === 1 && { chosen: integers(chosenEntries(model.vocabSize)) }),
  };
  return { tokens, settings };
}

/** All that a program depends on; shapes of parameters follow from the configuration. */
function forwardRecipe(
  model: Model,
  weights: readonly DeviceTensor[],
  stateTypes: readonly TensorType[],
  shape: ForwardShape,
): Recipe | undefined {
  const recipe = recipeOf(model);
  if (recipe === undefined) return undefined;
  const { batch, length, withLogits, pagesPerSequence = "one run" } = shape;
  const dtypes = weights.map(({ type }) => type.dtype).join();
  const states = stateTypes.map(formatType).join();
  return { ...recipe, key: [...recipe.key, [batch, length, withLogits, pagesPerSequence].join(), dtypes, states] };
}

/** Traces and compiles it; each tensor of the state's results lies where that of the inputs does. */
async function traceForward(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  state: BoundState,
  shape: ForwardShape,
  recipe: Recipe | undefined,
): Promise<RecalledProgram> {
  const { batch, length, withLogits, pagesPerSequence } = shape;
  const { tokens: tokensType, settings } = integersOf(model, shape);
  const name = length === 1 ? "step" : `prefill ${length}`;
  const types = mapParameters(model.parameters, (_spec, path) => parameters.get(path)!.type);
  // The structure of a model's trees is not in the types, and needs not be: `trace` finds it in the values.
  const inputTypes: readonly unknown[] = [types, tokensType, state.types, settings];
  const traced = trace(
    pagesPerSequence === undefined ? name : `${name} of ${batch}`,
    (weights, tokens, before, given) => {
      const { position, table, rows, chosen } = given as Settings<Tensor<Shape, "i32">>;
      const pages = table && rows && { table, rows };
      const past = { state: before as Tree<Tensor>, position, ...(pages && { pages }) };
      const result = model.forward(weights as Tree<Tensor>, tokens as Tensor<Shape, "i32">, past, chosen);
      const { logits, state: after } = result;
      if (!withLogits) return { state: after };
      return { logits, ...(chosen && { peaks: logitPeaks(logits) }), state: after };
    },
    inputTypes as readonly [unknown, TensorType, unknown, unknown],
  );
  // The state of the results lies in the memory of the state of the inputs: `2.blocks.0.hidden`, `state.blocks.0...`.
  const donations = traced.resultPaths.flatMap((path, result) => {
    if (!path.startsWith("state.")) return [];
    const parameter = traced.inputPaths.indexOf(`2.${path.slice("state.".length)}`);
    invariant(parameter >= 0, `the state of a ${model.architecture} model has no ${path}`);
    return [{ parameter, result }];
  });
  return { executable: await device.compile(traced.graph, { donations, recipe }), donations };
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
