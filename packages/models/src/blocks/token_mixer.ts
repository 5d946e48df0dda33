// What mixes a sequence along time in one layer: parameters, the state that it carries from token to token, and one
// function for whole sequences and for single tokens. Architectures are stacks of these (residual_stack.ts), which is
// how recurrent layers and attention stand in one model.

import type { Tensor, TensorType, Tree } from "@fidelity/core";
import { reshape, sliceAxis } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Past, StateSize } from "../model.ts";
import type { ParameterTree, TensorsOf } from "../parameters.ts";

export type Floats = Tensor<Shape, "f32">;

/** What a mixer gives: `x` mixed along time, [batch, time, dim], and the state after the last token. */
export interface Mixed<S> {
  readonly output: Floats;
  readonly state: S;
}

/** A mixer as its own file writes it, with the structure of its trees in the types. */
export interface MixerDefinition<P, S> {
  readonly parameters: P;
  stateTypes(size: StateSize): { readonly [K in keyof S]: TensorType };
  /** Mixes `x` [batch, time, dim], which starts the sequence where there is no `past`. */
  mix(parameters: TensorsOf<P>, x: Floats, past: Past<S> | undefined): Mixed<S>;
}

/** A mixer without the structure of its trees. */
export interface TokenMixer {
  readonly parameters: ParameterTree;
  stateTypes(size: StateSize): Tree<TensorType>;
  mix(parameters: Tree<Tensor>, x: Floats, past: Past | undefined): Mixed<Tree<Tensor>>;
}

/** Forgets the structure of a mixer's trees, which only its own file needs. */
export function defineMixer<P, S>(definition: MixerDefinition<P, S>): TokenMixer {
  return definition as unknown as TokenMixer;
}

/** The type of a state in float32. */
export function stateType(...shape: readonly number[]): TensorType {
  return { dtype: "f32", shape };
}

/** `x` cut along its last axis into pieces of these sizes. */
export function splitLast<const N extends readonly number[]>(x: Floats, sizes: N): { readonly [K in keyof N]: Floats } {
  let start = 0;
  const piece = (size: number): Floats => sliceAxis(x, -1, start, (start += size)) as Floats;
  return sizes.map(piece) as unknown as { readonly [K in keyof N]: Floats };
}

/** `x` [batch, time, count * size] as heads, [batch, time, count, size]. */
export function toHeads(x: Floats, count: number): Floats {
  const [batch, time, width] = x.shape;
  return reshape(x, [batch, time, count, width / count]);
}

/** Heads [batch, time, count, size] side by side, [batch, time, count * size]. */
export function fromHeads(x: Floats): Floats {
  const [batch, time, count, size] = x.shape;
  return reshape(x, [batch, time, count * size]);
}
