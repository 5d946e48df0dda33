// The formats room: model files of other programs, each seen as one lazy `TensorSource`.

export {
  FileSizeError,
  FormatError,
  InvalidHeaderError,
  InvalidTensorError,
  UnsupportedFormatError,
} from "./errors.ts";
export { MoreBytesNeeded } from "./byte-cursor.ts";
export { assertFinite, decodeTensorValues, findTensor, float32Values } from "./tensor-source.ts";
export type { PartialFile, PlainValue, SourceTensor, TensorSource, TensorToWrite } from "./tensor-source.ts";
export { blockOf, decodeValues, encodeValues, SOURCE_DTYPES, tensorSizeBytes } from "./quants/table.ts";
export type { SourceDtype } from "./quants/table.ts";
export { ggufPieces, readGguf, writeGguf } from "./gguf.ts";
export type { GgufInput, GgufSource } from "./gguf.ts";
export { joinGguf, splitOf } from "./gguf-split.ts";
export type { GgufSplit } from "./gguf-split.ts";
export { GGUF_LIMITS, GGUF_VALUE_TYPES, ggufArray } from "./gguf-values.ts";
export type { GgufArray, GgufElement, GgufScalar, GgufScalarType, GgufValue, GgufValueType } from "./gguf-values.ts";
export {
  joinSafetensors,
  readSafetensors,
  readSafetensorsIndex,
  SAFETENSORS_HEADER_BYTES_MAX,
  safetensorsPieces,
} from "./safetensors.ts";
export type { SafetensorsInput, SafetensorsSource } from "./safetensors.ts";
export { llama2cFileSizeBytes, readLlama2c, readLlama2cHeader, writeLlama2c } from "./llama2c.ts";
export type { Llama2cConfig, Llama2cHeader, Llama2cSource } from "./llama2c.ts";
export { configMetadata, ggufMetadata } from "./source-metadata.ts";
export type { SourceMetadata } from "./source-metadata.ts";
export { containerSource } from "./container-source.ts";
export type { ContainerSource } from "./container-source.ts";
export { convertTensor } from "./convert.ts";
export type { ConvertOptions } from "./convert.ts";
export { detectFormat } from "./detect.ts";
export type { DetectedFormat } from "./detect.ts";
