// What can go wrong with shared memory by name.

import { FidelityError } from "@fidelity/units";

/** The root of what shared memory raises on purpose. `segment` is the name that was asked for. */
export class SharedMemoryError extends FidelityError {
  readonly segment: string;

  constructor(
    segment: string,
    summary: string,
    details: { expected?: string; got?: string; hint?: string; cause?: unknown },
  ) {
    super(summary, { where: `shared memory "${segment}"`, ...details });
    this.segment = segment;
  }
}

/** There is a segment of this name, and someone alive uses it. */
export class SharedMemoryExistsError extends SharedMemoryError {}

/** There is no segment of this name, or everyone who used it is gone. */
export class SharedMemoryMissingError extends SharedMemoryError {}

/** The segment is smaller than what is needed. */
export class SharedMemoryTooSmallError extends SharedMemoryError {}

/** Something of this name is there that this package did not make. */
export class NotSharedMemoryError extends SharedMemoryError {}

/** The segment was made by another version of this package. */
export class SharedMemoryVersionError extends SharedMemoryError {}

/** The system does not let this user have the segment. */
export class SharedMemoryPermissionError extends SharedMemoryError {}

/** The system has no memory left for the segment, or the segment has no room for another user. */
export class SharedMemoryFullError extends SharedMemoryError {}

/** This system or this Node cannot share memory by name. */
export class SharedMemoryUnsupportedError extends SharedMemoryError {}
