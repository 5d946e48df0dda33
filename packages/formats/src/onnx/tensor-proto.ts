// ONNX's tensors as those of a `TensorSource`. Raw data stays where it is in the file; numbers that the file lists one
// by one (float_data, int32_data, ...) are laid out as raw data would be when they are asked for.

import { TensorProto_DataLocation, TensorProto_DataType } from "onnx-buf";
import type { TensorProto } from "onnx-buf";
import { quote } from "../byte-cursor.ts";
import { InvalidTensorError, UnsupportedFormatError } from "../errors.ts";
import { tensorSizeBytes } from "../quants/table.ts";
import type { SourceDtype } from "../quants/table.ts";
import type { SourceTensor } from "../tensor-source.ts";
import { ONNX_LIMITS } from "./model.ts";

const DTYPES: Readonly<Record<number, SourceDtype>> = {
  1: "f32",
  2: "u8",
  3: "i8",
  5: "i16",
  6: "i32",
  7: "i64",
  9: "bool",
  10: "f16",
  11: "f64",
  16: "bf16",
};

/** ONNX's number for a type that it has. */
export const ONNX_TYPES: ReadonlyMap<SourceDtype, number> = new Map(
  Object.entries(DTYPES).map(([number, dtype]) => [dtype, Number(number)]),
);

/** The type with this number. Throws `UnsupportedFormatError` for one that is not read. */
export function dtypeOfOnnx(dataType: number, where: string): SourceDtype {
  if (Object.hasOwn(DTYPES, dataType)) return DTYPES[dataType];
  const name: string | undefined = TensorProto_DataType[dataType];
  throw new UnsupportedFormatError("a tensor has a type that is not read", {
    where,
    expected: [...ONNX_TYPES].map(([dtype]) => dtype).join(", "),
    got: name === undefined ? String(dataType) : `${dataType} (${name})`,
    hint: "export the model in float32 with int64 indices",
  });
}

/**
 * A tensor of the file. Throws `UnsupportedFormatError` for external data and for types that are not read, and
 * `InvalidTensorError` where its numbers do not fill its shape.
 * @param file the bytes of the whole file, of which raw data is a view
 */
export function sourceTensor(proto: TensorProto, file: Uint8Array, fileName: string): SourceTensor {
  const where = `${fileName}, tensor ${quote(proto.name)}`;
  if (proto.dataLocation === TensorProto_DataLocation.EXTERNAL || proto.externalData.length > 0) {
    const location = proto.externalData.find(({ key }) => key === "location")?.value;
    throw new UnsupportedFormatError("a tensor's numbers are in another file", {
      where,
      expected: "the numbers in the file itself",
      got: location === undefined ? "external data" : `external data in ${quote(location)}`,
      hint: "save the model as one file (onnx.save_model with save_as_external_data=False)",
    });
  }
  const dtype = dtypeOfOnnx(proto.dataType, where);
  const shape = proto.dims.map(Number);
  const sizeBytes = tensorSizeBytes(dtype, shape);
  const listed = listedBytes(proto, dtype);
  const got = listed?.sizeBytes ?? proto.rawData.length;
  const isShape = shape.length <= ONNX_LIMITS.rank && shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (!isShape || sizeBytes !== got || proto.segment !== undefined) {
    throw new InvalidTensorError("a tensor's numbers do not fill its shape", {
      where,
      expected: `${sizeBytes ?? "fewer"} bytes for ${dtype}[${shape.slice(0, ONNX_LIMITS.rank).join(", ")}]`,
      got: `${got} bytes`,
      hint: "the file is damaged: export it again",
    });
  }
  const { rawData } = proto;
  // Numbers that the file lists have no place of their own.
  const byteOffset = listed === undefined && got > 0 ? rawData.byteOffset - file.byteOffset : 0;
  const all = listed?.bytes ?? ((): Uint8Array => rawData);
  return {
    name: proto.name,
    dtype,
    shape,
    byteOffset,
    sizeBytes,
    bytes: (start, end) => all().subarray(start ?? 0, end ?? sizeBytes),
  };
}

interface Listed {
  readonly sizeBytes: number;
  bytes(): Uint8Array;
}

/** Numbers that are listed one by one; undefined where there is raw data or nothing. */
function listedBytes(proto: TensorProto, dtype: SourceDtype): Listed | undefined {
  const { floatData, doubleData, int64Data, int32Data } = proto;
  if (proto.rawData.length > 0) return undefined;
  if (dtype === "f32" && floatData.length > 0) return listed(4 * floatData.length, () => Float32Array.from(floatData));
  if (dtype === "f64" && doubleData.length > 0) {
    return listed(8 * doubleData.length, () => Float64Array.from(doubleData));
  }
  if (dtype === "i64" && int64Data.length > 0) {
    return listed(8 * int64Data.length, () => BigInt64Array.from(int64Data));
  }
  // Halves are listed as their 16 bits.
  const cells = int32Data.length > 0 ? INT32_CELLS[dtype] : undefined;
  return cells && listed(cells.BYTES_PER_ELEMENT * int32Data.length, () => cells.from(int32Data));
}

const INT32_CELLS: Readonly<
  Partial<Record<SourceDtype, { readonly BYTES_PER_ELEMENT: number; from(values: readonly number[]): ArrayBufferView }>>
> = {
  i32: Int32Array,
  i16: Int16Array,
  i8: Int8Array,
  u8: Uint8Array,
  bool: Uint8Array,
  f16: Uint16Array,
  bf16: Uint16Array,
};

function listed(sizeBytes: number, cells: () => ArrayBufferView): Listed {
  const bytes = (): Uint8Array => {
    const { buffer, byteOffset, byteLength } = cells();
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  return { sizeBytes, bytes };
}
