// Numbers written into device tensors of any float dtype.

import { bf16Bits } from "@fidelity/core";
import type { DeviceTensor } from "@fidelity/core";

export function writeTensor(tensor: DeviceTensor, values: ArrayLike<number>): void {
  const { buffer, byteOffset } = tensor.bytes();
  if (tensor.type.dtype === "f64") new Float64Array(buffer, byteOffset, values.length).set(values);
  else if (tensor.type.dtype === "f32") tensor.f32().set(values);
  else new Uint16Array(buffer, byteOffset, values.length).set(Array.from(values, bf16Bits));
}
