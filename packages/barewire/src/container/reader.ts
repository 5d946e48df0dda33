// A container read through a source of bytes, without reading all of it: the header first, then the tensors that are
// asked for. Over memory and mapped files tensors are given in place; over a network their ranges are fetched together.
// Checksums are verified when a tensor is first read. In Node, `openContainer` opens a file at once, without promises.
// Left out: keeping what was fetched.

import { crc32c } from "../crc32c.ts";
import type { ReadonlyBytes } from "../region.ts";
import { checkTensor, headerPlan, runPlanAsync, versionsPlan } from "./container.ts";
import type { ByteRange, ContainerHeader } from "./container.ts";
import { ContainerError, InvalidContainerError } from "./errors.ts";
import type { TensorEntry } from "./schema.ts";
import { checkInside, makeRoom, readRange } from "./source.ts";
import type { ByteSource, ReadOptions } from "./source.ts";

const VERIFY_BYTES = 2 ** 23;

/** How to read tensors. */
export interface TensorReadOptions extends ReadOptions {
  /** Whether checksums are compared, once a tensor. Default true. */
  readonly verify?: boolean;
  /** Where a tensor's bytes shall go, such as memory of a device; without it, in place or a new array. */
  readonly into?: (entry: TensorEntry) => Uint8Array;
}

/** One version of a container, over any source. */
export class ContainerReader {
  readonly source: ByteSource;
  readonly header: ContainerHeader;
  readonly #entries: ReadonlyMap<string, TensorEntry>;
  readonly #verified = new Set<TensorEntry>();

  private constructor(source: ByteSource, header: ContainerHeader) {
    this.source = source;
    this.header = header;
    this.#entries = new Map(header.tensors.map((entry) => [entry.name, entry]));
  }

  /**
   * Reads and checks the header of the newest version, or of another. Throws a subclass of `ContainerError`, and what
   * the source throws.
   */
  static async open(
    source: ByteSource,
    options: ReadOptions & { readonly version?: number } = {},
  ): Promise<ContainerReader> {
    const plan = headerPlan(source.sizeBytes, options.version);
    return new ContainerReader(source, await named(source, runPlanAsync(plan, rangesOf(source, options))));
  }

  /** The headers of all versions in the file, oldest first. */
  versions(options: ReadOptions = {}): Promise<readonly ContainerHeader[]> {
    return named(this.source, runPlanAsync(versionsPlan(this.source.sizeBytes), rangesOf(this.source, options)));
  }

  /** Where a tensor lies. Throws `InvalidContainerError` where the container has none of that name. */
  entry(name: string): TensorEntry {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    throw new InvalidContainerError("a tensor is missing", { expected: `tensor "${name}"` }).inFile(this.source.name);
  }

  /** The bytes of one tensor. See `read`. */
  async tensor(name: string, options: TensorReadOptions = {}): Promise<ReadonlyBytes> {
    return (await this.read([name], options)).get(name)!;
  }

  /** The bytes of all tensors of a component, by name. See `read`. */
  component(id: string, options: TensorReadOptions = {}): Promise<ReadonlyMap<string, ReadonlyBytes>> {
    const names = this.header.tensors.filter(({ component }) => component === id).map(({ name }) => name);
    return this.read(names, options);
  }

  /**
   * The bytes of tensors, by name: in place where the source has them in memory, and fetched in one go otherwise.
   * Throws `ChecksumError` where they are not those that were written, and what the source throws.
   */
  async read(names: readonly string[], options: TensorReadOptions = {}): Promise<ReadonlyMap<string, ReadonlyBytes>> {
    const entries = [...new Set(names)].map((name) => this.entry(name));
    for (const entry of entries) checkInside(this.source, entry);
    const { view } = this.source;
    const isInPlace = view !== undefined && options.into === undefined;
    const found = new Map<string, ReadonlyBytes>();
    if (isInPlace) for (const entry of entries) found.set(entry.name, view(entry));
    else {
      const targets = entries.map((entry) => ({ offset: entry.offset, into: roomFor(this.source, entry, options) }));
      await this.source.readInto(targets, options);
      for (const [i, { name }] of entries.entries()) found.set(name, targets[i].into);
    }
    if (options.verify ?? true) for (const entry of entries) this.#check(entry, found.get(entry.name)!, isInPlace);
    return found;
  }

  /**
   * Compares the checksums of tensors, of all by default, holding at most 8 MiB of them at a time. Throws
   * `ChecksumError` for the first that is damaged.
   */
  async verify(options: ReadOptions & { readonly names?: readonly string[] } = {}): Promise<void> {
    const entries = options.names?.map((name) => this.entry(name)) ?? this.header.tensors;
    const totalBytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    let doneBytes = 0;
    for (const entry of entries) {
      let checksum = 0;
      for (let at = 0; at < entry.sizeBytes;) {
        options.signal?.throwIfAborted();
        const sizeBytes = Math.min(VERIFY_BYTES, entry.sizeBytes - at);
        const piece = await readRange(
          this.source,
          { offset: entry.offset + at, sizeBytes },
          { signal: options.signal },
        );
        checksum = crc32c(piece, checksum);
        at += sizeBytes;
        doneBytes += sizeBytes;
        options.onProgress?.(doneBytes, totalBytes);
      }
      inNamed(this.source, () => checkTensor(entry, checksum));
    }
  }

  // What lies in place was verified for good; what is fetched anew must be verified anew.
  #check(entry: TensorEntry, bytes: ReadonlyBytes, isInPlace: boolean): void {
    if (this.#verified.has(entry)) return;
    inNamed(this.source, () => checkTensor(entry, crc32c(bytes)));
    if (isInPlace) this.#verified.add(entry);
  }
}

function roomFor({ name }: ByteSource, entry: TensorEntry, { into }: TensorReadOptions): Uint8Array {
  if (into === undefined) return makeRoom(name, entry.sizeBytes);
  const room = into(entry);
  if (room.length === entry.sizeBytes) return room;
  throw new InvalidContainerError("the room for a tensor has another size", {
    where: `tensor "${entry.name}"`,
    expected: `${entry.sizeBytes} bytes`,
    got: `${room.length}`,
    hint: "give room of exactly the entry's size",
  });
}

function rangesOf(source: ByteSource, options: ReadOptions): (range: ByteRange) => Promise<ReadonlyBytes> {
  return (range) => {
    checkInside(source, range);
    return readRange(source, range, { signal: options.signal });
  };
}

async function named<T>(source: ByteSource, action: Promise<T>): Promise<T> {
  try {
    return await action;
  } catch (error) {
    throw error instanceof ContainerError && error.path === undefined ? error.inFile(source.name) : error;
  }
}

function inNamed(source: ByteSource, action: () => void): void {
  try {
    action();
  } catch (error) {
    throw error instanceof ContainerError ? error.inFile(source.name) : error;
  }
}
