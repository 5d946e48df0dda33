// Inputs of measured ops.

import { writtenTensor } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import type { DeviceTensor, TensorType } from "@fidelity/core";
import { RandomStream } from "@fidelity/models";

/**
 * Values in bounds, from 0 to 1 as a rule, gates included; packed dtypes stay zero, since their codes cost the same.
 */
export function randomTensor(
  device: CpuDevice,
  type: TensorType,
  stream: number,
  position: number,
  [low, high]: readonly [number, number] = [0, 1],
): DeviceTensor {
  const tensor = writtenTensor(device, type);
  if (type.dtype === "i32") tensor.i32().fill(position);
  if (type.dtype !== "f32") return tensor;
  const values = tensor.f32();
  const random = new RandomStream(1, stream);
  const block = Float32Array.from(
    { length: Math.min(values.length, 4096) },
    () => low + (high - low) * random.uniform(),
  );
  for (let at = 0; at < values.length; at += block.length) {
    values.set(block.subarray(0, Math.min(block.length, values.length - at)), at);
  }
  return tensor;
}
