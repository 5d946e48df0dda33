// A container file that is opened in place: the pages of the tensors that are wanted are mapped into the arena, and
// nothing is copied. Tensors that lie near each other share a mapping; what older versions left between them is not
// mapped. An open container shows one version for as long as it is open, whatever is appended to the file or put in its
// place; `refresh` opens the version that is the newest now. Left out: sharing mappings between versions.

import { fstatSync, statSync } from "node:fs";

import type { SharedArena } from "../arena.ts";
import { crc32c } from "../crc32c.ts";
import { toFileError } from "../file.node.ts";
import { mapDescriptor, readInto, withFile } from "../map.node.ts";
import type { HowMapped, MappedFile } from "../map.node.ts";
import type { Region } from "../region.ts";
import { checkTensor, headerPlan, runPlan, versionsPlan } from "./container.ts";
import type { ByteRange, ContainerHeader, ReadPlan } from "./container.ts";
import { bringIn } from "../memory/present.node.ts";
import { ContainerError, InvalidContainerError } from "./errors.ts";
import type { TensorEntry } from "./schema.ts";
import type { ReadOptions } from "./source.ts";

// Larger gaps between tensors are left out of the arena. A mapping rounds up to pages of 64 KiB on both sides, so with
// this the mappings of a file never take more than the whole file would, but for 2 MiB with each large one.
const GAP_BYTES_MAX = 2 ** 17;
const VERIFY_BYTES = 2 ** 24;

/** How to open a container file. */
export interface OpenContainerOptions {
  /**
   * When checksums are verified, which reads every byte once: all on opening (true, the default), each tensor when it
   * is first asked for ("lazy"), or when `verify` is called (false).
   */
  readonly verify?: boolean | "lazy";
  /** "read" copies on purpose. Default "mapped", where it can be had. */
  readonly how?: HowMapped;
  /** Default: the newest. */
  readonly version?: number;
  /** Only these components are mapped; `tensor` refuses others. Default: all. */
  readonly components?: readonly string[];
}

/** One version of a container, its tensors in the arena's memory. Dispose it before the arena. */
export class OpenContainer implements Disposable {
  readonly path: string;
  readonly header: ContainerHeader;
  readonly #arena: SharedArena;
  readonly #identity: string;
  readonly #options: OpenContainerOptions;
  readonly #runs: readonly Run[];
  readonly #regions: ReadonlyMap<string, Region<"mapped", "r">>;
  readonly #entries: ReadonlyMap<string, TensorEntry>;
  readonly #verified = new Set<string>();

  private constructor(
    path: string,
    arena: SharedArena,
    identity: string,
    header: ContainerHeader,
    options: OpenContainerOptions,
    runs: readonly Run[],
  ) {
    this.path = path;
    this.header = header;
    this.#arena = arena;
    this.#identity = identity;
    this.#options = options;
    this.#runs = runs;
    this.#entries = new Map(runs.flatMap(({ entries }) => entries).map((entry) => [entry.name, entry]));
    const regions = runs.flatMap(({ file, offset, entries }) =>
      entries.map((entry) => [entry.name, file.region.sub(entry.offset - offset, entry.sizeBytes)] as const),
    );
    this.#regions = new Map(regions);
  }

  /** Maps a file that is open; see `openContainer`. */
  static open(path: string, arena: SharedArena, options: OpenContainerOptions): OpenContainer {
    return withFile(path, (descriptor, fileSizeBytes) => {
      const header = runPlan(headerPlan(fileSizeBytes, options.version), readFrom(path, descriptor));
      const runs: Run[] = [];
      try {
        for (const range of runsOf(wantedEntries(header, options.components))) {
          const part = { offset: range.offset, sizeBytes: range.sizeBytes, how: options.how };
          runs.push({ ...range, file: mapDescriptor(path, descriptor, fileSizeBytes, arena, part) });
        }
        const container = new OpenContainer(path, arena, identityOf(descriptor), header, options, runs);
        if (options.verify ?? true) if (options.verify !== "lazy") container.verify();
        return container;
      } catch (error) {
        for (const { file } of runs) file[Symbol.dispose]();
        throw error;
      }
    });
  }

  /** How the tensors came into memory: "read" where any of them was. */
  get how(): HowMapped {
    return this.reason === undefined ? "mapped" : "read";
  }

  /** Why tensors were read and not mapped. */
  get reason(): string | undefined {
    return this.#runs.find(({ file, sizeBytes }) => sizeBytes > 0 && file.how === "read")?.file.reason;
  }

  /**
   * The bytes of a tensor, in place. Throws `InvalidContainerError` where no tensor of that name is open, and with
   * `verify: "lazy"` `ChecksumError`.
   */
  tensor(name: string): Region<"mapped", "r"> {
    const region = this.#regions.get(name);
    if (region === undefined) {
      throw new InvalidContainerError("a tensor is missing", { expected: `tensor "${name}"` }).inFile(this.path);
    }
    if (this.#options.verify === "lazy") this.verify({ names: [name] });
    return region;
  }

  /** Brings the tensors' pages in at once where the system can, so that nothing waits for them one by one later. */
  bringIn(): void {
    for (const { file } of this.#runs) if (file.how === "mapped") bringIn(file.region);
  }

  /**
   * Compares the checksums of the open tensors, or of some, that were not compared before. Throws `ChecksumError` for
   * the first that is damaged, and the signal's reason.
   */
  verify(options: ReadOptions & { readonly names?: readonly string[] } = {}): void {
    const { names = this.#entries.keys(), signal, onProgress } = options;
    const entries = [...names].filter((name) => !this.#verified.has(name)).map((name) => this.#entry(name));
    const totalBytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let doneBytes = 0;
    for (const entry of entries) {
      const bytes = this.#regions.get(entry.name)!.u8();
      let checksum = 0;
      for (let at = 0; at < bytes.length; at += VERIFY_BYTES) {
        signal?.throwIfAborted();
        const piece = bytes.subarray(at, at + VERIFY_BYTES);
        checksum = crc32c(piece, checksum);
        doneBytes += piece.length;
        onProgress?.(doneBytes, totalBytes);
      }
      inFile(this.path, () => checkTensor(entry, checksum));
      this.#verified.add(entry.name);
    }
  }

  /**
   * Opens the newest version of the file as it is now, with the same options where no others are given; undefined where
   * this is the newest. This container stays as it is: dispose it when nobody reads it any more. `changedComponents`
   * tells what to swap, and `components` maps no more than that.
   */
  refresh(options: OpenContainerOptions = {}): OpenContainer | undefined {
    const next = { ...this.#options, version: undefined, ...options };
    const seen = withFile(this.path, (descriptor, fileSizeBytes) => {
      const { version } = runPlan(headerPlan(fileSizeBytes), readFrom(this.path, descriptor));
      return { version, identity: identityOf(descriptor) };
    });
    if (seen.version === this.header.version && seen.identity === this.#identity) return undefined;
    return OpenContainer.open(this.path, this.#arena, next);
  }

  #entry(name: string): TensorEntry {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    throw new InvalidContainerError("a tensor is missing", { expected: `tensor "${name}"` }).inFile(this.path);
  }

  [Symbol.dispose](): void {
    for (const { file } of this.#runs) file[Symbol.dispose]();
  }
}

/**
 * Opens a container file with its tensors in place. Throws subclasses of `ContainerError`, `FileError`, and
 * `OutOfMemoryError` where the arena is small.
 */
export function openContainer(path: string, arena: SharedArena, options: OpenContainerOptions = {}): OpenContainer {
  return OpenContainer.open(path, arena, options);
}

/**
 * The header of a container file, of the newest version or another, checked; tensors are neither read nor mapped.
 * Throws subclasses of `ContainerError` and `FileError`.
 */
export function readContainerHeader(path: string, version?: number): ContainerHeader {
  return readWith(path, (fileSizeBytes) => headerPlan(fileSizeBytes, version));
}

/** The headers of all versions in a container file, oldest first. Throws as `readContainerHeader` does. */
export function readContainerVersions(path: string): readonly ContainerHeader[] {
  return readWith(path, versionsPlan);
}

function readWith<T>(path: string, plan: (fileSizeBytes: number) => ReadPlan<T>): T {
  return withFile(path, (descriptor, fileSizeBytes) => runPlan(plan(fileSizeBytes), readFrom(path, descriptor)));
}

/** Reads ranges of a file that is open. */
export function readFrom(path: string, descriptor: number): (range: ByteRange) => Uint8Array {
  return ({ offset, sizeBytes }) => {
    const bytes = new Uint8Array(sizeBytes);
    readInto(path, descriptor, bytes, offset);
    return bytes;
  };
}

/** Tells one file from another that was put in its place. */
export function identityOf(file: number | string): string {
  try {
    const { dev, ino } = typeof file === "number" ? fstatSync(file) : statSync(file);
    return `${dev}:${ino}`;
  } catch (error) {
    throw toFileError(error, "read", String(file));
  }
}

interface TensorRun extends ByteRange {
  readonly entries: readonly TensorEntry[];
}

interface Run extends TensorRun {
  readonly file: MappedFile;
}

function wantedEntries(header: ContainerHeader, components: readonly string[] | undefined): readonly TensorEntry[] {
  if (components === undefined) return header.tensors;
  const missing = components.find((id) => !header.components.some((component) => component.id === id));
  if (missing !== undefined) {
    throw new InvalidContainerError("a component is missing", { expected: `component "${missing}"` });
  }
  return header.tensors.filter(({ component }) => components.includes(component));
}

function runsOf(entries: readonly TensorEntry[]): TensorRun[] {
  const runs: { offset: number; sizeBytes: number; entries: TensorEntry[] }[] = [];
  for (const entry of entries.toSorted((a, b) => a.offset - b.offset)) {
    const last = runs.at(-1);
    if (last === undefined || entry.offset - last.offset - last.sizeBytes > GAP_BYTES_MAX) {
      runs.push({ offset: entry.offset, sizeBytes: entry.sizeBytes, entries: [entry] });
    } else {
      last.sizeBytes = Math.max(last.sizeBytes, entry.offset + entry.sizeBytes - last.offset);
      last.entries.push(entry);
    }
  }
  return runs;
}

function inFile(path: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    throw error instanceof ContainerError && error.path === undefined ? error.inFile(path) : error;
  }
}
