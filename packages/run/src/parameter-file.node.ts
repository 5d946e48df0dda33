// Containers with parameters on disk: model files and checkpoints.

import { statSync } from "node:fs";
import { MEMORY64_BYTES_MAX, SharedArena, WASM_PAGE_BYTES } from "@fidelity/barewire";
import { mapFile, openContainer, toFileError } from "@fidelity/barewire/node";
import type { MappedFile, OpenContainer } from "@fidelity/barewire/node";
import { formatType, storageBytes } from "@fidelity/core";
import type { DeviceTensor } from "@fidelity/core";
import { ModelFileError } from "./errors.ts";

/** The tensors of a container in memory of its own while `use` copies from them. Verifies all checksums. */
export function withContainer<T>(path: string, use: (container: OpenContainer) => T): T {
  using arena = arenaFor(path);
  using container = openContainer(path, arena);
  return use(container);
}

/** The bytes of a file in memory of its own while `use` copies from them. */
export function withMappedFile<T>(path: string, use: (file: MappedFile) => T): T {
  using arena = arenaFor(path);
  using file = mapFile(path, arena);
  return use(file);
}

/** An arena that a file can be mapped into. Throws `FileError`. */
export function arenaFor(path: string): SharedArena {
  let sizeBytes: number;
  try {
    sizeBytes = statSync(path).size;
  } catch (error) {
    throw toFileError(error, "read", path);
  }
  // A page for what comes before the first allocation, and one for the alignment of the file's; mappings of 2 MiB and
  // more take 2 MiB more of what is only addresses, to lie as they do in the file.
  const maximumBytes = Math.min(3 * (sizeBytes + WASM_PAGE_BYTES), MEMORY64_BYTES_MAX);
  return SharedArena.create({ initialBytes: 0, maximumBytes });
}

/** Copies a stored tensor to a device's. Both have the same type. */
export function copyTensor(container: OpenContainer, name: string, tensor: DeviceTensor): void {
  const source = container.tensor(name);
  const sizeBytes = storageBytes(tensor.type);
  if (source.sizeBytes !== sizeBytes) {
    throw new ModelFileError(`tensor "${name}" does not fit`, {
      where: container.path,
      expected: `${sizeBytes} bytes for ${formatType(tensor.type)}`,
      got: `${source.sizeBytes} bytes`,
    });
  }
  tensor.bytes().set(source.u8() as Uint8Array);
}
