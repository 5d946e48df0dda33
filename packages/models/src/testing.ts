// What the tests of this room share: models over host tensors on the reference interpreter, in float64 from end to end.

import type { HostTensor, Tensor, TensorType, Tree } from "@fidelity/core";
import {
  elementCount,
  flattenTree,
  interpret,
  isTensorType,
  mapTree,
  ternarize,
  trace,
  zerosHost,
} from "@fidelity/core";
import type { Model } from "./model.ts";
import { mapParameters, namedParameters } from "./parameters.ts";
import { RandomStream } from "./random.ts";

/** Values of parameters by path. */
export type HostParameters = ReadonlyMap<string, HostTensor>;

/** Normal values of every parameter, gains and bounds included, so that no term of an equation can be forgotten. */
export function randomParameters(model: Model, seed: number): Map<string, HostTensor> {
  const stream = new RandomStream(seed);
  const draw = (path: string, type: TensorType): readonly [string, HostTensor] => {
    const data = new Float64Array(elementCount(type.shape));
    stream.fillNormal(data, type.shape.length === 1 ? 1 : 0, 0.4);
    return [path, { type: { dtype: "f32", shape: type.shape }, data }];
  };
  return new Map(namedParameters(model.parameters).map(({ path, leaf }) => draw(path, leaf)));
}

/** The same values with ternary weights packed. */
export function packedParameters(model: Model, parameters: HostParameters): Map<string, HostTensor> {
  const packed = new Map(parameters);
  for (const { path, leaf } of namedParameters(model.parameters)) {
    if (leaf.role !== "ternary") continue;
    const value = parameters.get(path)!;
    const { graph } = trace("pack", (w) => ternarize(w as Tensor<readonly [number, number], "f32">), [value.type]);
    packed.set(path, interpret(graph, [value])[0]);
  }
  return packed;
}

/** A state and the number of tokens that it has seen. */
export interface HostPast {
  readonly state: readonly HostTensor[];
  readonly position: number;
}

/** The state before the first token. */
export function startOf(model: Model, batch: number, capacity: number): HostPast {
  const types = flattenTree(model.stateTypes({ batch, capacity }), isTensorType);
  return { state: types.map(({ leaf }) => zerosHost(leaf)), position: 0 };
}

/** Runs a model over `tokens` [batch][time] and gives its logits [batch, time, vocabulary] and the state after them. */
export function evaluateModel(
  model: Model,
  parameters: HostParameters,
  tokens: readonly (readonly number[])[],
  past?: HostPast,
): { readonly logits: Float64Array; readonly past: HostPast } {
  const types: unknown = mapParameters(model.parameters, (_spec, path) => parameters.get(path)!.type);
  const [batch, time] = [tokens.length, tokens[0].length];
  const tokenInput: HostTensor = {
    type: { dtype: "i32", shape: [batch, time] },
    data: Float64Array.from(tokens.flat()),
  };
  const values = [...namedParameters(model.parameters).map(({ path }) => parameters.get(path)!), tokenInput];
  const finish = (results: readonly HostTensor[]): ReturnType<typeof evaluateModel> => ({
    logits: results[0].data,
    past: { state: results.slice(1), position: (past?.position ?? 0) + time },
  });
  if (past === undefined) {
    const { graph } = trace(
      "whole",
      (p, t) => {
        const { logits, state } = model.forward(p as Tree<Tensor>, t as Tensor<readonly number[], "i32">);
        return [logits, state];
      },
      [types, tokenInput.type],
    );
    return finish(interpret(graph, values));
  }
  const position: HostTensor = { type: { dtype: "i32", shape: [] }, data: Float64Array.of(past.position) };
  let next = 0;
  const capacity = past.state[0].type.shape[1];
  const stateTypes: unknown = mapTree<TensorType, TensorType, unknown>(
    model.stateTypes({ batch, capacity }),
    isTensorType,
    () => past.state[next++].type,
  );
  const { graph } = trace(
    "continued",
    (p, t, s, at) => {
      const before = { state: s as Tree<Tensor>, position: at as Tensor<readonly [], "i32"> };
      const { logits, state } = model.forward(p as Tree<Tensor>, t as Tensor<readonly number[], "i32">, before);
      return [logits, state];
    },
    [types, tokenInput.type, stateTypes, position.type],
  );
  return finish(interpret(graph, [...values, ...past.state, position]));
}

/** Random tokens [batch][time]. */
export function randomTokens(model: Model, batch: number, time: number, seed: number): number[][] {
  const stream = new RandomStream(seed);
  return Array.from({ length: batch }, () => Array.from({ length: time }, () => stream.below(model.vocabSize)));
}

/** The largest difference of two equally long arrays, relative to the largest magnitude in the first. */
export function largestError(expected: ArrayLike<number>, got: ArrayLike<number>): number {
  if (expected.length !== got.length) return Infinity;
  let [error, magnitude] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(expected[i] - got[i]);
    error = Number.isNaN(difference) ? Infinity : Math.max(error, difference);
    magnitude = Math.max(magnitude, Math.abs(expected[i]));
  }
  return error / Math.max(magnitude, 1e-300);
}
