// A tensor of one file made ready for another, in its own type or another, a piece at a time: so that a model of any
// size is converted in the memory of a few pieces. Leaves out: names and metadata, which are the caller's.

import { quote } from "./byte-cursor.ts";
import { InvalidTensorError } from "./errors.ts";
import { blockOf, decodeValues, encodeValues, hasTail } from "./quants/table.ts";
import type { SourceDtype } from "./quants/table.ts";
import type { SourceTensor, TensorToWrite } from "./tensor-source.ts";

/** Elements that are decoded at a time; whole blocks of every type. A longer row is taken in parts. */
const PIECE_ELEMENTS = 1 << 20;

export interface ConvertOptions {
  /** The type to write; by default the tensor's own, whose bytes are copied. */
  readonly dtype?: SourceDtype;
  /** What the tensor is called in the new file; by default as before. */
  readonly name?: string;
  /** How much each column of the last axis counts; see `encodeValues`. */
  readonly importance?: Float32Array;
}

/**
 * A tensor to write with the values of another. Writing throws what decoding and `encodeValues` throw. An I2_S tensor,
 * which has one scale for all of it, is held in memory as a whole.
 */
export function convertTensor(tensor: SourceTensor, options: ConvertOptions = {}): TensorToWrite {
  const { dtype = tensor.dtype, name = tensor.name, importance } = options;
  const { shape } = tensor;
  const pieces = (): Generator<Uint8Array> => convertedPieces(tensor, dtype, importance);
  const bytes = (): Uint8Array => {
    if (dtype === tensor.dtype) return tensor.bytes();
    return encodeValues(dtype, shape, decodeValues(tensor.dtype, shape, tensor.bytes()), importance);
  };
  return hasTail(dtype) || hasTail(tensor.dtype)
    ? { name, dtype, shape, bytes }
    : { name, dtype, shape, bytes, pieces };
}

function* convertedPieces(
  tensor: SourceTensor,
  dtype: SourceDtype,
  importance: Float32Array | undefined,
): Generator<Uint8Array> {
  const { blockElements, blockBytes } = blockOf(tensor.dtype);
  const elements = (tensor.sizeBytes / blockBytes) * blockElements;
  const columns = tensor.shape.at(-1) ?? 1;
  // Whole rows, as importance counts columns; parts of a row that is longer.
  const step = columns < PIECE_ELEMENTS ? columns * Math.floor(PIECE_ELEMENTS / columns) : PIECE_ELEMENTS;
  for (let start = 0; start < elements; start += step) {
    const count = Math.min(step, elements - start);
    const from = (start / blockElements) * blockBytes;
    const bytes = tensor.bytes(from, from + (count / blockElements) * blockBytes);
    if (dtype === tensor.dtype) {
      yield bytes;
      continue;
    }
    const width = Math.min(columns, count);
    const column = start % columns;
    if (importance !== undefined && importance.length !== columns) throw wrongImportance(tensor, importance);
    const counts = importance?.subarray(column, column + width);
    yield encodeValues(dtype, [count / width, width], decodeValues(tensor.dtype, [count], bytes), counts);
  }
}

function wrongImportance({ name, shape }: SourceTensor, importance: Float32Array): InvalidTensorError {
  return new InvalidTensorError(`the importance of ${quote(name)} does not fit it`, {
    expected: `${shape.at(-1) ?? 1} columns`,
    got: `${importance.length}`,
  });
}
