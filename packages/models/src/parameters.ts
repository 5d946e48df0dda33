// The parameters of a model before they have values: a tree whose leaves say shape, first value and role. The path of
// a leaf, such as `blocks.0.mixer.forget.weight`, is its name in a model file and seeds its random numbers, so that the
// first values of a parameter do not depend on which others there are.
// The first values are those of GPT-2 (Radford et al. 2019): N(0, 0.02), and 1 / sqrt(2 L) of it for the two
// projections of each of L layers that write to the residual stream.
//
// Leaves out: training of parameters of other dtypes than float32. Packed weights are made from these, and narrow ones
// come from other programs' files.

import type {
  BlockDtype,
  HalfDtype,
  HostTensor,
  NamedLeaf,
  Tensor,
  TensorType,
  TernaryDtype,
  Tree,
} from "@fidelity/core";
import { BLOCK_DTYPES, elementCount, flattenTree, isTensorType, mapTree, storageBytes } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { RandomStream } from "./random.ts";

/**
 * What a parameter is for. `ternary` weights may be packed to 2 bits; `dense` and `embedding` matrices are float32, or
 * what their file has where they are `narrow`;
 * `norm` stands for gains, biases and bounds, one number a channel, which weight decay leaves alone.
 */
export type ParameterRole = "ternary" | "dense" | "norm" | "embedding";

/** The distribution of the first values. */
export type ParameterInit =
  | { readonly kind: "normal"; readonly std: number }
  | { readonly kind: "uniform"; readonly low: number; readonly high: number }
  /** log(1), log(2), ... along the last axis: rates of S4D-Real (Gu et al. 2022, arXiv 2206.11893). */
  | { readonly kind: "log-ramp" }
  /** 0, step, 2 step, ... along the last axis: frequencies of S4D-Lin, from the same paper. */
  | { readonly kind: "ramp"; readonly step: number }
  /** N / pi (N / (2 n + 1) - 1), N twice the size of the last axis: frequencies of S4D-Inv. */
  | { readonly kind: "s4d-inverse" }
  | { readonly kind: "ones" }
  | { readonly kind: "zeros" };

/** A parameter without its values. */
export interface ParameterSpec<R extends ParameterRole = ParameterRole> extends TensorType {
  readonly dtype: "f32";
  readonly init: ParameterInit;
  readonly role: R;
  /** Whether all that reads it takes it as files store it: products and embeddings do. */
  readonly narrow?: boolean;
}

/** Dtypes besides float32 of a narrow parameter. */
export type NarrowDtype = HalfDtype | BlockDtype;

export const NARROW_DTYPES: readonly NarrowDtype[] = ["bf16", "f16", ...BLOCK_DTYPES];

export interface NarrowSpec<R extends ParameterRole = ParameterRole> extends ParameterSpec<R> {
  readonly narrow: true;
}

export type ParameterTree = Tree<ParameterSpec>;

/** The tensors that a tree of specs stands for while a model is traced: ternary weights are float32 or packed. */
export type TensorsOf<T> = T extends NarrowSpec
  ? Tensor<Shape, "f32" | NarrowDtype>
  : T extends ParameterSpec<infer R>
    ? Tensor<Shape, R extends "ternary" ? "f32" | TernaryDtype : "f32">
    : { readonly [K in keyof T]: TensorsOf<T[K]> };

/** Standard deviation of the first weights. */
export const INIT_STD = 0.02;

/** That of the projections whose sums make up the residual stream: two in each of `layerCount` layers. */
export function residualStd(layerCount: number): number {
  return INIT_STD / Math.sqrt(2 * layerCount);
}

/** A weight matrix [outputs, inputs] with normal first values. */
export function matrix<R extends ParameterRole>(
  role: R,
  outputs: number,
  inputs: number,
  std: number = INIT_STD,
): ParameterSpec<R> {
  return { dtype: "f32", shape: [outputs, inputs], init: { kind: "normal", std }, role };
}

/** A matrix of which all readers take narrow dtypes. */
export function narrow<R extends ParameterRole>(spec: ParameterSpec<R>): NarrowSpec<R> {
  return { ...spec, narrow: true };
}

/** As many dense matrices, one for each head or expert: [count, outputs, inputs]. */
export function matrices(
  count: number,
  outputs: number,
  inputs: number,
  std: number = INIT_STD,
): ParameterSpec<"dense"> {
  return { dtype: "f32", shape: [count, outputs, inputs], init: { kind: "normal", std }, role: "dense" };
}

/** One number a channel, 1 at first. */
export function gain(channels: number): ParameterSpec<"norm"> {
  return { dtype: "f32", shape: [channels], init: { kind: "ones" }, role: "norm" };
}

/** Numbers a channel that are not gains: biases, rates, thresholds; 0 at first unless `init` says otherwise. */
export function channels(shape: readonly number[], init: ParameterInit = { kind: "zeros" }): ParameterSpec<"norm"> {
  return { dtype: "f32", shape, init, role: "norm" };
}

export function isParameterSpec(value: unknown): value is ParameterSpec {
  return isTensorType(value) && "role" in value && "init" in value;
}

/** By tree, which nobody changes: opening a model asks for its parameters a dozen times. */
const named = new WeakMap<object, readonly NamedLeaf<ParameterSpec>[]>();

/** The parameters with their paths, in the order in which `trace` and every model file list them. */
export function namedParameters(tree: ParameterTree): readonly NamedLeaf<ParameterSpec>[] {
  let leaves = named.get(tree);
  if (leaves === undefined) named.set(tree, (leaves = flattenTree(tree, isParameterSpec)));
  return leaves;
}

/** The types to trace or allocate with. `packed` makes ternary weights 2-bit. */
export function parameterTypes(tree: ParameterTree, { packed }: { readonly packed: boolean }): Tree<TensorType> {
  return mapParameters(tree, (spec): TensorType => ({
    dtype: packed && spec.role === "ternary" ? "ternary" : "f32",
    shape: spec.shape,
  }));
}

/** `mapTree` over parameters of unknown structure: without the types of the nodes, which nobody knows. */
export function mapParameters<M>(tree: ParameterTree, map: (spec: ParameterSpec, path: string) => M): Tree<M> {
  return mapTree<ParameterSpec, M, unknown>(tree, isParameterSpec, map) as Tree<M>;
}

/**
 * Writes the first values of the parameter at `path` to `out` [elements of its shape]. They depend on seed and path
 * alone. Throws `SeedError` for a seed that is no integer from 0 to 2^53 - 1.
 */
export function fillParameter(spec: ParameterSpec, path: string, seed: number, out: Float32Array): void {
  switch (spec.init.kind) {
    case "ones":
      out.fill(1);
      return;
    case "zeros":
      out.fill(0);
      return;
    case "uniform":
      new RandomStream(seed, pathNumber(path)).fillUniform(out, spec.init.low, spec.init.high);
      return;
    case "log-ramp": {
      const length = spec.shape.at(-1)!;
      for (let i = 0; i < out.length; i++) out[i] = Math.log(1 + (i % length));
      return;
    }
    case "ramp": {
      const length = spec.shape.at(-1)!;
      for (let i = 0; i < out.length; i++) out[i] = spec.init.step * (i % length);
      return;
    }
    case "s4d-inverse": {
      const length = spec.shape.at(-1)!;
      const both = 2 * length;
      for (let i = 0; i < out.length; i++) out[i] = (both / Math.PI) * (both / (2 * (i % length) + 1) - 1);
      return;
    }
    case "normal":
      new RandomStream(seed, pathNumber(path)).fillNormal(out, 0, spec.init.std);
      return;
  }
}

/** A tree of host tensors with the first values, exact in float32. */
export function initialise(tree: ParameterTree, seed: number): Tree<HostTensor> {
  return mapParameters(tree, (spec, path): HostTensor => {
    const values = new Float32Array(elementCount(spec.shape));
    fillParameter(spec, path, seed, values);
    return { type: { dtype: "f32", shape: spec.shape }, data: Float64Array.from(values) };
  });
}

/** How large a model is. */
export interface ParameterCount {
  readonly parameters: number;
  /** How many of them may be packed. */
  readonly ternaryParameters: number;
  /** Bytes of all parameters in float32. */
  readonly float32Bytes: number;
  /** Bytes with the ternary weights packed, padding and scales included. */
  readonly packedBytes: number;
}

/** Adds up the parameters of a tree. Nothing is allocated. */
export function countParameters(tree: ParameterTree): ParameterCount {
  let [parameters, ternaryParameters, float32Bytes, packedBytes] = [0, 0, 0, 0];
  for (const { leaf } of namedParameters(tree)) {
    const elements = elementCount(leaf.shape);
    const ternary = leaf.role === "ternary";
    parameters += elements;
    ternaryParameters += ternary ? elements : 0;
    float32Bytes += storageBytes({ dtype: "f32", shape: leaf.shape });
    packedBytes += storageBytes({ dtype: ternary ? "ternary" : "f32", shape: leaf.shape });
  }
  return { parameters, ternaryParameters, float32Bytes, packedBytes };
}

/** A number below 2^53 for a path: the upper bits of its 64-bit FNV-1a hash. */
function pathNumber(path: string): number {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(path)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return Number(hash >> 11n);
}
