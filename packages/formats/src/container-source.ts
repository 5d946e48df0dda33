// Fidelity's own container as a `TensorSource`, beside the formats of others: for whoever looks at tensors or converts
// them. Models are opened for use by mapping the container itself. Packed ternary weights are given as float32.

import { verifyTensor } from "@fidelity/barewire";
import type { ContainerHeader, TensorEntry } from "@fidelity/barewire";
import { decodeTensor, hostValues, storageBytes } from "@fidelity/core";
import { quote } from "./byte-cursor.ts";
import { InvalidTensorError, UnsupportedFormatError } from "./errors.ts";
import { SOURCE_DTYPES, tensorSizeBytes } from "./quants/table.ts";
import type { PartialFile, PlainValue, SourceTensor, TensorSource } from "./tensor-source.ts";

/** A container, one of its versions. `config` has the scalars of its metadata. */
export interface ContainerSource extends TensorSource {
  readonly format: "fidelity";
  readonly header: ContainerHeader;
}

/**
 * The tensors of a container. A tensor's checksum is verified whenever all of its bytes are asked for, with
 * `ChecksumError`. Throws `UnsupportedFormatError` for a tensor of a type that is not read, and `InvalidTensorError`
 * for one whose size is not that of its type.
 * @param header of the container, checked by its reader
 * @param read gives a range of its file
 */
export function containerSource(
  header: ContainerHeader,
  read: PartialFile["read"],
  fileName = "the container",
): ContainerSource {
  const isPlain = (pair: [string, unknown]): pair is [string, PlainValue] =>
    ["string", "number", "boolean"].includes(typeof pair[1]);
  const tensors = header.tensors.map((entry) => tensorOf(entry, read, fileName));
  return {
    format: "fidelity",
    header,
    config: Object.fromEntries(Object.entries(header.metadata).filter(isPlain)),
    tensors,
  };
}

/** Layouts of packed ternary weights, by the type of the core room that has them. */
const packedLayouts = { ternary: "ternary2x16", ternary5: "ternary5x16" } as const;

function tensorOf(entry: TensorEntry, read: PartialFile["read"], fileName: string): SourceTensor {
  const { name, dtype: stored, layout, shape, offset: byteOffset } = entry;
  const whole = (): Uint8Array => {
    const bytes = read(byteOffset, entry.sizeBytes);
    verifyTensor(bytes, { ...entry, offset: 0 });
    return bytes;
  };
  const packed = stored === "ternary" || stored === "ternary5" ? stored : undefined;
  const dtype = packed === undefined ? SOURCE_DTYPES.find((known) => known === stored) : "f32";
  if (dtype === undefined || layout !== (packed === undefined ? "dense" : packedLayouts[packed])) {
    throw new UnsupportedFormatError(`${fileName} has a tensor of a type that is not read, ${quote(name)}`, {
      where: fileName,
      expected: "a type that this room reads, dense, or packed ternary weights",
      got: `${quote(stored)}, ${quote(layout)}`,
    });
  }
  const sizeBytes = tensorSizeBytes(dtype, shape);
  const storedBytes = packed === undefined ? sizeBytes : storageBytes({ dtype: packed, shape });
  if (sizeBytes === undefined || storedBytes !== entry.sizeBytes || (packed !== undefined && shape.length > 2)) {
    throw new InvalidTensorError(`${fileName} has a tensor whose size is not that of its type, ${quote(name)}`, {
      where: fileName,
      expected: `${storedBytes ?? "a possible number of"} bytes for ${stored} [${shape.join(", ")}]`,
      got: `${entry.sizeBytes} bytes`,
    });
  }
  if (packed !== undefined) return unpacked(name, shape, byteOffset, sizeBytes, () => decode(packed, shape, whole()));
  const bytes = (start = 0, end = sizeBytes): Uint8Array =>
    end - start === sizeBytes ? whole() : read(byteOffset + start, end - start);
  return { name, dtype, shape, byteOffset, sizeBytes, bytes };
}

/** A tensor whose bytes are made at once; who reads it in parts, in order, has it made once. */
function unpacked(
  name: string,
  shape: readonly number[],
  byteOffset: number,
  sizeBytes: number,
  make: () => Uint8Array,
): SourceTensor {
  let made: Uint8Array | undefined;
  const bytes = (start = 0, end = sizeBytes): Uint8Array => {
    const all = made ?? make();
    made = end < sizeBytes ? all : undefined;
    return all.subarray(start, end);
  };
  return { name, dtype: "f32", shape, byteOffset, sizeBytes, bytes };
}

function decode(dtype: keyof typeof packedLayouts, shape: readonly number[], bytes: Uint8Array): Uint8Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Uint8Array(Float32Array.from(hostValues(decodeTensor({ dtype, shape }, aligned))).buffer);
}
