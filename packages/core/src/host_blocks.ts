// Tensors of q8_0 and q4_0 on the host: to and from their storage (storage.ts), and from the blocks of a GGUF file, of
// which each is a float16 scale and then its codes, those of 4 bits with 8 added (ggml-common.h in ggml-org/llama.cpp).

import { invariant } from "@fidelity/units";
import type { BlockDtype } from "./dtype.ts";
import type { TensorType } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import type { BlockLayout } from "./storage.ts";
import { BLOCK_COLUMNS, blockLayout } from "./storage.ts";

const HALF = BLOCK_COLUMNS / 2;

/** The scales of a tensor of blocks, as a view of its storage. */
function scaleCells({ rows, blocks, scalesOffset }: BlockLayout, bytes: Uint8Array): Float16Array {
  return new Float16Array(bytes.buffer, bytes.byteOffset + scalesOffset, rows * blocks);
}

/** Where the code of (row, column) is. */
function codePlace(
  { rowBytes, blockBytes }: BlockLayout,
  dtype: BlockDtype,
  row: number,
  column: number,
): { readonly byte: number; readonly shift: number } {
  const within = column % BLOCK_COLUMNS;
  const block = row * rowBytes + Math.floor(column / BLOCK_COLUMNS) * blockBytes;
  if (dtype === "q8_0") return { byte: block + within, shift: 0 };
  return { byte: block + (within % HALF), shift: within < HALF ? 0 : 4 };
}

/** Writes codes and scales to `bytes`, which has `storageBytes` of the type. */
export function encodeBlocks({ type, data, scales }: HostTensor, dtype: BlockDtype, bytes: Uint8Array): void {
  const layout = blockLayout(type.shape, dtype);
  const mask = dtype === "q8_0" ? 255 : 15;
  bytes.fill(0, 0, layout.sizeBytes);
  for (let i = 0; i < data.length; i++) {
    const { byte, shift } = codePlace(layout, dtype, Math.floor(i / layout.columns), i % layout.columns);
    bytes[byte] |= (data[i] & mask) << shift;
  }
  scaleCells(layout, bytes).set(scales!);
}

export function decodeBlocks(type: TensorType, dtype: BlockDtype, bytes: Uint8Array): HostTensor {
  const layout = blockLayout(type.shape, dtype);
  const data = new Float64Array(layout.rows * layout.columns);
  for (let i = 0; i < data.length; i++) {
    const { byte, shift } = codePlace(layout, dtype, Math.floor(i / layout.columns), i % layout.columns);
    data[i] = dtype === "q8_0" ? (bytes[byte] << 24) >> 24 : (bytes[byte] << (28 - shift)) >> 28;
  }
  return { type, data, scales: Float64Array.from(scaleCells(layout, bytes)) };
}

/**
 * Writes the blocks of a GGUF tensor, `file`, in the storage of a tensor of q8_0 or q4_0 of whole blocks, `bytes`. No
 * number changes.
 */
export function repackBlocks({ shape }: TensorType, dtype: BlockDtype, file: Uint8Array, bytes: Uint8Array): void {
  const layout = blockLayout(shape, dtype);
  const { rows, blocks, blockBytes, columns } = layout;
  const fileBlockBytes = 2 + blockBytes;
  const whole = columns % BLOCK_COLUMNS === 0 && file.length === rows * blocks * fileBlockBytes;
  invariant(whole && bytes.length >= layout.sizeBytes, "repackBlocks: not the blocks of this tensor");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const scales = scaleCells(layout, bytes);
  const centre = dtype === "q8_0" ? 0 : 0x88;
  for (let block = 0, from = 0, to = 0; block < rows * blocks; block++, from += fileBlockBytes) {
    scales[block] = view.getFloat16(from, true);
    for (let i = 2; i < fileBlockBytes; i++) bytes[to++] = file[from + i] ^ centre;
  }
}
