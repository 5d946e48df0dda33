// Tensors of a GPU: host memory that is pinned and mapped, so that the device reads and writes it in place and the
// views that a tensor hands out stay what they are, with nothing to be copied forth and back and no way to see an old
// value. The price is that every access of a kernel to a tensor crosses the bus; intermediate values and constants lie
// on the device. Tensors that stay there, with explicit transfers, are the next step for models with many weights.

import { formatType, storageBytes } from "@fidelity/core";
import type { DeviceTensor, TensorType } from "@fidelity/core";
import { BindError } from "../../runtime/errors.ts";
import type { MappedMemory } from "./driver.node.ts";

/** A tensor that a GPU and the host share. */
export class CudaTensor implements DeviceTensor {
  readonly type: TensorType;
  readonly memory: MappedMemory;
  /** Whose memory it is: its own, or that of the tensor that it is a view of. */
  readonly owner: CudaTensor;
  readonly #release: ((tensor: CudaTensor) => void) | undefined;
  #isAlive = true;

  /** `release` is called by the first `free()`; a view of `owner` has none. */
  constructor(type: TensorType, memory: MappedMemory, release?: (tensor: CudaTensor) => void, owner?: CudaTensor) {
    this.type = type;
    this.memory = memory;
    this.owner = owner ?? this;
    this.#release = release;
  }

  get isAlive(): boolean {
    return this.owner.#isAlive;
  }

  /** Throws `BindError` when the tensor was freed; so do the other views. */
  bytes(): Uint8Array {
    return this.#view().subarray(0, storageBytes(this.type));
  }

  f32(): Float32Array {
    const { buffer, byteLength } = this.bytes();
    return new Float32Array(buffer, 0, byteLength / 4);
  }

  i32(): Int32Array {
    const { buffer, byteLength } = this.bytes();
    return new Int32Array(buffer, 0, byteLength / 4);
  }

  /** Throws `BindError` when the type needs more bytes than there are. */
  view(type: TensorType): CudaTensor {
    const [expected, got] = [storageBytes(this.type), storageBytes(type)];
    if (got <= expected) return new CudaTensor(type, this.memory, undefined, this.owner);
    throw new BindError("a view is larger than its tensor", { expected: `at most ${expected} bytes`, got: `${got}` });
  }

  free(): void {
    if (!this.#isAlive || this.#release === undefined) return;
    this.#isAlive = false;
    this.#release(this);
  }

  #view(): Uint8Array {
    if (this.isAlive) return this.memory.bytes;
    throw new BindError("a tensor was used after it was freed", { where: formatType(this.type) });
  }
}
