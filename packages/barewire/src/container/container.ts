// The model container: one file that holds a model's configuration and its tensors, laid out so that it can be mapped
// into memory and used in place, and so that a new version of some tensors can be put behind the old ones while others
// read. Format 2, little-endian throughout:
//
//   offset 0    64 bytes  root slot A
//   4096        64 bytes  root slot B
//   8192        ...       headers and tensors, each at a multiple of 64 bytes, zeros between them
//
//   A root slot is     8 bytes   magic "FIDELITY"
//                8     u32       format version, 2
//               12     u32       CRC-32C of the 48 bytes that follow
//               16     36 bytes  BARE: version u64, header's offset u64 and size u64, its CRC-32C u32, end u64
//               52     ...       zeros
//   A header is BARE by the schema in schema.ts: metadata, configuration, components, where each tensor lies and its
//   CRC-32C, and where the header of the version before lies.
//
// The slot with the higher version counts; a slot that is empty or torn does not. A new version is appended thus: its
// tensors and its header are written behind the end of the newest version and synced, and then the slot that is not the
// newest's is overwritten. Bytes that a version refers to are never changed, so whoever reads an old version goes on,
// and a crash at any moment leaves either the old root or the new one. The slots have a page each, so that a page that
// is lost takes one root with it. What lies behind the end of the newest version is an append that did not finish.
//
// Format 1 had one header behind a prefix of 24 bytes, tensors from the next multiple of 4096 on, and nothing behind
// them. It is read, and shows as version 1.
//
// A reader believes nothing: sizes, ranges, overlaps and names are checked before anything is allocated by them. The
// idea of a header and aligned, mappable tensors is GGUF's and safetensors', two roots in turn are LMDB's meta pages
// (Chu, 2011) and the copy-on-write of file systems before it. Left out: compression, and freeing space in place
// (compaction writes a new file).

import * as bare from "../bare.ts";
import { BareError } from "../bare-io.ts";
import { crc32c } from "../crc32c.ts";
import { copyBytes } from "../region.ts";
import type { ReadonlyBytes } from "../region.ts";
import { CONTAINER_LIMITS, TENSOR_ALIGN_BYTES, checkEntries, checkRanges } from "./check.ts";
import {
  ChecksumError,
  InvalidContainerError,
  MissingVersionError,
  NewerContainerError,
  NotAContainerError,
  TruncatedContainerError,
} from "./errors.ts";
import { decodeHeader, rootSchema } from "./schema.ts";
import type { HeaderContents, TensorEntry, VersionRoot } from "./schema.ts";

export const CONTAINER_FORMAT_VERSION = 2;

/** Each root slot has a page of its own. */
export const CONTAINER_PAGE_BYTES = 4096;

/** Size of a root slot. */
export const CONTAINER_ROOT_BYTES = 64;

/** Headers and tensors lie from here on. */
export const CONTAINER_START_BYTES = 2 * CONTAINER_PAGE_BYTES;

const MAGIC = new TextEncoder().encode("FIDELITY");
const ROOT_CONTENTS_OFFSET = 16;
const ROOT_CONTENTS_BYTES = 36;
const PREFIX_1_BYTES = 24; // of format 1

/** All that one version of a container says about itself. */
export interface ContainerHeader extends HeaderContents {
  readonly formatVersion: number;
  /** From 1 on; each append adds one. */
  readonly version: number;
  /** Where this header lies, and where its version ends. */
  readonly root: VersionRoot;
  /** The size that the file must have at least. */
  readonly fileSizeBytes: number;
}

/** A part of a file. */
export interface ByteRange {
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * A piece of reading that does not care where bytes come from: it yields a range and is given its bytes, at once from a
 * file or later from a network.
 */
export type ReadPlan<T> = Generator<ByteRange, T, ReadonlyBytes>;

/** Carries out a plan with bytes that are at hand. */
export function runPlan<T>(plan: ReadPlan<T>, read: (range: ByteRange) => ReadonlyBytes): T {
  let step = plan.next();
  while (step.done !== true) step = plan.next(read(step.value));
  return step.value;
}

/** Carries out a plan with bytes that come later. */
export async function runPlanAsync<T>(
  plan: ReadPlan<T>,
  read: (range: ByteRange) => Promise<ReadonlyBytes>,
): Promise<T> {
  let step = plan.next();
  while (step.done !== true) step = plan.next(await read(step.value));
  return step.value;
}

/** How many bytes from the start of a file `readHeader` needs, told from its first 8192 (or all, if it is shorter). */
export function headerEndBytes(start: ReadonlyBytes, fileSizeBytes: number): number {
  const { headerOffset, headerBytes } = runPlan(rootPlan(fileSizeBytes), sliceOf(start)).root;
  return headerOffset + headerBytes;
}

/**
 * Reads and checks the header of the newest version, or of another. `bytes` is a whole file, or a prefix of one that is
 * `fileSizeBytes` long. After this every entry lies inside the file, aligned and apart from all others. Tensors are not
 * read: see `verifyTensor`. Throws a subclass of `ContainerError`.
 */
export function readHeader(bytes: ReadonlyBytes, fileSizeBytes = bytes.length, version?: number): ContainerHeader {
  return runPlan(headerPlan(fileSizeBytes, version), sliceOf(bytes));
}

/** The headers of all versions in a file, oldest first. Throws a subclass of `ContainerError`. */
export function readVersions(bytes: ReadonlyBytes, fileSizeBytes = bytes.length): readonly ContainerHeader[] {
  return runPlan(versionsPlan(fileSizeBytes), sliceOf(bytes));
}

/** The bytes of one tensor of a whole container, in place. */
export function tensorBytes<T extends ReadonlyBytes>(file: T, entry: TensorEntry): ReturnType<T["subarray"]> {
  return file.subarray(entry.offset, entry.offset + entry.sizeBytes) as ReturnType<T["subarray"]>;
}

/** Throws `ChecksumError`, naming the tensor and its place, where its bytes are not those that were written. */
export function verifyTensor(file: ReadonlyBytes, entry: TensorEntry): void {
  checkTensor(entry, crc32c(tensorBytes(file, entry)));
}

/** Throws `ChecksumError` where `found` is not the CRC-32C of the tensor. */
export function checkTensor({ name, offset, sizeBytes, checksum }: TensorEntry, found: number): void {
  if (found !== checksum) throw new ChecksumError({ tensor: name, offset, sizeBytes }, checksum, found);
}

/** Reads a whole container: the newest header, and the checksums of all its tensors. */
export function readContainer(file: ReadonlyBytes): ContainerHeader {
  const header = readHeader(file);
  for (const entry of header.tensors) verifyTensor(file, entry);
  return header;
}

/**
 * The components that are not the same in two versions of one file: those with other tensors, or with tensors in other
 * places, so that compaction counts as a change of all. Components that came or went are among them.
 */
export function changedComponents(before: ContainerHeader, after: ContainerHeader): string[] {
  const told = (header: ContainerHeader, id: string): string => {
    const kind = header.components.find((component) => component.id === id)?.kind;
    return JSON.stringify([kind, header.tensors.filter(({ component }) => component === id)]);
  };
  const ids = new Set([...before.components, ...after.components].map(({ id }) => id));
  return [...ids].filter((id) => told(before, id) !== told(after, id));
}

/** A root slot's bytes: Uint8Array [64]. */
export function encodeRoot(root: VersionRoot): Uint8Array {
  const slot = new Uint8Array(CONTAINER_ROOT_BYTES);
  slot.set(MAGIC);
  slot.set(bare.encode(rootSchema, root), ROOT_CONTENTS_OFFSET);
  const view = new DataView(slot.buffer);
  view.setUint32(8, CONTAINER_FORMAT_VERSION, true);
  view.setUint32(12, crc32c(slot.subarray(ROOT_CONTENTS_OFFSET)), true);
  return slot;
}

/** Reads the header of the newest version, or of the given one. */
export function* headerPlan(fileSizeBytes: number, version?: number): ReadPlan<ContainerHeader> {
  const { formatVersion, root } = yield* rootPlan(fileSizeBytes);
  for (let next: VersionRoot | undefined = root; next !== undefined;) {
    const header: ContainerHeader = yield* readAt(formatVersion, next, fileSizeBytes);
    if (version === undefined || header.version === version) return header;
    next = header.previous;
  }
  throw new MissingVersionError(version ?? root.version, root.version);
}

/** Reads the headers of all versions, oldest first. */
export function* versionsPlan(fileSizeBytes: number): ReadPlan<readonly ContainerHeader[]> {
  const { formatVersion, root } = yield* rootPlan(fileSizeBytes);
  const headers: ContainerHeader[] = [];
  // Each version ends before the one after it has its header, so this ends, and reads no byte twice.
  for (let next: VersionRoot | undefined = root; next !== undefined;) {
    const header: ContainerHeader = yield* readAt(formatVersion, next, fileSizeBytes);
    headers.push(header);
    next = header.previous;
    if (headers.length > CONTAINER_LIMITS.versionCountMax) {
      throw new InvalidContainerError("it has too many versions to list", {
        expected: `at most ${CONTAINER_LIMITS.versionCountMax}`,
        hint: "`compactContainer` keeps the newest only",
      });
    }
  }
  return headers.reverse();
}

interface Found {
  readonly formatVersion: 1 | 2;
  readonly root: VersionRoot;
  /** Where the root slot lies that the next version may overwrite. */
  readonly freeSlotOffset: number;
}

/** Finds the root that counts. */
export function* rootPlan(fileSizeBytes: number): ReadPlan<Found> {
  const first = copyBytes(yield { offset: 0, sizeBytes: Math.min(fileSizeBytes, CONTAINER_ROOT_BYTES) });
  const isMarked = startsWithMagic(first);
  if (isMarked) {
    const formatVersion = formatOf(first, fileSizeBytes);
    if (formatVersion === 1) return { formatVersion, root: rootOfFormat1(first, fileSizeBytes), freeSlotOffset: 0 };
  }
  const isLongEnough = fileSizeBytes >= CONTAINER_START_BYTES;
  if (isMarked && !isLongEnough) {
    throw new TruncatedContainerError("in its first bytes", CONTAINER_START_BYTES, fileSizeBytes);
  }
  const slots = [first];
  if (isLongEnough) slots.push(copyBytes(yield { offset: CONTAINER_PAGE_BYTES, sizeBytes: CONTAINER_ROOT_BYTES }));
  const [a, b] = slots.map(decodeRoot);
  const isSecond = a === undefined || (b !== undefined && b.version > a.version);
  const root = isSecond ? b : a;
  if (root === undefined) throw isMarked ? damagedRoot(first) : foreign(first);
  return { formatVersion: 2, root, freeSlotOffset: isSecond ? 0 : CONTAINER_PAGE_BYTES };
}

function startsWithMagic(first: Uint8Array): boolean {
  return first.subarray(0, MAGIC.length).every((byte, i) => byte === MAGIC[i]);
}

function foreign(first: Uint8Array): NotAContainerError {
  return new NotAContainerError("the file is not a Fidelity model container", {
    expected: 'a file that starts with "FIDELITY"',
    got: `first bytes ${[...first.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}`,
    hint: "give a model that Fidelity saved, or import the file from its own format",
  });
}

function damagedRoot(first: Uint8Array): ChecksumError {
  const part = { what: "its header's root", offset: 0, sizeBytes: CONTAINER_ROOT_BYTES };
  const expected = new DataView(first.buffer).getUint32(12, true);
  return new ChecksumError(part, expected, crc32c(first.subarray(ROOT_CONTENTS_OFFSET)));
}

function formatOf(first: Uint8Array, fileSizeBytes: number): 1 | 2 {
  if (first.length < PREFIX_1_BYTES) {
    throw new TruncatedContainerError("in its first bytes", PREFIX_1_BYTES, fileSizeBytes);
  }
  const formatVersion = new DataView(first.buffer).getUint32(8, true);
  if (formatVersion > CONTAINER_FORMAT_VERSION) throw new NewerContainerError(formatVersion, CONTAINER_FORMAT_VERSION);
  if (formatVersion === 1 || formatVersion === 2) return formatVersion;
  throw new InvalidContainerError("there is no such format version", {
    expected: `1 or ${CONTAINER_FORMAT_VERSION}`,
    got: `${formatVersion}`,
  });
}

function rootOfFormat1(first: Uint8Array, fileSizeBytes: number): VersionRoot {
  const view = new DataView(first.buffer);
  const headerBytes = Number(view.getBigUint64(16, true));
  const headerChecksum = view.getUint32(12, true);
  return { version: 1, headerOffset: PREFIX_1_BYTES, headerBytes, headerChecksum, endBytes: fileSizeBytes };
}

function decodeRoot(slot: Uint8Array): VersionRoot | undefined {
  if (slot.length < CONTAINER_ROOT_BYTES) return undefined;
  const view = new DataView(slot.buffer);
  const isWhole =
    startsWithMagic(slot) &&
    view.getUint32(8, true) === CONTAINER_FORMAT_VERSION &&
    view.getUint32(12, true) === crc32c(slot.subarray(ROOT_CONTENTS_OFFSET));
  if (!isWhole) return undefined;
  try {
    const end = ROOT_CONTENTS_OFFSET + ROOT_CONTENTS_BYTES;
    return bare.decode(rootSchema, slot.subarray(ROOT_CONTENTS_OFFSET, end));
  } catch (cause) {
    if (!(cause instanceof BareError)) throw cause;
    throw new InvalidContainerError("its root is not what the format says", { ...cause.details, cause });
  }
}

function* readAt(formatVersion: 1 | 2, root: VersionRoot, fileSizeBytes: number): ReadPlan<ContainerHeader> {
  checkRoot(formatVersion, root, fileSizeBytes);
  const { version, headerOffset, headerBytes, headerChecksum, endBytes } = root;
  // A private copy, so that another thread that writes to shared memory cannot change what was checked.
  const bytes = copyBytes(yield { offset: headerOffset, sizeBytes: headerBytes });
  const found = crc32c(bytes);
  if (found !== headerChecksum) {
    throw new ChecksumError({ offset: headerOffset, sizeBytes: headerBytes }, headerChecksum, found);
  }
  const contents = decodeHeader(bytes, formatVersion);
  const { components, tensors, previous } = contents;
  checkEntries(components, tensors);
  if (formatVersion === 1) {
    const sizeBytes = checkRanges(tensors, roundUp(headerOffset + headerBytes, CONTAINER_PAGE_BYTES));
    checkEnd1(sizeBytes, fileSizeBytes);
  } else {
    const header = { name: "its header", offset: headerOffset, sizeBytes: headerBytes };
    const sizeBytes = checkRanges(tensors, CONTAINER_START_BYTES, header);
    if (sizeBytes > endBytes) {
      throw new InvalidContainerError("a tensor lies behind the end of its version", {
        expected: `an end at ${endBytes}`,
        got: `${sizeBytes}`,
      });
    }
    if (previous !== undefined) checkPrevious(previous, root);
  }
  return { ...contents, formatVersion, version, root, fileSizeBytes: endBytes };
}

function checkRoot(formatVersion: 1 | 2, root: VersionRoot, fileSizeBytes: number): void {
  const { version, headerOffset, headerBytes, endBytes } = root;
  if (headerBytes > CONTAINER_LIMITS.headerBytesMax) {
    throw new InvalidContainerError("its header has an impossible size", {
      expected: `at most ${CONTAINER_LIMITS.headerBytesMax} bytes`,
      got: `${headerBytes}`,
    });
  }
  const headerEnd = headerOffset + headerBytes;
  if (formatVersion === 2) {
    const isPlaced = headerOffset >= CONTAINER_START_BYTES && headerOffset % TENSOR_ALIGN_BYTES === 0;
    if (!isPlaced || headerEnd > endBytes || version < 1 || version === Number.MAX_SAFE_INTEGER) {
      throw new InvalidContainerError("its header lies where it cannot", {
        expected: `a multiple of ${TENSOR_ALIGN_BYTES} from ${CONTAINER_START_BYTES} to ${endBytes}`,
        got: `offset ${headerOffset}, ${headerBytes} bytes, of version ${version}`,
      });
    }
  }
  if (fileSizeBytes < headerEnd) throw new TruncatedContainerError("in its header", headerEnd, fileSizeBytes);
  if (fileSizeBytes < endBytes) throw new TruncatedContainerError("in its tensors", endBytes, fileSizeBytes);
}

function checkPrevious(previous: VersionRoot, root: VersionRoot): void {
  if (previous.version < root.version && previous.endBytes <= root.headerOffset) return;
  throw new InvalidContainerError("the version before is not before", {
    expected: `a version below ${root.version} that ends before ${root.headerOffset}`,
    got: `version ${previous.version}, which ends at ${previous.endBytes}`,
  });
}

function checkEnd1(sizeBytes: number, fileSizeBytes: number): void {
  if (fileSizeBytes < sizeBytes) throw new TruncatedContainerError("in its tensors", sizeBytes, fileSizeBytes);
  if (fileSizeBytes > sizeBytes) {
    throw new InvalidContainerError("there are bytes after the last tensor", {
      expected: `a file of ${sizeBytes} bytes`,
      got: `${fileSizeBytes} bytes`,
    });
  }
}

function sliceOf(bytes: ReadonlyBytes): (range: ByteRange) => ReadonlyBytes {
  return ({ offset, sizeBytes }) => {
    const end = offset + sizeBytes;
    if (bytes.length < end) throw new TruncatedContainerError("in its header", end, bytes.length);
    return bytes.subarray(offset, end);
  };
}

/** The next multiple. */
export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
