// What opens and saves model files on disk.

export { isHuggingFaceModel } from "./foreign-file.node.ts";
export { CONVERT_FORMATS, convertModel } from "./convert/convert.node.ts";
export type { ConvertedTensor, ConvertFormat, ConvertOptions, ConvertReport } from "./convert/convert.node.ts";
export { describeModel, OpenModel, openModel, saveModel } from "./model-file.node.ts";
export type { ModelInfo, OpenModelOptions, SaveModelInput, TensorInfo } from "./model-file.node.ts";
export { componentsOf, copyTensor, OPTIMIZER_PREFIX, tensorInput, withContainer } from "./parameter-file.node.ts";
export { versions } from "./versions.node.ts";
export type { Versions } from "./versions.node.ts";
