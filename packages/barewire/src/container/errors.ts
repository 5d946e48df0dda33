// The ways in which a model container can be refused, one class each, so that a program can tell a file that was cut
// short from one that was never a container.

import { FidelityError } from "@fidelity/units";
import type { ErrorDetails } from "@fidelity/units";

/** Anything that is wrong with a model container. */
export class ContainerError extends FidelityError {
  /** The file it was read from, where it was read from one. */
  path: string | undefined;

  /** Puts the file's path into the text, for readers that know it; the codec sees bytes only. */
  inFile(path: string): this {
    const { where } = this.details;
    this.path = path;
    this.message = FidelityError.format(this.summary, {
      ...this.details,
      where: where === undefined ? path : `${path}, ${where}`,
    });
    return this;
  }
}

/** The bytes do not start like a container: another kind of file. */
export class NotAContainerError extends ContainerError {}

/** The container was written by a newer Fidelity. */
export class NewerContainerError extends ContainerError {
  readonly formatVersion: number;

  constructor(formatVersion: number, knownVersion: number) {
    super("the model file has a newer format than this program reads", {
      expected: `format version ${knownVersion} or before`,
      got: `format version ${formatVersion}`,
      hint: "update Fidelity, or save the model again with this version",
    });
    this.formatVersion = formatVersion;
  }
}

/** The file ends before its contents do. */
export class TruncatedContainerError extends ContainerError {
  readonly needBytes: number;
  readonly haveBytes: number;

  constructor(what: string, needBytes: number, haveBytes: number) {
    super("the model file is truncated", {
      where: what,
      expected: `at least ${needBytes} bytes`,
      got: `${haveBytes} bytes`,
      hint: "copy or download the file again, or take the last whole checkpoint",
    });
    this.needBytes = needBytes;
    this.haveBytes = haveBytes;
  }
}

/** The part of a file that a checksum is over. */
export interface ChecksummedPart {
  /** Undefined where it is the header or a root. */
  readonly tensor?: string;
  /** What it is, for the parts that are no tensor. */
  readonly what?: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The bytes of the header or of one tensor are not those that were written. */
export class ChecksumError extends ContainerError {
  /** The tensor at fault; undefined where it is the header. */
  readonly tensor: string | undefined;
  /** Where the part starts in the file, in bytes. */
  readonly offset: number;

  constructor({ tensor, what = "its header", offset, sizeBytes }: ChecksummedPart, expected: number, got: number) {
    super("the model file is damaged: a checksum does not match", {
      where: `${tensor === undefined ? what : `tensor "${tensor}"`}, ${sizeBytes} bytes from ${offset} on`,
      expected: `CRC-32C ${hex(expected)}`,
      got: hex(got),
      hint: "copy or download the file again, or take another checkpoint",
    });
    this.tensor = tensor;
    this.offset = offset;
  }
}

/** The version that was asked for is not in the file: it never was, or compaction dropped it. */
export class MissingVersionError extends ContainerError {
  constructor(version: number, newest: number) {
    super("the model file does not hold this version", {
      expected: `version ${version}`,
      got: `versions up to ${newest}`,
      hint: "`fidelity show` lists the versions of a file; compaction drops all but the newest",
    });
  }
}

/** The file has an older format, which is read but not appended to. */
export class OldContainerError extends ContainerError {
  constructor(formatVersion: number) {
    super("the model file has an old format that cannot be appended to", {
      expected: "format version 2",
      got: `format version ${formatVersion}`,
      hint: "write it in the new format first: `compactContainer(path)`",
    });
  }
}

/** Someone else is writing to the file. */
export class ContainerBusyError extends ContainerError {
  constructor(lockPath: string, owner: string) {
    super("another writer has the model file", {
      got: owner,
      hint: `wait until it is done; if that process cannot be, remove ${lockPath}`,
    });
  }
}

/** The file was replaced or written by someone else between opening and commit. */
export class ContainerConflictError extends ContainerError {
  constructor(got: string) {
    super("the model file was changed by another program while it was appended to", {
      expected: "the file as it was when it was opened",
      got,
      hint: "nothing was committed; open the file again and repeat",
    });
  }
}

/** The contents contradict themselves or pass a limit: overlaps, repeated names, impossible sizes. */
export class InvalidContainerError extends ContainerError {
  constructor(summary: string, details: ErrorDetails = {}) {
    super(`the model container is invalid: ${summary}`, {
      hint: "the file was not written by Fidelity as it is; save or convert the model again",
      ...details,
    });
  }
}

function hex(checksum: number): string {
  return `0x${checksum.toString(16).padStart(8, "0")}`;
}
