// What a container says of the model in it. The configuration of model files and checkpoints is `{ model, tokenizer,
// ... }`, and parameters lie under their own paths, so a checkpoint is a model file with more in it.

import type { ContainerComponent, ContainerHeader, TensorEntry, TensorInput } from "@fidelity/barewire";
import { sameShape, storageBytes } from "@fidelity/core";
import type { DeviceTensor, TensorType } from "@fidelity/core";
import { createModel, namedParameters, NARROW_DTYPES, tokenizerFromJSON } from "@fidelity/models";
import type { Model, ParameterSpec, Tokenizer } from "@fidelity/models";
import { ModelFileError } from "./errors.ts";

/** What the tensors of an optimiser begin with in a checkpoint; readers of models pass them over. */
export const OPTIMIZER_PREFIX = "optimizer.";

/**
 * How a tensor of each dtype is laid out: `ternary2x16` and `ternary5x16` are core's storage of `ternary` and
 * `ternary5`, with the scale at the end, `blocks16` that of the dtypes of blocks, 16 rows at a time.
 */
export const tensorLayouts = {
  f32: "dense",
  bf16: "dense",
  f16: "dense",
  ternary: "ternary2x16",
  ternary5: "ternary5x16",
  q8_0: "blocks16",
  q4_0: "blocks16",
  q4_k: "blocks16",
  q5_k: "blocks16",
  q6_k: "blocks16",
} as const;

type StoredDtype = keyof typeof tensorLayouts;

/** The part of the model that a tensor belongs to: a block (`blocks.0`), or what its path begins with (`head`). */
export function componentOf(name: string): ContainerComponent {
  const [kind, index] = name.split(".");
  return { id: kind === "blocks" ? `${kind}.${index}` : kind, kind };
}

/** Each part once, in the order of the tensors. */
export function componentsOf(tensors: readonly TensorInput[]): ContainerComponent[] {
  return [...new Map(tensors.map(({ name }) => [componentOf(name).id, componentOf(name)])).values()];
}

/** A tensor to write, which is read where it lies when its turn comes. */
export function tensorInput(name: string, tensor: DeviceTensor): TensorInput {
  const { type } = tensor;
  return {
    name,
    component: componentOf(name).id,
    dtype: type.dtype,
    shape: type.shape,
    layout: tensorLayouts[type.dtype as StoredDtype],
    bytes: () => tensor.bytes().subarray(0, storageBytes(type)),
  };
}

/** What a container says of the model in it, checked against the architecture's own specification. */
export interface StoredModel {
  readonly model: Model;
  readonly tokenizer: Tokenizer | undefined;
  /** The type of each parameter as stored, float32 or packed, by path in the model's order. */
  readonly types: ReadonlyMap<string, TensorType>;
}

/**
 * Reads what model a container holds. Throws `ModelFileError` unless its parameters are those of the architecture, and
 * what `createModel` and `tokenizerFromJSON` throw.
 */
export function storedModel(path: string, header: ContainerHeader): StoredModel {
  const { config } = header;
  if (typeof config !== "object" || config === null || !("model" in config)) {
    throw new ModelFileError("the container holds no model", { where: path, expected: "a configuration with a model" });
  }
  const model = createModel(config.model);
  const spec = "tokenizer" in config ? config.tokenizer : null;
  const tokenizer = spec === null ? undefined : tokenizerFromJSON(spec);
  checkVocabulary(path, model, tokenizer);
  return { model, tokenizer, types: storedTypes(path, model, header.tensors) };
}

/** Throws `ModelFileError` when the tokenizer has another number of tokens than the model. */
export function checkVocabulary(path: string, model: Model, tokenizer: Tokenizer | undefined): void {
  if (tokenizer === undefined || tokenizer.vocabSize === model.vocabSize) return;
  throw new ModelFileError("the tokenizer does not belong to the model", {
    where: path,
    expected: `a vocabulary of ${model.vocabSize} tokens`,
    got: `a ${tokenizer.kind} vocabulary of ${tokenizer.vocabSize} tokens`,
    hint: "give the tokenizer that the model was trained with",
  });
}

function storedTypes(path: string, model: Model, tensors: readonly TensorEntry[]): Map<string, TensorType> {
  const entries = new Map(
    tensors.filter(({ name }) => !name.startsWith(OPTIMIZER_PREFIX)).map((entry) => [entry.name, entry]),
  );
  const leaves = namedParameters(model.parameters);
  const refuse = (summary: string, expected: string, got: string): never => {
    throw new ModelFileError(summary, {
      where: path,
      expected,
      got,
      hint: "the file was made for a model of another architecture or size; save or convert the model again",
    });
  };
  const types = leaves.map(({ path: name, leaf }): [string, TensorType] => {
    const entry = entries.get(name);
    if (entry === undefined) return refuse("a tensor of the model is missing", `tensor "${name}"`, listNames(entries));
    const type = storedType(leaf, entry);
    const dtypes = storedDtypes(leaf).join(", ");
    return [
      name,
      type ?? refuse(`tensor "${name}" does not fit the model`, `${dtypes} [${leaf.shape.join(", ")}]`, show(entry)),
    ];
  });
  const known = new Set(leaves.map(({ path: name }) => name));
  const extra = [...entries.keys()].find((name) => !known.has(name));
  if (extra !== undefined)
    refuse("there is a tensor that the model does not have", `${known.size} tensors`, `"${extra}" as well`);
  return new Map(types);
}

function storedDtypes({ role, narrow }: ParameterSpec): readonly StoredDtype[] {
  if (role === "ternary") return ["f32", "ternary", "ternary5"];
  return narrow === true ? ["f32", ...NARROW_DTYPES] : ["f32"];
}

function storedType(leaf: ParameterSpec, entry: TensorEntry): TensorType | undefined {
  const { shape } = leaf;
  const dtype = storedDtypes(leaf).find((name) => name === entry.dtype);
  if (dtype === undefined || entry.layout !== tensorLayouts[dtype] || !sameShape(entry.shape, shape)) return undefined;
  return entry.sizeBytes === storageBytes({ dtype, shape }) ? { dtype, shape } : undefined;
}

function show({ dtype, shape, layout, sizeBytes }: TensorEntry): string {
  return `${dtype} [${shape.join(", ")}], ${layout}, ${sizeBytes} bytes`;
}

function listNames(entries: ReadonlyMap<string, TensorEntry>): string {
  const names = [...entries.keys()];
  return names.length <= 6
    ? names.join(", ") || "no tensors"
    : `${names.slice(0, 6).join(", ")} and ${names.length - 6} more`;
}
