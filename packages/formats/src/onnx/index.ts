// The ONNX door of the formats room: models as functions of tensors, from ONNX files and to them.

export { ONNX_LIMITS } from "./model.ts";
export type { OnnxAttribute, OnnxModel, OnnxNode, OnnxValueInfo } from "./model.ts";
export { OnnxNodeError } from "./node-context.ts";
export { readOnnx } from "./read.ts";
export { onnxFunction } from "./function.ts";
export type { OnnxFunction } from "./function.ts";
export { exportOnnx } from "./export.ts";
export type { OnnxExport } from "./export.ts";
export { writeOnnx } from "./write.ts";
export type { AttributeToWrite, NodeToWrite, OnnxToWrite } from "./write.ts";
