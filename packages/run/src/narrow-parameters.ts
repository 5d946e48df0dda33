// Weights of other programs' files that stay as they are stored: bf16, f16 and the dtypes of blocks, where all that
// reads a matrix takes them. Half to a seventh of the memory of float32, and as much less to read for each token.

import { decodeTensor, fileBlock, hostValues, isBlocked, repackBlocks, storageBytes } from "@fidelity/core";
import type { Device, DeviceTensor, HalfDtype, TensorType } from "@fidelity/core";
import { InvalidTensorError } from "@fidelity/formats";
import type { SourceTensor } from "@fidelity/formats";
import { createParameters, NARROW_DTYPES } from "@fidelity/models";
import type { DeviceParameters, NarrowDtype, ParameterSpec } from "@fidelity/models";

/**
 * The narrow dtype that a parameter of this stored type keeps on a target; undefined where it becomes something else.
 * WebAssembly has no instructions for f16, and computes with float32 faster.
 */
export function narrowDtype({ narrow }: ParameterSpec, stored: string, target: string): NarrowDtype | undefined {
  if (narrow !== true || (stored === "f16" && target === "wasm")) return undefined;
  return NARROW_DTYPES.find((dtype) => dtype === stored);
}

interface NarrowType extends TensorType {
  readonly dtype: NarrowDtype;
}

/** A stored tensor on a device, in its own dtype. Throws `InvalidTensorError` for numbers that are not finite. */
export function narrowTensor(device: Device, source: SourceTensor, type: NarrowType, verify: boolean): DeviceTensor {
  const stored = source.bytes();
  if (verify) requireFiniteStored(source, type.dtype, stored);
  const tensor = device.tensor(type);
  repack(stored, type, tensor.bytes());
  return tensor;
}

/** The same in memory of its own. Throws `InvalidTensorError`. */
export function narrowBytes(source: SourceTensor, type: NarrowType): Uint8Array<ArrayBuffer> {
  const stored = source.bytes();
  requireFiniteStored(source, type.dtype, stored);
  const bytes = new Uint8Array(storageBytes(type));
  repack(stored, type, bytes);
  return bytes;
}

function repack(stored: Uint8Array, type: NarrowType, bytes: Uint8Array): void {
  if (isBlocked(type.dtype)) repackBlocks(type, type.dtype, stored, bytes);
  else bytes.set(stored);
}

/** The bits of an exponent that is not finite: all that a cell of 16 bits has for it. */
const EXPONENTS: Readonly<Record<HalfDtype, number>> = { bf16: 0x7f80, f16: 0x7c00 };

/** Looks at every cell, or at the float16 numbers of every block. Throws `InvalidTensorError`. */
function requireFiniteStored({ name, shape }: SourceTensor, dtype: NarrowDtype, stored: Uint8Array): void {
  const { sizeBytes, halves } = isBlocked(dtype) ? fileBlock(dtype) : { sizeBytes: 2, halves: [0] };
  const exponent = EXPONENTS[isBlocked(dtype) ? "f16" : dtype];
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  for (let at = 0; at < stored.length; at += sizeBytes) {
    for (const half of halves) {
      const bits = view.getUint16(at + half, true);
      if ((bits & exponent) !== exponent) continue;
      throw new InvalidTensorError(`tensor "${name}" holds a value that is not finite`, {
        where: `${isBlocked(dtype) ? "a scale of block" : "element"} ${at / sizeBytes} of shape [${shape.join(", ")}]`,
        expected: "finite numbers",
        got: `the bits 0x${bits.toString(16)} of ${dtype}`,
        hint: "the file is damaged or its training diverged; fetch it again",
      });
    }
  }
}

/** float32 tensors of the same numbers for those that are of blocks, by path. Frees all of them if anything throws. */
export function expandBlocks(device: Device, parameters: DeviceParameters): Map<string, DeviceTensor> {
  const blocked = [...parameters].filter(([, { type }]) => isBlocked(type.dtype));
  const types = blocked.map(([path, { type }]) => [path, { dtype: "f32", shape: type.shape }] as const);
  return createParameters(device, Object.fromEntries(types), (tensor, path) => {
    const stored = parameters.get(path)!;
    tensor.f32().set(hostValues(decodeTensor(stored.type, stored.bytes())));
  });
}
