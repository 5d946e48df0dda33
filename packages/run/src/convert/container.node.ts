// Fidelity's own container, written from the values of any file, parameter by parameter: ternary matrices packed where
// the values are ternary with one scale, everything else float32.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { ContainerHeader } from "@fidelity/barewire";
import { ContainerWriter } from "@fidelity/barewire/node";
import { packTernary, storageBytes } from "@fidelity/core";
import { namedParameters } from "@fidelity/models";
import { textsOfCard } from "../card.ts";
import { ternaryScale } from "../foreign-parameters.ts";
import { componentOf, tensorLayouts } from "../parameter-file.node.ts";
import { versions } from "../versions.node.ts";
import type { StoredValues } from "./values.node.ts";

export interface WriteContainerOptions {
  /** Called before each parameter. */
  readonly onProgress?: (done: number, total: number, name: string) => void;
  readonly signal?: AbortSignal;
}

/** Writes the container: whole, or what was there stays. Throws `FileError` and the signal's reason. */
export async function writeContainerModel(
  path: string,
  { model, tokenizer, parameters, card }: Pick<StoredValues, "model" | "tokenizer" | "parameters" | "card">,
  { onProgress, signal }: WriteContainerOptions = {},
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
    const values = parameters.get(name)!.values();
    const scale = leaf.role === "ternary" ? ternaryScale(values) : undefined;
    const type = { dtype: scale === undefined ? "f32" : "ternary", shape: leaf.shape } as const;
    let bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    if (scale !== undefined) {
      bytes = new Uint8Array(storageBytes(type));
      packTernary(values, type, scale, bytes);
    }
    writer.add({ name, component: componentOf(name).id, ...type, layout: tensorLayouts[type.dtype] }, bytes);
  }
  return writer.commit();
}
