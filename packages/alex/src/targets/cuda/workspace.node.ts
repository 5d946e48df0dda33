// Memory on the GPU that programs of a device share, since they run one after the other: intermediate values, and the
// scratch memory of threads. It grows with the programs that are loaded.

import type { CudaDriver } from "./driver.node.ts";

interface Piece {
  readonly address: bigint;
  readonly sizeBytes: number;
}

const NONE: Piece = { address: 0n, sizeBytes: 0 };

/** The arena and the scratch memory of a device. */
export class Workspace {
  readonly #driver: CudaDriver;
  #arena = NONE;
  #scratch = NONE;
  /** Counts changes of the addresses. */
  #generation = 0;

  constructor(driver: CudaDriver) {
    this.#driver = driver;
  }

  get arenaAddress(): bigint {
    return this.#arena.address;
  }

  get scratchAddress(): bigint {
    return this.#scratch.address;
  }

  /** Another number than before when addresses have changed. */
  get generation(): number {
    return this.#generation;
  }

  /** Makes room for a program, when nothing runs: what was in there is gone. Throws `CudaError`. */
  reserve(arenaBytes: number, scratchBytes: number): void {
    this.#arena = this.#grown(this.#arena, arenaBytes);
    this.#scratch = this.#grown(this.#scratch, scratchBytes);
  }

  free(): void {
    for (const { address } of [this.#arena, this.#scratch]) if (address !== 0n) this.#driver.free(address);
    this.#arena = NONE;
    this.#scratch = NONE;
  }

  #grown(piece: Piece, sizeBytes: number): Piece {
    if (sizeBytes <= piece.sizeBytes) return piece;
    this.#driver.synchronize();
    const larger = { address: this.#driver.allocate(sizeBytes), sizeBytes };
    if (piece.address !== 0n) this.#driver.free(piece.address);
    this.#generation++;
    return larger;
  }
}
