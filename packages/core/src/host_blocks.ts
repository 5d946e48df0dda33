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

/** Writes codes and scales to `bytes`, which has `storageBytes` of the type. */
export function encodeBlocks({ type, data, scales }: HostTensor, dtype: BlockDtype, bytes: Uint8Array): void {
  const layout = blockLayout(type.shape, dtype);
  const { rows, columns, rowBytes, blockBytes } = layout;
  bytes.fill(0, 0, layout.sizeBytes);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      const within = column % BLOCK_COLUMNS;
      const block = row * rowBytes + ((column - within) / BLOCK_COLUMNS) * blockBytes;
      if (dtype === "q8_0") bytes[block + within] = data[i];
      else bytes[block + (within % HALF)] |= (data[i] & 15) << (within < HALF ? 0 : 4);
    }
  }
  scaleCells(layout, bytes).set(scales!);
}

export function decodeBlocks(type: TensorType, dtype: BlockDtype, bytes: Uint8Array): HostTensor {
  const layout = blockLayout(type.shape, dtype);
  const { rows, columns, rowBytes, blockBytes } = layout;
  const data = new Float64Array(rows * columns);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      const within = column % BLOCK_COLUMNS;
      const block = row * rowBytes + ((column - within) / BLOCK_COLUMNS) * blockBytes;
      const byte = bytes[block + (dtype === "q8_0" ? within : within % HALF)];
      data[i] = dtype === "q8_0" ? (byte << 24) >> 24 : (byte << (within < HALF ? 28 : 24)) >> 28;
    }
  }
  return { type, data, scales: Float64Array.from(scaleCells(layout, bytes)) };
}

/** Codes times scales. */
export function blockValues({ type, data, scales }: HostTensor, dtype: BlockDtype): Float64Array {
  const { rows, columns, blocks } = blockLayout(type.shape, dtype);
  const values = new Float64Array(data.length);
  for (let block = 0; block < rows * blocks; block++) {
    const first = (block % blocks) * BLOCK_COLUMNS;
    const row = Math.floor(block / blocks) * columns;
    const end = row + Math.min(columns, first + BLOCK_COLUMNS);
    for (let i = row + first; i < end; i++) values[i] = data[i] * scales![block];
  }
  return values;
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
