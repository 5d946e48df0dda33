// The numbers of any tensor of a model file, by the name that the file gives it.

import { decodeTensorValues } from "@fidelity/formats";
import { openSource } from "@fidelity/formats/node";
import { openValues } from "@fidelity/run/node";
import { identifyFile } from "../identify.ts";

export interface TensorValues extends Disposable {
  /** Undefined for what is no part of a model, such as an optimiser's moments. */
  of(name: string): Float32Array | undefined;
}

/** Opens a file for its numbers. Throws as its readers do. */
export function openTensorValues(path: string): TensorValues {
  const { format } = identifyFile(path);
  if (format === "fidelity" || format === "llama2c") {
    const opened = openValues(path);
    return { of: (name) => opened.parameters.get(name)?.values(), [Symbol.dispose]: () => opened[Symbol.dispose]() };
  }
  const opened = openSource(path);
  const tensors = new Map(opened.source.tensors.map((tensor) => [tensor.name, tensor]));
  const of = (name: string): Float32Array => decodeTensorValues(tensors.get(name)!);
  return { of, [Symbol.dispose]: () => opened[Symbol.dispose]() };
}
