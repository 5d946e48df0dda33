// Ownership of GPU buffers in types. WebGPU moves a buffer between the device and the host: mapped, the CPU alone may
// touch it; unmapped, the GPU alone. `GpuRegion<"gpu">` has no bytes, `GpuRegion<"cpu">` has them, and each move gives
// a new value and ends the old one, so that reading on the CPU what the GPU owns does not compile, and holding on to an
// old value throws. No bytes are copied by a move. Left out: devices and queues; any buffer with WebGPU's mapping will
// do.

import { addr, bytes as sizeOf, FidelityError } from "@fidelity/units";
import type { Bytes } from "@fidelity/units";

import { Region } from "../region.ts";
import type { Access, Lifetime } from "../region.ts";
import { recordCopy } from "./copies.ts";

/** Who may touch the bytes of a GPU buffer. */
export type Owner = "cpu" | "gpu";

/** The part of WebGPU's `GPUBuffer` that moves ownership. */
export interface MappableBuffer {
  readonly size: number;
  mapAsync(mode: number, offset?: number, size?: number): Promise<unknown>;
  getMappedRange(offset?: number, size?: number): ArrayBuffer;
  unmap(): void;
}

/** WebGPU's GPUMapMode. */
const MAP_READ = 1;
const MAP_WRITE = 2;

/** A GPU buffer was used by the one who does not own it. */
export class OwnershipError extends FidelityError {}

interface Mapped<A extends Access> {
  readonly region: Region<"mapped", A>;
  readonly lifetime: Lifetime;
}

/** A GPU buffer, owned by `O`. While the CPU owns it, `A` is what it may do. */
export class GpuRegion<O extends Owner, A extends Access = Access> {
  readonly space = "gpu";
  readonly owner: O;
  readonly sizeBytes: Bytes;
  readonly #buffer: MappableBuffer;
  readonly #mapped: Mapped<A> | undefined;
  #hasMoved = false;

  private constructor(owner: O, buffer: MappableBuffer, mapped: Mapped<A> | undefined) {
    this.owner = owner;
    this.#buffer = buffer;
    this.#mapped = mapped;
    this.sizeBytes = sizeOf(buffer.size);
  }

  /** A buffer that the GPU owns: unmapped. */
  static of(buffer: MappableBuffer): GpuRegion<"gpu"> {
    return new GpuRegion<"gpu">("gpu", buffer, undefined);
  }

  /** A buffer that was made with `mappedAtCreation`: the CPU owns it and may write. */
  static mappedAtCreation(buffer: MappableBuffer): GpuRegion<"cpu", "rw"> {
    return new GpuRegion("cpu", buffer, map(buffer, "rw"));
  }

  /** The bytes, where they are mapped. A region of what the GPU owns does not compile. */
  bytes(this: GpuRegion<"cpu", A>): Region<"mapped", A> {
    this.#requireHere();
    return this.#mapped!.region;
  }

  /** Moves ownership to the CPU; waits for the work of the GPU on the buffer. This value must not be used any more. */
  async toCpu<W extends Access>(this: GpuRegion<"gpu">, access: W): Promise<GpuRegion<"cpu", W>> {
    this.#leave();
    await this.#buffer.mapAsync(access === "rw" ? MAP_WRITE : MAP_READ);
    return new GpuRegion<"cpu", W>("cpu", this.#buffer, map(this.#buffer, access));
  }

  /** Moves ownership to the GPU. This value and the regions of its bytes must not be used any more. */
  toGpu(this: GpuRegion<"cpu", A>): GpuRegion<"gpu"> {
    this.#leave();
    this.#mapped!.lifetime.isAlive = false;
    this.#buffer.unmap();
    return new GpuRegion<"gpu">("gpu", this.#buffer, undefined);
  }

  /** Records that a queue copied bytes between this buffer and a space of the host; WebGPU does not tell. */
  recordTransfer(direction: "to-gpu" | "from-gpu", sizeBytes: number, label: string): void {
    const [from, to] = direction === "to-gpu" ? (["cpu", "gpu"] as const) : (["gpu", "cpu"] as const);
    recordCopy({ from, to, sizeBytes, label });
  }

  #leave(): void {
    this.#requireHere();
    this.#hasMoved = true;
  }

  #requireHere(): void {
    if (!this.#hasMoved) return;
    throw new OwnershipError("a GPU buffer was used after its ownership had moved on", {
      where: `buffer of ${this.sizeBytes} bytes, owned by the ${this.owner} before`,
      hint: "use the value that toCpu or toGpu gave",
    });
  }
}

function map<A extends Access>(buffer: MappableBuffer, access: A): Mapped<A> {
  const range = buffer.getMappedRange();
  const lifetime: Lifetime = { isAlive: true };
  const source = new Uint8Array(range);
  return { region: new Region(source, "mapped", access, addr(0), sizeOf(range.byteLength), lifetime), lifetime };
}
