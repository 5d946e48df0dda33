// The values of a model's parameters in another program's file.

import { decodeTensorValues } from "@fidelity/formats";
import type { ForeignImport } from "@fidelity/models";
import type { ForeignFile } from "../foreign-file.ts";
import type { StoredParameter } from "./values.node.ts";

/** The parameters of the imported model, by path. */
export function foreignValues(
  { tensors }: Pick<ForeignFile, "tensors">,
  { origins }: ForeignImport,
): Map<string, StoredParameter> {
  const parameters = new Map<string, StoredParameter>();
  for (const [path, { names, read }] of origins) {
    const sources = names.map((name) => tensors.get(name)!);
    parameters.set(path, {
      dtype: sources[0].dtype,
      ...(read === undefined && { source: sources[0] }),
      sizeBytes: sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      values() {
        const decoded = sources.map(decodeTensorValues);
        return read === undefined ? decoded[0] : read(decoded);
      },
    });
  }
  return parameters;
}
