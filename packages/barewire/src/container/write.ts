// Writing a whole container front to back, for any sink: the sizes and checksums of all tensors are known before the
// first byte goes out, so the header comes before the tensors and one request fetches it over a network. Where they are
// not known, and for appending, see writer.node.ts.

import { crc32c } from "../crc32c.ts";
import { TENSOR_ALIGN_BYTES, checkEntries, checkRanges } from "./check.ts";
import { CONTAINER_PAGE_BYTES, CONTAINER_START_BYTES, encodeRoot, roundUp } from "./container.ts";
import { InvalidContainerError } from "./errors.ts";
import { encodeHeader } from "./schema.ts";
import type { ContainerComponent, HeaderContents, Metadata, TensorEntry } from "./schema.ts";

/** A tensor to write. A function as `bytes` is called twice, and must give the same bytes each time. */
export interface TensorInput {
  readonly name: string;
  readonly component: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Default "dense". */
  readonly layout?: string;
  readonly bytes: Uint8Array | (() => Uint8Array);
}

/** A model to write. `config` is anything that JSON can say. */
export interface ContainerInput {
  readonly metadata?: Metadata;
  readonly config: unknown;
  readonly components: readonly ContainerComponent[];
  readonly tensors: readonly TensorInput[];
}

/**
 * The container of a model, piece by piece, for any sink; no piece is a copy of a tensor. The first piece is made after
 * every tensor was read once for its checksum. Throws `InvalidContainerError` on a model that no reader would accept.
 */
export function* writeContainer(input: ContainerInput): Generator<Uint8Array, void, void> {
  const { metadata = {}, config, components, tensors } = input;
  const { start, entries } = layOut({ metadata, config, components, tensors: tensors.map(measure) }, 1);
  yield start;
  let position = start.length;
  for (const [i, entry] of entries.entries()) {
    if (entry.offset > position) yield new Uint8Array(entry.offset - position);
    const bytes = bytesOf(tensors[i]);
    if (bytes.length !== entry.sizeBytes) {
      throw new InvalidContainerError("a tensor changed while it was written", {
        where: `tensor "${entry.name}"`,
        expected: `${entry.sizeBytes} bytes, as before`,
        got: `${bytes.length}`,
        hint: "give the same bytes on each call",
      });
    }
    yield bytes;
    position = entry.offset + entry.sizeBytes;
  }
}

/** The container of a model as one array, for where there is no sink to stream to. */
export function containerToBytes(input: ContainerInput): Uint8Array<ArrayBuffer> {
  const pieces = [...writeContainer(input)];
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}

/** Where all parts of a container lie. */
export interface LaidOut {
  /** All before the first tensor: roots and header. */
  readonly start: Uint8Array;
  readonly entries: readonly TensorEntry[];
}

/** Gives each tensor its place behind the header; what `contents` says of places is not read. */
export function layOut(contents: Omit<HeaderContents, "previous">, version: number): LaidOut {
  const { components, tensors } = contents;
  checkEntries(components, tensors);
  // Offsets have a fixed width, so the header is as large before they are known as after.
  const headerBytes = encodeHeader({ ...contents, previous: undefined }).length;
  const headerOffset = CONTAINER_START_BYTES;
  const tensorsOffset = roundUp(headerOffset + headerBytes, CONTAINER_PAGE_BYTES);
  let position = tensorsOffset;
  const entries = tensors.map((entry) => {
    const offset = roundUp(position, TENSOR_ALIGN_BYTES);
    position = offset + entry.sizeBytes;
    return { ...entry, offset };
  });
  const endBytes = checkRanges(entries, tensorsOffset);
  const header = encodeHeader({ ...contents, tensors: entries, previous: undefined });
  const start = new Uint8Array(tensorsOffset);
  start.set(encodeRoot({ version, headerOffset, headerBytes, headerChecksum: crc32c(header), endBytes }));
  start.set(header, headerOffset);
  return { start, entries };
}

function bytesOf({ bytes }: TensorInput): Uint8Array {
  return typeof bytes === "function" ? bytes() : bytes;
}

function measure(tensor: TensorInput): TensorEntry {
  const { name, component, dtype, shape, layout = "dense" } = tensor;
  const bytes = bytesOf(tensor);
  return { name, component, dtype, shape, layout, offset: 0, sizeBytes: bytes.length, checksum: crc32c(bytes) };
}
