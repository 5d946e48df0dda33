// Types without blocks: IEEE floats, bfloat16, integers, booleans. Little-endian, as the host is. A whole tensor is
// decoded at once from an array over its bytes, which are copied first where they do not lie on a multiple of its
// width.

import type { BlockType } from "./block-type.ts";

type Floats = Float64Array | Float32Array | Float16Array;
type Integers = Int32Array | Int16Array | Int8Array | Uint8Array;

interface CellsOf<Cells> {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): Cells;
  readonly BYTES_PER_ELEMENT: number;
}

export const f64 = float("f64", Float64Array);
export const f32 = float("f32", Float32Array);
/** Rounded to nearest, ties to even. */
export const f16 = float("f16", Float16Array);

/** Rounded to nearest, ties to even; a NaN becomes quiet and keeps its upper bits. */
export const bf16: BlockType = {
  name: "bf16",
  blockElements: 1,
  blockBytes: 2,
  decode(bytes, target) {
    const cells = cellsOver(bytes, Uint16Array);
    const bits = bitsOf(target);
    for (let i = 0; i < bits.length; i++) bits[i] = cells[i] << 16;
  },
  encode(values, bytes) {
    const bits = bitsOf(values);
    for (let i = 0; i < bits.length; i++) {
      const word = bits[i];
      const isNan = (word & 0x7fffffff) > 0x7f800000;
      bytes.setUint16(2 * i, isNan ? (word >>> 16) | 64 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16, true);
    }
  },
};

export const i64: BlockType = {
  name: "i64",
  blockElements: 1,
  blockBytes: 8,
  decode(bytes, target) {
    const cells = cellsOver(bytes, BigInt64Array);
    for (let i = 0; i < target.length; i++) target[i] = Number(cells[i]);
  },
};

export const i32 = integer("i32", Int32Array);
export const i16 = integer("i16", Int16Array);
export const i8 = integer("i8", Int8Array);
export const u8 = integer("u8", Uint8Array);

/** A byte an element; any but 0 is true. */
export const bool: BlockType = {
  name: "bool",
  blockElements: 1,
  blockBytes: 1,
  decode(bytes, target) {
    for (let i = 0; i < target.length; i++) target[i] = bytes.getUint8(i) === 0 ? 0 : 1;
  },
};

function float<Cells extends Floats>(name: string, cells: CellsOf<Cells>): BlockType {
  return {
    name,
    blockElements: 1,
    blockBytes: cells.BYTES_PER_ELEMENT,
    decode: (bytes, target) => target.set(cellsOver(bytes, cells)),
    encode: (values, bytes) => cellsOver(bytes, cells).set(values),
  };
}

function integer<Cells extends Integers>(name: string, cells: CellsOf<Cells>): BlockType {
  return {
    name,
    blockElements: 1,
    blockBytes: cells.BYTES_PER_ELEMENT,
    decode: (bytes, target) => target.set(cellsOver(bytes, cells)),
  };
}

/** An array over bytes, or over a copy of them. What `encode` is given is a tensor's own memory, and never copied. */
function cellsOver<Cells>({ buffer, byteOffset, byteLength }: DataView, cells: CellsOf<Cells>): Cells {
  const count = byteLength / cells.BYTES_PER_ELEMENT;
  if (byteOffset % cells.BYTES_PER_ELEMENT === 0) return new cells(buffer, byteOffset, count);
  return new cells(buffer.slice(byteOffset, byteOffset + byteLength), 0, count);
}

function bitsOf({ buffer, byteOffset, length }: Float32Array): Int32Array {
  return new Int32Array(buffer, byteOffset, length);
}
