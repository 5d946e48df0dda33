// Parameters of a model made of another program's tensors. Ternary weights are packed if the file's values are ternary
// with one scale a matrix; narrow ones stay as they are (narrow-parameters.ts); everything else is float32, whatever
// the file has.

import { elementCount, packTernary, sameShape } from "@fidelity/core";
import type { Device, DeviceTensor, TensorType, TernaryDtype } from "@fidelity/core";
import { decodeTensorValues, InvalidTensorError } from "@fidelity/formats";
import type { SourceTensor } from "@fidelity/formats";
import { freeParameters, namedParameters } from "@fidelity/models";
import type { ForeignImport, NarrowDtype, ParameterOrigin, ParameterSpec } from "@fidelity/models";
import { narrowDtype, narrowTensor } from "./narrow-parameters.ts";

/** How far an import has come. */
export interface ImportProgress {
  /** The parameter that is made next. */
  readonly parameter: string;
  /** Parameters that are made, of all. */
  readonly done: number;
  readonly total: number;
}

export interface ImportOptions {
  readonly onProgress?: (progress: ImportProgress) => void;
  /** Whether NaN and infinities are looked for. True by default. */
  readonly verify?: boolean;
}

/**
 * Makes a model's parameters on a device, one after the other. Throws `InvalidTensorError` for a tensor that does not
 * fit or holds what is no number, and frees what was made.
 */
export function importParameters(
  { model, origins }: ForeignImport,
  tensors: ReadonlyMap<string, SourceTensor>,
  device: Device,
  { onProgress, verify = true }: ImportOptions = {},
): Map<string, DeviceTensor> {
  const leaves = namedParameters(model.parameters);
  const made = new Map<string, DeviceTensor>();
  try {
    for (const [done, { path, leaf }] of leaves.entries()) {
      onProgress?.({ parameter: path, done, total: leaves.length });
      const origin = origins.get(path)!;
      const sources = origin.names.map((name) => tensors.get(name)!);
      made.set(path, makeParameter(device, leaf, origin, sources, verify));
    }
  } catch (error) {
    freeParameters(made);
    throw error;
  }
  return made;
}

/** Makes one parameter of the tensors that it comes from, which are read now. Throws as `importParameters`. */
export function makeParameter(
  device: Device,
  leaf: ParameterSpec,
  origin: ParameterOrigin,
  sources: readonly SourceTensor[],
  verify: boolean,
): DeviceTensor {
  const [first] = sources;
  if (origin.read === undefined && !sameShape(longAxes(first.shape), longAxes(leaf.shape))) {
    throw doesNotFit(first, leaf);
  }
  const kept = origin.read === undefined ? narrowDtype(leaf, first.dtype, device.target) : undefined;
  if (kept !== undefined) return narrowTensor(device, first, { dtype: kept, shape: leaf.shape }, verify);
  const decoded = sources.map(decodeTensorValues);
  const values = origin.read === undefined ? decoded[0] : origin.read(decoded);
  if (values.length !== elementCount(leaf.shape)) throw doesNotFit(first, leaf);
  if (verify) requireFinite(first, values);
  const scale = leaf.role === "ternary" ? ternaryScale(values) : undefined;
  if (leaf.role === "ternary" && scale === undefined && isTernaryType(first.dtype)) throw manyScales(first);
  const type: TensorType = { dtype: scale === undefined ? "f32" : "ternary", shape: leaf.shape };
  const tensor = device.tensor(type);
  if (scale === undefined) tensor.f32().set(values);
  else packTernary(values, type, scale, tensor.bytes());
  return tensor;
}

/** Axes of length 1 are kept by some programs and dropped by others. */
function longAxes(shape: readonly number[]): number[] {
  return shape.filter((extent) => extent !== 1);
}

function doesNotFit({ name, dtype, shape }: SourceTensor, leaf: ParameterSpec): InvalidTensorError {
  return new InvalidTensorError(`tensor "${name}" does not fit the model that its file describes`, {
    expected: `[${leaf.shape.join(", ")}]`,
    got: `${dtype} [${shape.join(", ")}]`,
    hint: "the file's metadata and tensors contradict each other; convert the model again",
  });
}

function requireFinite({ name, shape }: SourceTensor, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    throw new InvalidTensorError(`tensor "${name}" holds a value that is not finite`, {
      where: `element ${i} of shape [${shape.join(", ")}]`,
      expected: "finite numbers",
      got: String(values[i]),
      hint: "the file is damaged or its training diverged; fetch it again",
    });
  }
}

/** How a file of any format stores a parameter. */
export interface StoredAs {
  readonly dtype: string;
  /** Whether its values are calculated from the stored ones. */
  readonly derived?: boolean;
}

/** What a parameter is on a device of a target, from how its file stores it. */
export function loadedDtype(
  leaf: ParameterSpec,
  stored: StoredAs | undefined,
  target: string,
): "f32" | TernaryDtype | NarrowDtype {
  if (stored === undefined) return "f32";
  const { dtype, derived = false } = stored;
  if (leaf.role !== "ternary") return (derived ? undefined : narrowDtype(leaf, dtype, target)) ?? "f32";
  if (dtype === "ternary" || dtype === "ternary5") return dtype;
  return isTernaryType(dtype) ? "ternary" : "f32";
}

/** Whether a stored type is one of ternary weights. */
export function isTernaryType(dtype: string): boolean {
  return dtype === "tq1_0" || dtype === "tq2_0" || dtype === "i2_s";
}

function manyScales({ name, dtype }: SourceTensor): InvalidTensorError {
  return new InvalidTensorError(`tensor "${name}" has ternary weights of several scales`, {
    expected: "one scale for the whole matrix, as BitNet has it",
    got: `blocks of ${dtype} with scales of their own`,
    hint: "convert the file to f16 or f32, which are computed with as they are",
  });
}

/** s where all values are -s, 0 or s; undefined where they are not. */
export function ternaryScale(values: Float32Array): number | undefined {
  let scale = 0;
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]);
    if (magnitude === 0 || magnitude === scale) continue;
    if (scale !== 0) return undefined;
    scale = magnitude;
  }
  return scale;
}
