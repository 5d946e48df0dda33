// Every architecture's names in other programs' files, and the model that such a file holds.

import { architectures, createModel } from "../architectures.ts";
import type { Model } from "../model.ts";
import { nearestName } from "../nearest.ts";
import { namedParameters } from "../parameters.ts";
import { bertNaming } from "./bert.ts";
import { bitnetNaming } from "./bitnet.ts";
import { deepseek2Naming } from "./deepseek2.ts";
import { gatedDeltanetNaming } from "./gated_deltanet.ts";
import { gemma2Naming, gemma3Naming } from "./gemma.ts";
import { hgrnBitNaming } from "./hgrn_bit.ts";
import { llamaNaming } from "./llama.ts";
import { mamba2Naming } from "./mamba2.ts";
import { mambaNaming } from "./mamba.ts";
import type { FileNaming, ForeignModel, Naming, ParameterOrigin } from "./naming.ts";
import { ForeignModelError, textOf } from "./naming.ts";
import { qwen2Naming, qwen3Naming } from "./qwen.ts";
import { rwkv7Naming } from "./rwkv7.ts";

/** By the architecture that `createModel` builds. */
export const namings: Readonly<Record<string, Naming>> = {
  "matmul-free": hgrnBitNaming,
  llama: llamaNaming,
  qwen2: qwen2Naming,
  qwen3: qwen3Naming,
  gemma2: gemma2Naming,
  gemma3: gemma3Naming,
  bitnet: bitnetNaming,
  mamba: mambaNaming,
  mamba2: mamba2Naming,
  rwkv7: rwkv7Naming,
  "gated-deltanet": gatedDeltanetNaming,
  deepseek2: deepseek2Naming,
  bert: bertNaming,
};

/** The kinds of file that have namings. */
export type ForeignFormat = keyof Naming;

const architectureKeys: Readonly<Record<ForeignFormat, string>> = {
  gguf: "general.architecture",
  huggingFace: "model_type",
};

/** A file's model, and where each of its parameters comes from. */
export interface ForeignImport {
  readonly model: Model;
  /** By path, in the model's order. */
  readonly origins: ReadonlyMap<string, ParameterOrigin>;
}

/** What can be read: the names that files of a format may give, each with the architecture that it is here. */
export function knownForeignNames(format: ForeignFormat): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(namings).flatMap(([architecture, naming]) =>
      (naming[format]?.names ?? []).map((name): [string, string] => [name, architecture]),
    ),
  );
}

/**
 * Builds the model that a file describes and finds its parameters' tensors. Throws `ForeignModelError` for an
 * architecture that is not known, with the nearest one that is, for metadata that is missing and tensors that are not
 * there; and what `createModel` throws.
 */
export function importModel(format: ForeignFormat, file: ForeignModel): ForeignImport {
  const naming = namingOf(format, file);
  const model = createModel(naming.config(file));
  const origins = new Map<string, ParameterOrigin>();
  for (const { path, leaf } of namedParameters(model.parameters)) {
    const origin = naming.origin(path, model.config, file);
    const missing = origin?.names.find((name) => file.shape(name) === undefined);
    if (origin !== undefined && missing === undefined) {
      origins.set(path, origin);
      continue;
    }
    throw new ForeignModelError(`the file lacks a tensor of the ${model.architecture} model that it describes`, {
      where: file.where,
      expected: `"${missing ?? path}" for ${path} [${leaf.shape.join(", ")}]`,
      got: "no tensor of that name",
      hint: "the file is incomplete, or a variant of the architecture that is not supported",
    });
  }
  return { model, origins };
}

function namingOf(format: ForeignFormat, file: ForeignModel): FileNaming {
  const name = textOf(file, architectureKeys[format]);
  const known = knownForeignNames(format);
  const architecture = known.get(name);
  const naming = architecture === undefined ? undefined : namings[architecture][format];
  if (naming !== undefined) return naming;
  const nearest = nearestName(name, [...known.keys()]);
  throw new ForeignModelError(`the architecture "${name}" is not known`, {
    where: `${file.where}, ${architectureKeys[format]}`,
    expected: [...known.keys()].join(", "),
    got: JSON.stringify(name),
    hint: `the nearest is "${nearest}" (${architectures[known.get(nearest)!].summary})`,
  });
}
