// Tensors for measurements.

import type { TensorType } from "@fidelity/core";
import type { CpuDevice } from "./device.ts";
import type { RegionTensor } from "./tensor.ts";

/**
 * A tensor whose zeros have been written. Memory that never was is one page of zeros for all of it, which stays in a
 * near cache: reading it would be measured as many times as fast as memory is.
 * @throws OutOfMemoryError
 */
export function writtenTensor(device: CpuDevice, type: TensorType): RegionTensor {
  const tensor = device.tensor(type);
  tensor.bytes().fill(0);
  return tensor;
}
