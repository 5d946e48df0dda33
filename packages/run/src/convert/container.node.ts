// Fidelity's own container, written from the values of any file, parameter by parameter: ternary matrices packed where
// the values are ternary with one scale, narrow ones as they are where that is asked for, everything else float32.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { ContainerHeader } from "@fidelity/barewire";
import { ContainerWriter } from "@fidelity/barewire/node";
import { packTernary, storageBytes } from "@fidelity/core";
import { namedParameters } from "@fidelity/models";
import type { ParameterSpec } from "@fidelity/models";
import { textsOfCard } from "../card.ts";
import { ternaryScale } from "../foreign-parameters.ts";
import { narrowBytes, narrowDtype } from "../narrow-parameters.ts";
import { componentOf, tensorLayouts } from "../stored-model.ts";
import { versions } from "../versions.node.ts";
import type { StoredParameter, StoredValues } from "./values.node.ts";

export interface WriteContainerOptions {
  /** Called before each parameter. */
  readonly onProgress?: (done: number, total: number, name: string) => void;
  readonly signal?: AbortSignal;
  /** The target to keep the narrow weights of another program's file for; by default all become float32. */
  readonly narrowFor?: string;
}

/** Writes the container: whole, or what was there stays. Throws `FileError` and the signal's reason. */
export async function writeContainerModel(
  path: string,
  { model, tokenizer, parameters, card }: Pick<StoredValues, "model" | "tokenizer" | "parameters" | "card">,
  { onProgress, signal, narrowFor }: WriteContainerOptions = {},
): Promise<ContainerHeader> {
  using writer = ContainerWriter.create(path, {
    metadata: { ...textsOfCard(card), ...versions(), kind: "model" },
    config: { model: model.config, tokenizer: tokenizer?.toJSON() ?? null },
  });
  const leaves = namedParameters(model.parameters);
  for (const component of new Map(leaves.map((leaf) => [componentOf(leaf.path).id, componentOf(leaf.path)])).values()) {
    writer.component(component);
  }
  for (const [i, { path: name, leaf }] of leaves.entries()) {
    await nextTurn();
    signal?.throwIfAborted();
    onProgress?.(i, leaves.length, name);
    const { type, bytes } = storedForm(leaf, parameters.get(name)!, narrowFor);
    writer.add({ name, component: componentOf(name).id, ...type, layout: tensorLayouts[type.dtype] }, bytes);
  }
  return writer.commit();
}

/** A parameter as a container holds it. */
function storedForm(leaf: ParameterSpec, parameter: StoredParameter, narrowFor: string | undefined) {
  const { shape } = leaf;
  const { source } = parameter;
  if (narrowFor !== undefined && source !== undefined) {
    const dtype = narrowDtype(leaf, source.dtype, narrowFor);
    if (dtype !== undefined) return { type: { dtype, shape }, bytes: narrowBytes(source, { dtype, shape }) };
  }
  const values = parameter.values();
  const scale = leaf.role === "ternary" ? ternaryScale(values) : undefined;
  const type = { dtype: scale === undefined ? "f32" : "ternary", shape } as const;
  if (scale === undefined) return { type, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
  const bytes = new Uint8Array(storageBytes(type));
  packTernary(values, type, scale, bytes);
  return { type, bytes };
}
