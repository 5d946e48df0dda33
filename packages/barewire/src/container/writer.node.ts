// Writing containers piece by piece: a new file, or a new version behind those that a file has. Tensors are streamed,
// so their sizes need not be known before and nothing is held in memory. What is written counts when `commit` returns,
// and leaves no trace when it is not called: a new file is a temporary one until then, and an append is behind the end
// of the file's newest version. container.ts tells why a crash at any moment leaves one or the other.
// Left out: several tensors written at the same time.

import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, realpathSync } from "node:fs";

import { crc32c } from "../crc32c.ts";
import { BlockWriter, FileError, Replacement, toFileError, writeAll, writeFileAtomic } from "../file.node.ts";
import { TENSOR_ALIGN_BYTES, checkEntries, checkRanges } from "./check.ts";
import {
  CONTAINER_FORMAT_VERSION,
  CONTAINER_PAGE_BYTES,
  CONTAINER_START_BYTES,
  checkTensor,
  encodeRoot,
  headerPlan,
  rootPlan,
  roundUp,
  runPlan,
} from "./container.ts";
import type { ContainerHeader } from "./container.ts";
import { ContainerConflictError, ContainerError, InvalidContainerError, OldContainerError } from "./errors.ts";
import { WriterLock } from "./lock.node.ts";
import { identityOf, readFrom } from "./open.node.ts";
import { encodeHeader } from "./schema.ts";
import type { ContainerComponent, Metadata, TensorEntry, VersionRoot } from "./schema.ts";
import type { ReadOptions } from "./source.ts";
import { layOut } from "./write.ts";
import type { ContainerInput } from "./write.ts";

const COPY_BYTES = 2 ** 23;

/** A tensor to stream. */
export interface TensorSpec {
  readonly name: string;
  readonly component: string;
  readonly dtype: string;
  /** May be left out until `end` where it is not known before. */
  readonly shape?: readonly number[];
  /** Default "dense". */
  readonly layout?: string;
  /** Where it is known, another size is refused. */
  readonly sizeBytes?: number;
}

/** What a new version has that the one before has not. */
export interface ContainerChanges extends Partial<ContainerInput> {
  /** Replaced as a whole: of the tensors that they had, only those among `tensors` stay. */
  readonly components?: readonly ContainerComponent[];
  /** Components that go, with their tensors. */
  readonly removed?: readonly string[];
}

/** One tensor that is being written. */
export interface TensorWriter {
  /** Appends bytes. Throws `FileError`, and `InvalidContainerError` beyond the size that was said. */
  readonly write: (piece: Uint8Array) => void;
  /** Completes the tensor. Throws `InvalidContainerError` where its size is not the one that was said. */
  readonly end: (shape?: readonly number[]) => TensorEntry;
}

/** What the writer of a new file and that of an append do differently. */
interface Sink {
  readonly path: string;
  readonly descriptor: number;
  readonly base: ContainerHeader | undefined;
  /** Makes the root count, when all that it refers to is written. */
  readonly commit: (root: VersionRoot) => void;
  readonly abort: () => void;
}

/** A version of a container that is being written. Dispose it: without `commit`, nothing has happened. */
export class ContainerWriter implements Disposable {
  /** To be set before `commit`; an append begins with those of the version before. */
  metadata: Metadata;
  config: unknown;
  readonly #sink: Sink;
  readonly #components: Map<string, ContainerComponent>;
  readonly #tensors: Map<string, TensorEntry>;
  readonly #blocks: BlockWriter;
  #open: TensorWriter | undefined;
  #isDone = false;

  private constructor(sink: Sink, contents: Partial<Pick<ContainerInput, "metadata" | "config">>) {
    const { base } = sink;
    this.#sink = sink;
    this.metadata = contents.metadata ?? base?.metadata ?? {};
    this.config = contents.config === undefined ? base?.config : contents.config;
    this.#components = new Map(base?.components.map((component) => [component.id, component]));
    this.#tensors = new Map(base?.tensors.map((entry) => [entry.name, entry]));
    // What is appended starts at a page, so that it can be mapped without what was there before.
    const start = roundUp(base?.root.endBytes ?? CONTAINER_START_BYTES, CONTAINER_PAGE_BYTES);
    this.#blocks = new BlockWriter(sink.descriptor, start);
  }

  /** Begins a new file, which takes the place of one that is there when it is committed. Throws `FileError`. */
  static create(path: string, contents: Pick<ContainerInput, "metadata" | "config">): ContainerWriter {
    return guarded(path, () => new ContainerWriter(newFile(path), contents));
  }

  /**
   * Begins a new version of a container that begins as a copy of the newest, which is neither moved nor changed. Throws
   * `ContainerBusyError` where another writer has the file, `OldContainerError` for format 1, other subclasses of
   * `ContainerError`, and `FileError`.
   */
  static append(path: string): ContainerWriter {
    return guarded(path, () => new ContainerWriter(appendTo(realpathSync(path)), {}));
  }

  /** The version before the one that is written; undefined for a new file. */
  get base(): ContainerHeader | undefined {
    return this.#sink.base;
  }

  /** Adds a component, or replaces one as a whole: the tensors that it had are not in the new version. */
  component({ id, kind }: ContainerComponent): void {
    this.removeComponent(id);
    this.#components.set(id, { id, kind });
  }

  /** Leaves a component and its tensors out of the new version. */
  removeComponent(id: string): void {
    this.#components.delete(id);
    for (const entry of [...this.#tensors.values()]) if (entry.component === id) this.#tensors.delete(entry.name);
  }

  /** Leaves a tensor out of the new version. */
  remove(name: string): void {
    this.#tensors.delete(name);
  }

  /** Writes a tensor, in place of the one of that name if there is one. Throws as `TensorWriter` does. */
  add(spec: TensorSpec, bytes: Uint8Array | Iterable<Uint8Array>): TensorEntry {
    const tensor = this.begin(spec);
    if (bytes instanceof Uint8Array) tensor.write(bytes);
    else for (const piece of bytes) tensor.write(piece);
    return tensor.end();
  }

  /** Writes a tensor whose bytes come over time, such as a download's. */
  async addStream(
    spec: TensorSpec,
    pieces: AsyncIterable<Uint8Array>,
    options: Pick<ReadOptions, "signal"> = {},
  ): Promise<TensorEntry> {
    const tensor = this.begin(spec);
    for await (const piece of pieces) {
      options.signal?.throwIfAborted();
      tensor.write(piece);
    }
    return tensor.end();
  }

  /** Begins a tensor; it must be ended before the next begins. */
  begin(spec: TensorSpec): TensorWriter {
    this.#requireReady();
    const offset = this.#align();
    let sizeBytes = 0;
    let checksum = 0;
    const expected = spec.sizeBytes ?? Infinity;
    const write = (piece: Uint8Array): void => {
      this.#requireOpen(tensor, spec);
      if (sizeBytes + piece.length > expected) throw wrongSize(spec, `at least ${sizeBytes + piece.length} bytes`);
      guarded(this.#sink.path, () => this.#blocks.write(piece));
      checksum = crc32c(piece, checksum);
      sizeBytes += piece.length;
    };
    const end = (shape = spec.shape): TensorEntry => {
      this.#requireOpen(tensor, spec);
      if (spec.sizeBytes !== undefined && sizeBytes !== spec.sizeBytes) throw wrongSize(spec, `${sizeBytes} bytes`);
      if (shape === undefined) {
        throw new InvalidContainerError("a tensor has no shape", { where: `tensor "${spec.name}"`, hint: HINT_SHAPE });
      }
      const { name, component, dtype, layout = "dense" } = spec;
      const entry = { name, component, dtype, shape, layout, offset, sizeBytes, checksum };
      this.#open = undefined;
      this.#tensors.set(name, entry);
      return entry;
    };
    const tensor: TensorWriter = { write, end };
    this.#open = tensor;
    return tensor;
  }

  /**
   * Makes the version count, durably, and gives its header; the writer is done. Throws `InvalidContainerError` on a
   * model that no reader would accept, `ContainerConflictError` where the file was changed by another program, and
   * `FileError`; then the file is as it was.
   */
  commit(): ContainerHeader {
    this.#requireReady();
    const { base, path } = this.#sink;
    return guarded(path, () => {
      const [components, tensors] = [[...this.#components.values()], [...this.#tensors.values()]];
      checkEntries(components, tensors);
      const { metadata, config } = this;
      const header = encodeHeader({ metadata, config, components, tensors, previous: base?.root });
      const headerOffset = this.#align();
      const endBytes = headerOffset + header.length;
      checkRanges(tensors, CONTAINER_START_BYTES, {
        name: "its header",
        offset: headerOffset,
        sizeBytes: header.length,
      });
      this.#blocks.write(header);
      this.#blocks.flush();
      const version = (base?.version ?? 0) + 1;
      const root = { version, headerOffset, headerBytes: header.length, headerChecksum: crc32c(header), endBytes };
      this.#sink.commit(root);
      this.#isDone = true;
      const contents = { metadata, config, components, tensors, previous: base?.root };
      return { ...contents, formatVersion: CONTAINER_FORMAT_VERSION, version, root, fileSizeBytes: endBytes };
    });
  }

  /** Takes back what was not committed. */
  [Symbol.dispose](): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#sink.abort();
  }

  /** Goes to where the next tensor, or the header, may begin, and gives that. */
  #align(): number {
    const blocks = this.#blocks;
    const offset = roundUp(blocks.position, TENSOR_ALIGN_BYTES);
    guarded(this.#sink.path, () => blocks.write(new Uint8Array(offset - blocks.position)));
    return offset;
  }

  #requireReady(): void {
    if (!this.#isDone && this.#open === undefined) return;
    throw new InvalidContainerError(this.#isDone ? "the writer is done" : "a tensor was begun and not ended", {
      where: this.#sink.path,
      hint: this.#isDone ? "begin another with ContainerWriter.append" : "call `end` on it first",
    });
  }

  #requireOpen(tensor: TensorWriter, { name }: TensorSpec): void {
    if (!this.#isDone && this.#open === tensor) return;
    throw new InvalidContainerError("a tensor was written to after its end", {
      where: `tensor "${name}"`,
      hint: "begin it again",
    });
  }
}

/** Appends a version in one go; see `ContainerWriter.append`. A tensor replaces the one of its name. */
export function appendContainer(path: string, changes: ContainerChanges): ContainerHeader {
  using writer = ContainerWriter.append(path);
  const { metadata, config, components = [], tensors = [], removed = [] } = changes;
  if (metadata !== undefined) writer.metadata = metadata;
  if (config !== undefined) writer.config = config;
  for (const id of removed) writer.removeComponent(id);
  for (const component of components) writer.component(component);
  for (const { bytes, ...spec } of tensors) writer.add(spec, typeof bytes === "function" ? bytes() : bytes);
  return writer.commit();
}

/**
 * Writes the newest version of a container anew, without what older versions left, and puts it in the file's place. It
 * keeps its number. Who has the old file open goes on reading that. Checksums are verified on the way; format 1 becomes
 * format 2. Throws `ContainerBusyError`, other subclasses of `ContainerError`, `FileError`, and the signal's reason.
 */
export function compactContainer(path: string, options: ReadOptions = {}): ContainerHeader {
  return guarded(path, () => {
    const target = realpathSync(path);
    const lock = WriterLock.acquire(target);
    try {
      withDescriptor(target, (descriptor) => {
        const header = newestOf(target, descriptor);
        const laidOut = layOut(header, header.version);
        writeFileAtomic(target, compacted(target, descriptor, header, laidOut, options));
      });
      return withDescriptor(target, (descriptor) => newestOf(target, descriptor));
    } finally {
      lock[Symbol.dispose]();
    }
  });
}

function withDescriptor<T>(path: string, action: (descriptor: number) => T): T {
  const descriptor = openSync(path, "r");
  try {
    return action(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function* compacted(
  path: string,
  descriptor: number,
  header: ContainerHeader,
  { start, entries }: ReturnType<typeof layOut>,
  { signal, onProgress }: ReadOptions,
): Generator<Uint8Array, void, void> {
  yield start;
  let position = start.length;
  const totalBytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let doneBytes = 0;
  const buffer = new Uint8Array(COPY_BYTES);
  for (const [i, { offset, sizeBytes }] of entries.entries()) {
    if (offset > position) yield new Uint8Array(offset - position);
    let checksum = 0;
    for (let at = 0; at < sizeBytes;) {
      signal?.throwIfAborted();
      const room = buffer.subarray(0, Math.min(COPY_BYTES, sizeBytes - at));
      const piece = room.subarray(0, readSync(descriptor, room, 0, room.length, header.tensors[i].offset + at));
      if (piece.length === 0) throw new FileError("read", path, "TRUNCATED");
      checksum = crc32c(piece, checksum);
      yield piece;
      at += piece.length;
      doneBytes += piece.length;
      onProgress?.(doneBytes, totalBytes);
    }
    checkTensor(header.tensors[i], checksum);
    position = offset + sizeBytes;
  }
}

const HINT_SHAPE = "give it to `begin` or to `end`";

function wrongSize({ name, sizeBytes }: TensorSpec, got: string): InvalidContainerError {
  return new InvalidContainerError("a tensor has another size than was said", {
    where: `tensor "${name}"`,
    expected: `${sizeBytes} bytes`,
    got,
    hint: "leave `sizeBytes` out where it is not known before",
  });
}

function newFile(path: string): Sink {
  const replacement = new Replacement(path);
  const commit = (root: VersionRoot): void => {
    writeAll(replacement.descriptor, encodeRoot(root), 0);
    replacement.commit();
  };
  return { path, descriptor: replacement.descriptor, base: undefined, commit, abort: () => replacement.abort() };
}

function appendTo(path: string): Sink {
  const lock = WriterLock.acquire(path);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "r+");
    const fd = descriptor;
    const base = newestOf(path, fd);
    if (base.formatVersion < 2) throw new OldContainerError(base.formatVersion);
    const close = (): void => {
      closeSync(fd);
      lock[Symbol.dispose]();
    };
    ftruncateSync(fd, base.root.endBytes); // an append that did not finish
    const commit = (root: VersionRoot): void => {
      fsyncSync(fd);
      const offset = requireUnchanged(path, fd, base);
      writeAll(fd, encodeRoot(root), offset);
      fsyncSync(fd);
      close();
    };
    const abort = (): void => {
      try {
        ftruncateSync(fd, base.root.endBytes);
      } finally {
        close();
      }
    };
    return { path, descriptor: fd, base, commit, abort };
  } catch (error) {
    if (descriptor !== undefined) closeSync(descriptor);
    lock[Symbol.dispose]();
    throw error;
  }
}

function newestOf(path: string, descriptor: number): ContainerHeader {
  const stats = fstatSync(descriptor);
  if (!stats.isFile()) throw new FileError("write", path, stats.isDirectory() ? "EISDIR" : "NOT_REGULAR");
  return runPlan(headerPlan(stats.size), readFrom(path, descriptor));
}

// Writers that do not know of the lock, such as one that puts another file in the place, are noticed here. Gives the
// offset of the root slot to write.
function requireUnchanged(path: string, descriptor: number, base: ContainerHeader): number {
  if (identityOf(path) !== identityOf(descriptor)) throw new ContainerConflictError("another file in its place");
  const { root, freeSlotOffset } = runPlan(rootPlan(fstatSync(descriptor).size), readFrom(path, descriptor));
  if (encodeRoot(root).join() !== encodeRoot(base.root).join()) {
    throw new ContainerConflictError(`version ${root.version} in place of ${base.version}`);
  }
  return freeSlotOffset;
}

function guarded<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof ContainerError) throw error.path === undefined ? error.inFile(path) : error;
    throw toFileError(error, "write", path);
  }
}
