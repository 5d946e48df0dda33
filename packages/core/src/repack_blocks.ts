// The blocks of a GGUF file, brought into the storage of tensors of blocks (storage.ts): 16 rows at a time, four codes
// of a row in a word. The blocks are those of ggml-common.h in ggml-org/llama.cpp; no number changes.

import { invariant } from "@fidelity/units";
import type { BlockDtype } from "./dtype.ts";
import type { TensorType } from "./graph.ts";
import type { BlockLayout } from "./storage.ts";
import { BAND_ROWS, blockLayout, GROUP_COLUMNS, LINE_BYTES } from "./storage.ts";

/** One row's numbers of a record: codes, four to a word and the centre added, float16 bits, and 8-bit parts. */
interface RowOfRecord {
  readonly words: Int32Array;
  /** The scale of each block of the record, then, in K blocks, the number of the minima. */
  readonly halves: Uint16Array;
  readonly scaleParts: Uint8Array;
  readonly minimumParts: Uint8Array;
}

/** How a file has a block: bytes, and what they hold, for the block of this number within a record. */
interface FileBlock {
  readonly sizeBytes: number;
  /** Where its float16 numbers are. */
  readonly halves: readonly number[];
  read(file: DataView, at: number, row: RowOfRecord, block: number): void;
}

const [ONES, TWOS, FOURS] = [0x01010101, 0x03030303, 0x0f0f0f0f];

/** How GGUF files store each dtype. */
const FILE_BLOCKS: Readonly<Record<BlockDtype, FileBlock>> = {
  q8_0: {
    sizeBytes: 34,
    halves: [0],
    read(file, at, { words, halves }, block) {
      halves[block] = file.getUint16(at, true);
      for (let i = 0; i < 8; i++) words[8 * block + i] = file.getInt32(at + 2 + 4 * i, true) ^ 0x80808080;
    },
  },
  q4_0: {
    sizeBytes: 18,
    halves: [0],
    read(file, at, { words, halves }, block) {
      halves[block] = file.getUint16(at, true);
      for (let i = 0; i < 4; i++) {
        const pairs = file.getInt32(at + 2 + 4 * i, true);
        words[8 * block + i] = pairs & FOURS;
        words[8 * block + 4 + i] = (pairs >>> 4) & FOURS;
      }
    },
  },
  q4_k: { sizeBytes: 144, halves: [0, 2], read: (file, at, row) => readMinimaBlock(file, at, row, at + 16) },
  q5_k: {
    sizeBytes: 176,
    halves: [0, 2],
    read(file, at, row) {
      readMinimaBlock(file, at, row, at + 48);
      for (let i = 0; i < 8; i++) {
        const fifths = file.getInt32(at + 16 + 4 * i, true);
        for (let run = 0; run < 8; run++) row.words[8 * run + i] |= ((fifths >>> run) & ONES) << 4;
      }
    },
  },
  q6_k: {
    sizeBytes: 210,
    halves: [208],
    read(file, at, { words, halves, scaleParts }) {
      halves[0] = file.getUint16(at + 208, true);
      for (let i = 0; i < 16; i++) scaleParts[i] = file.getUint8(at + 192 + i);
      for (let half = 0; half < 2; half++) {
        for (let i = 0; i < 8; i++) {
          const first = file.getInt32(at + 64 * half + 4 * i, true);
          const second = file.getInt32(at + 64 * half + 32 + 4 * i, true);
          const high = file.getInt32(at + 128 + 32 * half + 4 * i, true);
          const to = 32 * half + i;
          words[to] = (first & FOURS) | ((high & TWOS) << 4);
          words[to + 8] = (second & FOURS) | (((high >>> 2) & TWOS) << 4);
          words[to + 16] = ((first >>> 4) & FOURS) | (((high >>> 4) & TWOS) << 4);
          words[to + 24] = ((second >>> 4) & FOURS) | (((high >>> 6) & TWOS) << 4);
        }
      }
    },
  },
};

/** What q4_k and q5_k share: two float16 numbers, 12 bytes with 8 scales and minima of 6 bits, and 4 bits of codes. */
function readMinimaBlock(file: DataView, at: number, row: RowOfRecord, codesAt: number): void {
  const { words, halves, scaleParts, minimumParts } = row;
  halves[0] = file.getUint16(at, true);
  halves[1] = file.getUint16(at + 2, true);
  for (let i = 0; i < 4; i++) {
    const a = file.getUint8(at + 4 + i);
    const b = file.getUint8(at + 8 + i);
    const c = file.getUint8(at + 12 + i);
    scaleParts[i] = a & 63;
    minimumParts[i] = b & 63;
    scaleParts[i + 4] = (c & 15) | ((a >> 6) << 4);
    minimumParts[i + 4] = (c >> 4) | ((b >> 6) << 4);
  }
  for (let run = 0; run < 4; run++) {
    for (let i = 0; i < 8; i++) {
      const pairs = file.getInt32(codesAt + 32 * run + 4 * i, true);
      words[16 * run + i] = pairs & FOURS;
      words[16 * run + 8 + i] = (pairs >>> 4) & FOURS;
    }
  }
}

/**
 * Writes the blocks of a GGUF tensor, `file`, in the storage of a tensor of whole blocks, `bytes`. No number changes.
 */
export function repackBlocks({ shape }: TensorType, dtype: BlockDtype, file: Uint8Array, bytes: Uint8Array): void {
  const layout = blockLayout(shape, dtype);
  const { rows, blocks, columns, blockColumns, records, recordBytes, recordColumns, scaleColumns } = layout;
  const { sizeBytes, read } = FILE_BLOCKS[dtype];
  const whole = columns % blockColumns === 0 && file.length === rows * blocks * sizeBytes;
  invariant(whole && bytes.length >= layout.sizeBytes, "repackBlocks: not the blocks of this tensor");
  bytes.fill(0, 0, layout.sizeBytes);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const to = new DataView(bytes.buffer, bytes.byteOffset, layout.sizeBytes);
  const row: RowOfRecord = {
    words: new Int32Array(recordColumns / 4),
    halves: new Uint16Array(2),
    scaleParts: new Uint8Array(recordColumns / scaleColumns),
    minimumParts: new Uint8Array(recordColumns / scaleColumns),
  };
  const perRecord = recordColumns / blockColumns;
  for (let number = 0; number < rows; number++) {
    const lane = number % BAND_ROWS;
    const band = ((number - lane) / BAND_ROWS) * layout.bandBytes;
    for (let record = 0; record < records; record++) {
      const count = Math.min(perRecord, blocks - record * perRecord);
      for (let block = 0; block < count; block++) {
        read(view, (number * blocks + record * perRecord + block) * sizeBytes, row, block);
      }
      const groups = (count * blockColumns) / GROUP_COLUMNS;
      writeRow(layout, row, { to, at: band + record * recordBytes, lane, blocks: count, groups });
    }
  }
}

/** Where a row of a record goes, and how much of it there is. */
interface RowPlace {
  readonly to: DataView;
  readonly at: number;
  readonly lane: number;
  readonly blocks: number;
  readonly groups: number;
}

function writeRow(layout: BlockLayout, row: RowOfRecord, { to, at, lane, blocks, groups }: RowPlace): void {
  const { nested, minima, scalePartsOffset, minimumPartsOffset, codesOffset, groupBytes, planes } = layout;
  const halves = nested ? (minima ? 2 : 1) : blocks;
  for (let i = 0; i < halves; i++) to.setUint16(at + (i * BAND_ROWS + lane) * 2, row.halves[i], true);
  if (nested) {
    for (let i = 0; i < row.scaleParts.length; i++) {
      to.setUint8(at + scalePartsOffset + i * BAND_ROWS + lane, row.scaleParts[i]);
      if (minima) to.setUint8(at + minimumPartsOffset + i * BAND_ROWS + lane, row.minimumParts[i]);
    }
  }
  for (let group = 0; group < groups; group++) {
    let line = at + codesOffset + group * groupBytes + lane * 4;
    let place = 0;
    for (let plane = 0; plane < planes.length; plane++) {
      writePlane(row.words, 8 * group, planes[plane], place, to, line);
      line += planes[plane] * LINE_BYTES;
      place += planes[plane];
    }
  }
}

/** Writes the bits from `place` on of a group's eight words of codes to the lines of their plane. */
function writePlane(words: Int32Array, first: number, bits: number, place: number, to: DataView, line: number): void {
  if (bits === 4) {
    // Most of all weights.
    for (let l = 0; l < 4; l++) {
      const [low, high] = [words[first + 2 * l] & FOURS, words[first + 2 * l + 1] & FOURS];
      to.setInt32(line + l * LINE_BYTES, low | (high << 4), true);
    }
    return;
  }
  const [mask, perLine] = [ONES * ((1 << bits) - 1), 8 / bits];
  for (let l = 0; l < bits; l++) {
    let joined = 0;
    for (let i = 0; i < perLine; i++) joined |= ((words[first + l * perLine + i] >>> place) & mask) << (bits * i);
    to.setInt32(line + l * LINE_BYTES, joined, true);
  }
}

/** Bytes of a block in a GGUF file, and where in it its float16 numbers are. */
export function fileBlock(dtype: BlockDtype): { readonly sizeBytes: number; readonly halves: readonly number[] } {
  return FILE_BLOCKS[dtype];
}
