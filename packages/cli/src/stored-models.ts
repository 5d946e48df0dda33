// What the commands of the store say about a model.

import { describeModel } from "@fidelity/run/node";
import type { StoredModel } from "@fidelity/run/node";
import { FidelityError } from "@fidelity/units";

export interface StoredSummary {
  readonly name: string;
  readonly path: string;
  readonly repository: string;
  readonly commit: string;
  readonly format: string;
  /** Null where Fidelity cannot open the model; `problem` says why. */
  readonly architecture: string | null;
  readonly sizeBytes: number;
  /** ISO 8601. */
  readonly modified: string;
  readonly problem?: string;
}

/** A model of the store with what its header says. */
export function summarise(model: StoredModel): StoredSummary {
  const { name, path, repository, commit, sizeBytes, opened } = model;
  const modified = model.modified.toISOString();
  const format = opened === "" ? "safetensors" : "gguf";
  try {
    const { architecture } = describeModel(path).model;
    return { name, path, repository, commit, format, architecture, sizeBytes, modified };
  } catch (error) {
    if (!(error instanceof FidelityError)) throw error;
    return { name, path, repository, commit, format, architecture: null, sizeBytes, modified, problem: error.message };
  }
}
