// Tensors in a device's shared memory: a region and a type. The device's own come from its arena; those over a region
// that someone else holds, such as the pages of a mapped model file, are views and free nothing.

import type { Region } from "@fidelity/barewire";
import { formatType, storageBytes } from "@fidelity/core";
import type { DeviceTensor, TensorType } from "@fidelity/core";
import { BindError } from "./errors.ts";

/** A tensor that lies in a region of the device's memory. */
export class RegionTensor implements DeviceTensor {
  readonly type: TensorType;
  readonly region: Region;
  readonly #release: ((tensor: RegionTensor) => void) | undefined;

  /** `release` is called by the first `free()`; without it the tensor does not own its memory. */
  constructor(type: TensorType, region: Region, release?: (tensor: RegionTensor) => void) {
    this.type = type;
    this.region = region;
    this.#release = release;
  }

  /** The address that compiled code uses. */
  get address(): number {
    return this.region.byteOffset;
  }

  get isAlive(): boolean {
    return this.region.isAlive;
  }

  /** Throws `RegionError` when the memory was freed. The bytes of a read-only region must not be written. */
  bytes(): Uint8Array {
    return this.region.u8() as Uint8Array;
  }

  /** Throws `RegionError` when the memory was freed or is not a whole number of floats. */
  f32(): Float32Array {
    return this.region.f32() as Float32Array;
  }

  /** Throws `RegionError` when the memory was freed or is not a whole number of integers. */
  i32(): Int32Array {
    return this.region.i32() as Int32Array;
  }

  /** Throws `RegionError` when the type needs more bytes than there are. */
  view(type: TensorType): RegionTensor {
    return new RegionTensor(type, this.region.sub(0, storageBytes(type)));
  }

  free(): void {
    if (this.region.isAlive) this.#release?.(this);
  }
}

const TENSOR_ALIGN_BYTES = 64;

/** Checks that a region can be a tensor of this type in a memory. Throws `BindError`. */
export function checkTensorRegion(memory: WebAssembly.Memory, region: Region, type: TensorType): void {
  const where = `tensor ${formatType(type)} at byte ${region.byteOffset}`;
  if (region.buffer !== memory.buffer) {
    throw new BindError("a region does not lie in the device's memory", {
      where,
      hint: "map or copy the bytes into the memory of device.arena",
    });
  }
  const needBytes = storageBytes(type);
  if (region.sizeBytes < needBytes || region.byteOffset % TENSOR_ALIGN_BYTES !== 0) {
    throw new BindError("a region cannot hold the tensor", {
      where,
      expected: `${needBytes} bytes at a multiple of ${TENSOR_ALIGN_BYTES}`,
      got: `${region.sizeBytes} bytes`,
    });
  }
}
