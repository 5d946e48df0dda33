// Weights of other programs' files that stay as they are stored: bf16, f16, q8_0 and q4_0, where all that reads a
// matrix takes them. Half to a seventh of the memory of float32, and as much less to read for each token.

import { isBlocked, repackBlocks, storageBytes } from "@fidelity/core";
import type { Device, DeviceTensor, TensorType } from "@fidelity/core";
import { InvalidTensorError } from "@fidelity/formats";
import type { SourceTensor } from "@fidelity/formats";
import { NARROW_DTYPES } from "@fidelity/models";
import type { NarrowDtype, ParameterSpec } from "@fidelity/models";

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

/** Cells, or the scales of blocks: their distance in bytes, and the bits of an exponent, all set if not finite. */
const CELLS: Readonly<Record<NarrowDtype, { readonly bytes: number; readonly exponent: number }>> = {
  bf16: { bytes: 2, exponent: 0x7f80 },
  f16: { bytes: 2, exponent: 0x7c00 },
  q8_0: { bytes: 34, exponent: 0x7c00 },
  q4_0: { bytes: 18, exponent: 0x7c00 },
};

function requireFiniteStored({ name, shape }: SourceTensor, dtype: NarrowDtype, stored: Uint8Array): void {
  const { bytes, exponent } = CELLS[dtype];
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  for (let at = 0; at < stored.length; at += bytes) {
    if ((view.getUint16(at, true) & exponent) !== exponent) continue;
    throw new InvalidTensorError(`tensor "${name}" holds a value that is not finite`, {
      where: `${isBlocked(dtype) ? "the scale of block" : "element"} ${at / bytes} of shape [${shape.join(", ")}]`,
      expected: "finite numbers",
      got: `the bits 0x${view.getUint16(at, true).toString(16)} of ${dtype}`,
      hint: "the file is damaged or its training diverged; fetch it again",
    });
  }
}
