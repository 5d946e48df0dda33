// Tensors of blocks on the host: to and from their storage (storage.ts), element by element. Files' blocks are taken
// over by repack_blocks.ts.

import type { BlockDtype } from "./dtype.ts";
import type { TensorType } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import type { BlockLayout } from "./storage.ts";
import { BAND_ROWS, blockLayout, GROUP_COLUMNS, LINE_BYTES } from "./storage.ts";

/**
 * How many numbers beside its codes a block has in `HostTensor.scales`: its scale, or, nested, the float16 number of
 * its scales, that of its minima, and the 8-bit parts of both.
 */
export function blockNumbers({ nested, minima, blockColumns, scaleColumns }: BlockLayout): number {
  return (minima ? 2 : 1) * (nested ? 1 + blockColumns / scaleColumns : 1);
}

/** Visits each plane of each code: the element, and its bits' byte, shift and mask there and place in the code. */
function visitCodes(
  { rows, columns, recordColumns, recordBytes, bandBytes, codesOffset, groupBytes, planes }: BlockLayout,
  visit: (element: number, byte: number, shift: number, mask: number, place: number) => void,
): void {
  for (let row = 0; row < rows; row++) {
    const ofRow = Math.floor(row / BAND_ROWS) * bandBytes + codesOffset + (row % BAND_ROWS) * 4;
    for (let first = 0; first < columns; first += 4) {
      const record = Math.floor(first / recordColumns) * recordBytes;
      const group = Math.floor((first % recordColumns) / GROUP_COLUMNS) * groupBytes;
      const end = Math.min(columns, first + 4);
      let [at, place] = [ofRow + record + group, 0];
      for (let plane = 0; plane < planes.length; plane++) {
        const bits = planes[plane];
        const bit = ((first % GROUP_COLUMNS) / 4) * bits;
        let byte = at + (bit >> 3) * LINE_BYTES;
        for (let column = first; column < end; column++) {
          visit(row * columns + column, byte++, bit & 7, (1 << bits) - 1, place);
        }
        at += bits * LINE_BYTES;
        place += bits;
      }
    }
  }
}

/** A number of a block as it is stored: its byte, and whether it is a float16 or a signed byte. */
interface NumberCell {
  readonly byte: number;
  readonly half: boolean;
}

/** Where the numbers of a block are, in the order of `HostTensor.scales`. */
function numberCells(layout: BlockLayout, row: number, block: number): NumberCell[] {
  const { nested, minima, blockColumns, recordColumns, scaleColumns, recordBytes, bandBytes } = layout;
  const lane = row % BAND_ROWS;
  const column = block * blockColumns;
  const record = Math.floor(row / BAND_ROWS) * bandBytes + Math.floor(column / recordColumns) * recordBytes;
  const scale = nested ? 0 : (column % recordColumns) / scaleColumns;
  const half = (offset: number): NumberCell => ({ byte: record + offset + (scale * BAND_ROWS + lane) * 2, half: true });
  const parts = (offset: number): NumberCell[] =>
    Array.from({ length: nested ? blockColumns / scaleColumns : 0 }, (_, i) => {
      return { byte: record + offset + i * BAND_ROWS + lane, half: false };
    });
  const [scales, least] = [parts(layout.scalePartsOffset), minima ? parts(layout.minimumPartsOffset) : []];
  return [half(0), ...(minima ? [half(layout.minimaOffset)] : []), ...scales, ...least];
}

/** Visits the numbers of each block, in the order of `HostTensor.scales`. */
function visitNumbers(layout: BlockLayout, visit: (cell: NumberCell, index: number) => void): void {
  let next = 0;
  for (let row = 0; row < layout.rows; row++) {
    for (let block = 0; block < layout.blocks; block++) {
      for (const cell of numberCells(layout, row, block)) visit(cell, next++);
    }
  }
}

/** Writes codes and scales to `bytes`, which has `storageBytes` of the type. */
export function encodeBlocks({ type, data, scales }: HostTensor, dtype: BlockDtype, bytes: Uint8Array): void {
  const layout = blockLayout(type.shape, dtype);
  const view = new DataView(bytes.buffer, bytes.byteOffset, layout.sizeBytes);
  bytes.fill(0, 0, layout.sizeBytes);
  visitCodes(layout, (element, byte, shift, mask, place) => {
    bytes[byte] |= (((data[element] + layout.centre) >> place) & mask) << shift;
  });
  visitNumbers(layout, ({ byte, half }, i) => {
    if (half) view.setFloat16(byte, scales![i], true);
    else view.setInt8(byte, scales![i]);
  });
}

export function decodeBlocks(type: TensorType, dtype: BlockDtype, bytes: Uint8Array): HostTensor {
  const layout = blockLayout(type.shape, dtype);
  const { rows, columns, blocks, centre } = layout;
  const view = new DataView(bytes.buffer, bytes.byteOffset, layout.sizeBytes);
  const data = new Float64Array(rows * columns).fill(-centre);
  visitCodes(layout, (element, byte, shift, mask, place) => {
    data[element] += ((bytes[byte] >> shift) & mask) << place;
  });
  const scales = new Float64Array(rows * blocks * blockNumbers(layout));
  visitNumbers(layout, ({ byte, half }, i) => {
    scales[i] = half ? view.getFloat16(byte, true) : view.getInt8(byte);
  });
  return { type, data, scales };
}

/** The real numbers that codes stand for. */
export function blockValues({ type, data, scales }: HostTensor, dtype: BlockDtype): Float64Array {
  const layout = blockLayout(type.shape, dtype);
  const { rows, columns, blocks, blockColumns, scaleColumns, nested, minima } = layout;
  const count = blockNumbers(layout);
  const parts = nested ? blockColumns / scaleColumns : 0;
  const values = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column += scaleColumns) {
      const block = (row * blocks + Math.floor(column / blockColumns)) * count;
      const part = block + (minima ? 2 : 1) + (column % blockColumns) / scaleColumns;
      const scale = nested ? scales![block] * scales![part] : scales![block];
      const minimum = minima ? scales![block + 1] * scales![part + parts] : 0;
      const end = row * columns + Math.min(columns, column + scaleColumns);
      for (let i = row * columns + column; i < end; i++) values[i] = scale * data[i] - minimum;
    }
  }
  return values;
}
