// Tensors on the host, as the reference interpreter computes with them and as users hand them in: float64 values, and
// for the packed dtypes integer codes with their scales. `encodeTensor` and `decodeTensor` convert to and from storage.

import { invariant } from "@fidelity/units";
import type { TensorType } from "./graph.ts";
import { isBlocked, isTernary } from "./dtype.ts";
import { blockNumbers, blockValues, decodeBlocks, encodeBlocks } from "./host_blocks.ts";
import {
  blockLayout,
  elementCount,
  q8Layout,
  rowCount,
  storageBytes,
  ternaryLayout,
  tritsByte,
  tritsValue,
} from "./storage.ts";

export interface HostTensor {
  readonly type: TensorType;
  /** Values in row-major order; for the packed dtypes the integer codes. */
  readonly data: Float64Array;
  /**
   * q8: one scale a row. ternary, ternary5: one scale. Dtypes of blocks: the numbers of each block, row after row
   * (`blockNumbers`). Absent otherwise.
   */
  readonly scales?: Float64Array;
}

/** A host tensor of zeros (scales of 1). */
export function zerosHost(type: TensorType): HostTensor {
  const data = new Float64Array(elementCount(type.shape));
  if (type.dtype === "q8") return { type, data, scales: new Float64Array(rowCount(type.shape)).fill(1) };
  if (isTernary(type.dtype)) return { type, data, scales: new Float64Array(1).fill(1) };
  if (isBlocked(type.dtype)) {
    const layout = blockLayout(type.shape, type.dtype);
    return { type, data, scales: new Float64Array(layout.rows * layout.blocks * blockNumbers(layout)).fill(1) };
  }
  return { type, data };
}

/** The real numbers that a host tensor stands for: codes times scales for the packed dtypes. */
export function hostValues(tensor: HostTensor): Float64Array {
  const { scales, data, type } = tensor;
  if (scales === undefined) return data;
  if (isTernary(type.dtype)) return data.map((code) => code * scales[0]!);
  if (isBlocked(type.dtype)) return blockValues(tensor, type.dtype);
  const columns = type.shape[type.shape.length - 1] ?? 1;
  return data.map((code, i) => code * scales[Math.floor(i / columns)]!);
}

/** Writes a host tensor into `bytes` (at least `storageBytes(type)`, 8-byte aligned) in its storage layout. */
export function encodeTensor(tensor: HostTensor, bytes: Uint8Array): void {
  const { type, data } = tensor;
  invariant(
    bytes.byteLength >= storageBytes(type),
    `encodeTensor: ${bytes.byteLength} bytes for ${storageBytes(type)}`,
  );
  switch (type.dtype) {
    case "q8":
      return encodeQ8(tensor, bytes);
    case "ternary":
      return encodeTernary(tensor, bytes);
    case "ternary5":
      return encodeTernary5(tensor, bytes);
    case "q8_0":
    case "q4_0":
    case "q4_k":
    case "q5_k":
    case "q6_k":
      return encodeBlocks(tensor, type.dtype, bytes);
    case "bf16":
      return cellsOf(type, bytes).set(data.map(bf16Bits));
    case "f16":
      // By way of float32, as compiled code has it in registers.
      return cellsOf(type, bytes).set(data.map(Math.fround));
    default:
      return cellsOf(type, bytes).set(data);
  }
}

/** Reads a tensor of `type` from its storage layout. */
export function decodeTensor(type: TensorType, bytes: Uint8Array): HostTensor {
  switch (type.dtype) {
    case "q8":
      return decodeQ8(type, bytes);
    case "ternary":
      return decodeTernary(type, bytes);
    case "ternary5":
      return decodeTernary5(type, bytes);
    case "q8_0":
    case "q4_0":
    case "q4_k":
    case "q5_k":
    case "q6_k":
      return decodeBlocks(type, type.dtype, bytes);
    case "bf16":
      return { type, data: Float64Array.from(cellsOf(type, bytes), bf16Value) };
    default:
      return { type, data: Float64Array.from(cellsOf(type, bytes)) };
  }
}

/** What the cells of a plain dtype are on the host; those of bf16 are bits (`bf16Value`). */
export type CellArray = Float64Array | Float32Array | Float16Array | Uint16Array | Int32Array | Int8Array;

/**
 * The cells of a plain tensor, as a view of its storage. `bytes` is at least `storageBytes(type)` and begins at a
 * multiple of the element's size.
 */
export function cellsOf(type: TensorType, bytes: Uint8Array): CellArray {
  const [{ buffer, byteOffset }, count] = [bytes, elementCount(type.shape)];
  switch (type.dtype) {
    case "f64":
      return new Float64Array(buffer, byteOffset, count);
    case "f32":
      return new Float32Array(buffer, byteOffset, count);
    case "f16":
      return new Float16Array(buffer, byteOffset, count);
    case "bf16":
      return new Uint16Array(buffer, byteOffset, count);
    case "i32":
    case "bool":
      return new Int32Array(buffer, byteOffset, count);
    case "i8":
      return new Int8Array(buffer, byteOffset, count);
    default:
      return invariant(false, `${type.dtype} is packed and has no cells`) as never;
  }
}

const scratch = new DataView(new ArrayBuffer(4));

/** The bf16 bits nearest to `value`, ties to even. */
export function bf16Bits(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The float16 nearest to `value`, ties to even, by way of float32. */
export function f16Round(value: number): number {
  return Math.f16round(Math.fround(value));
}

/** The number that bf16 `bits` stand for. */
export function bf16Value(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

function encodeQ8({ type, data, scales }: HostTensor, bytes: Uint8Array): void {
  const layout = q8Layout(type.shape);
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, layout.scalesOffset).fill(0);
  const scaleCells = new Float32Array(bytes.buffer, bytes.byteOffset + layout.scalesOffset, layout.rows);
  const sums = new Int32Array(bytes.buffer, bytes.byteOffset + layout.sumsOffset, layout.rows);
  for (let row = 0; row < layout.rows; row++) {
    let sum = 0;
    for (let column = 0; column < layout.columns; column++) {
      const code = data[row * layout.columns + column]!;
      codes[row * layout.rowBytes + column] = code;
      sum += code;
    }
    scaleCells[row] = scales![row]!;
    sums[row] = sum;
  }
}

function decodeQ8(type: TensorType, bytes: Uint8Array): HostTensor {
  const layout = q8Layout(type.shape);
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, layout.scalesOffset);
  const scales = new Float32Array(bytes.buffer, bytes.byteOffset + layout.scalesOffset, layout.rows);
  const data = new Float64Array(layout.rows * layout.columns);
  for (let row = 0; row < layout.rows; row++) {
    for (let column = 0; column < layout.columns; column++) {
      data[row * layout.columns + column] = codes[row * layout.rowBytes + column]!;
    }
  }
  return { type, data, scales: Float64Array.from(scales) };
}

/** The byte and the bit shift at which a ternary tensor keeps the weight of (row, column). */
function ternaryCell(blockBytes: number, row: number, column: number): { byte: number; shift: number } {
  const lane = (row >> 4) * blockBytes + (column >> 4) * 64 + (row & 15) * 4;
  return { byte: lane + (column & 3), shift: ((column >> 2) & 3) * 2 };
}

function encodeTernary({ type, data, scales }: HostTensor, bytes: Uint8Array): void {
  const layout = ternaryLayout(type.shape);
  // 0b01010101: weight 0 everywhere, padding included.
  bytes.fill(0x55, 0, layout.scaleOffset);
  bytes.fill(0, layout.scaleOffset, layout.sizeBytes);
  for (let row = 0; row < layout.rows; row++) {
    for (let column = 0; column < layout.columns; column++) {
      const { byte, shift } = ternaryCell(layout.blockBytes, row, column);
      const code = data[row * layout.columns + column]! + 1;
      bytes[byte] = (bytes[byte]! & ~(3 << shift)) | (code << shift);
    }
  }
  new Float32Array(bytes.buffer, bytes.byteOffset + layout.scaleOffset, 1)[0] = scales![0]!;
}

/**
 * Writes a matrix whose values are -scale, 0 and scale in the storage of a `ternary` tensor, at the speed that files of
 * 10^9 weights want. `bytes` has at least `storageBytes(type)`.
 */
export function packTernary(values: Float32Array, type: TensorType, scale: number, bytes: Uint8Array): void {
  invariant(type.dtype === "ternary" && values.length === elementCount(type.shape), "packTernary: not this matrix");
  const { rows, columns, groups, blockBytes, scaleOffset, sizeBytes } = ternaryLayout(type.shape);
  bytes.fill(0x55, 0, scaleOffset); // 0 everywhere, padding included
  bytes.fill(0, scaleOffset, sizeBytes);
  for (let row = 0; row < rows; row++) {
    const first = (row >> 4) * blockBytes + (row & 15) * 4;
    for (let group = 0; group < groups; group++) {
      const start = 16 * group;
      const end = Math.min(columns, start + 16);
      for (let j = 0; j < 4; j++) {
        let byte = 0x55;
        let shift = 0;
        for (let column = start + j; column < end; column += 4) {
          const value = values[row * columns + column]!;
          if (value > 0) byte += 1 << shift;
          else if (value < 0) byte -= 1 << shift;
          shift += 2;
        }
        bytes[first + 64 * group + j] = byte;
      }
    }
  }
  new Float32Array(bytes.buffer, bytes.byteOffset + scaleOffset, 1)[0] = scale;
}

function decodeTernary(type: TensorType, bytes: Uint8Array): HostTensor {
  const layout = ternaryLayout(type.shape);
  const data = new Float64Array(layout.rows * layout.columns);
  for (let row = 0; row < layout.rows; row++) {
    for (let column = 0; column < layout.columns; column++) {
      const { byte, shift } = ternaryCell(layout.blockBytes, row, column);
      data[row * layout.columns + column] = ((bytes[byte]! >> shift) & 3) - 1;
    }
  }
  const scale = new Float32Array(bytes.buffer, bytes.byteOffset + layout.scaleOffset, 1)[0]!;
  return { type, data, scales: Float64Array.of(scale) };
}

const POWERS_OF_3 = [1, 3, 9, 27, 81];

/** The byte at which a ternary5 tensor keeps the weight of (row, column), and its place in it. */
function ternary5Cell(blockBytes: number, row: number, column: number): { byte: number; place: number } {
  const within = column % 20;
  const lane = (row >> 4) * blockBytes + Math.floor(column / 20) * 64 + (row & 15) * 4;
  return { byte: lane + (within & 3), place: within >> 2 };
}

function encodeTernary5({ type, data, scales }: HostTensor, bytes: Uint8Array): void {
  const layout = ternaryLayout(type.shape, "ternary5");
  // As values first, 0 beyond the matrix.
  bytes.fill(0, 0, layout.sizeBytes);
  for (let row = 0; row < layout.rows; row++) {
    for (let column = 0; column < layout.columns; column++) {
      const { byte, place } = ternary5Cell(layout.blockBytes, row, column);
      bytes[byte] = bytes[byte]! + (data[row * layout.columns + column]! + 1) * POWERS_OF_3[place]!;
    }
  }
  for (let at = 0; at < layout.scaleOffset; at++) bytes[at] = tritsByte(bytes[at]!);
  new Float32Array(bytes.buffer, bytes.byteOffset + layout.scaleOffset, 1)[0] = scales![0]!;
}

function decodeTernary5(type: TensorType, bytes: Uint8Array): HostTensor {
  const layout = ternaryLayout(type.shape, "ternary5");
  const data = new Float64Array(layout.rows * layout.columns);
  for (let row = 0; row < layout.rows; row++) {
    for (let column = 0; column < layout.columns; column++) {
      const { byte, place } = ternary5Cell(layout.blockBytes, row, column);
      data[row * layout.columns + column] = (Math.floor(tritsValue(bytes[byte]!) / POWERS_OF_3[place]!) % 3) - 1;
    }
  }
  const scale = new Float32Array(bytes.buffer, bytes.byteOffset + layout.scaleOffset, 1)[0]!;
  return { type, data, scales: Float64Array.of(scale) };
}
