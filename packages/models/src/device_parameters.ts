// Parameters in the memory of a device: made, filled, and packed. They are kept by path, so that whatever reads a file
// or averages weights finds them by the names that files use.

import type { Device, DeviceTensor, Tensor, TensorType, TernaryDtype, Tree } from "@fidelity/core";
import { flattenTree, formatType, isTensorType, isTernary, sameShape, ternarize, trace } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import type { Model } from "./model.ts";
import type { ParameterSpec } from "./parameters.ts";
import { NARROW_DTYPES, namedParameters } from "./parameters.ts";

/** Tensors of a device by path, in the order of the model's parameters. */
export type DeviceParameters = ReadonlyMap<string, DeviceTensor>;

/** Parameters that are not those of the model. */
export class ParameterMismatchError extends FidelityError {}

/** Allocates a tensor for every type of a tree and lets `fill` write it. Frees all of them if anything throws. */
export function createParameters(
  device: Device,
  types: Tree<TensorType>,
  fill: (tensor: DeviceTensor, path: string) => void,
): Map<string, DeviceTensor> {
  const made = new Map<string, DeviceTensor>();
  try {
    for (const { path, leaf } of flattenTree(types, isTensorType)) {
      const tensor = device.tensor(leaf);
      made.set(path, tensor);
      fill(tensor, path);
    }
  } catch (error) {
    freeParameters(made);
    throw error;
  }
  return made;
}

export function freeParameters(parameters: DeviceParameters): void {
  for (const tensor of parameters.values()) tensor.free();
}

/**
 * The same parameters with ternary weights packed, to 2 bits or five to a byte (`ternary5`), computed on the device by
 * the op that training uses, so that both give the same logits. Only packed tensors are new; the others are those of
 * `parameters`.
 */
export async function packParameters(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  dtype: TernaryDtype = "ternary",
): Promise<Map<string, DeviceTensor>> {
  orderedParameters(model, parameters);
  const leaves = namedParameters(model.parameters);
  const paths = leaves
    .filter(({ leaf }) => leaf.role === "ternary")
    .map(({ path }) => path)
    .filter((path) => !isTernary(parameters.get(path)!.type.dtype));
  const result = new Map(leaves.map(({ path }) => [path, parameters.get(path)!]));
  if (paths.length === 0) return result;
  const sources = paths.map((path) => parameters.get(path)!);
  const { graph } = trace(
    "pack",
    (weights) => weights.map((weight) => ternarize(weight as Tensor<readonly [number, number], "f32">, dtype)),
    [sources.map(({ type }) => type)],
  );
  const program = await device.compile(graph);
  try {
    const packed = createParameters(
      device,
      graph.results.map(({ type }) => type),
      () => {},
    );
    program.bind(sources, [...packed.values()]);
    program.run();
    for (const [i, tensor] of [...packed.values()].entries()) result.set(paths[i], tensor);
  } finally {
    program.free();
  }
  return result;
}

/** The tensors of `parameters` in the order of the model. Throws `ParameterMismatchError` unless they fit it. */
export function orderedParameters(model: Model, parameters: DeviceParameters): DeviceTensor[] {
  const leaves = namedParameters(model.parameters);
  const fitting = leaves.map(({ path, leaf }) => {
    const tensor = parameters.get(path);
    return tensor !== undefined && fits(leaf, tensor.type) ? tensor : undefined;
  });
  const wrong = fitting.indexOf(undefined);
  if (wrong >= 0 || parameters.size !== leaves.length) refuseParameters(model, parameters, wrong);
  return fitting as DeviceTensor[];
}

/** Says why parameters are not those of a model: one that it does not have, or the one at `wrong`. */
function refuseParameters(model: Model, parameters: DeviceParameters, wrong: number): never {
  const leaves = namedParameters(model.parameters);
  const hint = "check that the file and the configuration belong together";
  const known = new Set(leaves.map(({ path }) => path));
  const extra = [...parameters.keys()].find((path) => !known.has(path));
  if (extra !== undefined) {
    throw new ParameterMismatchError(`a ${model.architecture} model of this size has no parameter "${extra}"`, {
      expected: `${known.size} parameters`,
      got: `${parameters.size} parameters`,
      hint,
    });
  }
  const { path, leaf } = leaves[wrong];
  const tensor = parameters.get(path);
  throw new ParameterMismatchError(`parameter "${path}" ${tensor === undefined ? "is missing" : "does not fit"}`, {
    where: `a ${model.architecture} model`,
    expected: ["f32", ...otherDtypes(leaf)].map((dtype) => `${dtype}[${leaf.shape.join(", ")}]`).join(" or "),
    got: tensor === undefined ? "nothing" : formatType(tensor.type),
    hint,
  });
}

function fits(leaf: ParameterSpec, { dtype, shape }: TensorType): boolean {
  return (dtype === "f32" || otherDtypes(leaf).includes(dtype)) && sameShape(shape, leaf.shape);
}

const TERNARY_DTYPES: readonly string[] = ["ternary", "ternary5"];

function otherDtypes({ role, narrow }: ParameterSpec): readonly string[] {
  if (role === "ternary") return TERNARY_DTYPES;
  return narrow === true ? NARROW_DTYPES : [];
}
