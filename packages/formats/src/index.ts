// The formats room: model files of other programs, each seen as one lazy `TensorSource`.

export { FileSizeError, FormatError, InvalidHeaderError, InvalidTensorError } from "./errors.ts";
export { assertFinite, findTensor, float32Values } from "./tensor-source.ts";
export type { PlainValue, SourceDtype, SourceTensor, TensorSource } from "./tensor-source.ts";
export { llama2cFileSizeBytes, readLlama2c, readLlama2cHeader, writeLlama2c } from "./llama2c.ts";
export type { Llama2cConfig, Llama2cHeader, Llama2cSource } from "./llama2c.ts";
export { detectFormat } from "./detect.ts";
export type { DetectedFormat } from "./detect.ts";
