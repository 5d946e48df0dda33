// What opens and saves model files on disk. The models themselves, and errors, are in `@fidelity/run`.

export { aboutContainer, aboutModel } from "./about.node.ts";
export type { AboutModel, VocabularyInfo } from "./about.node.ts";
export type { CardValue, ModelCard } from "./card.ts";
export { loadedDtype } from "./foreign-parameters.ts";
export type { ImportProgress } from "./foreign-parameters.ts";
export { isHuggingFaceModel, openForeignModel } from "./foreign-file.node.ts";
export { openValues } from "./convert/values.node.ts";
export type { StoredParameter, StoredValues } from "./convert/values.node.ts";
export { CONVERT_FORMATS, convertModel } from "./convert/convert.node.ts";
export type { ConvertedTensor, ConvertFormat, ConvertOptions, ConvertReport } from "./convert/convert.node.ts";
export { chatTemplateOf } from "./chat-template.node.ts";
export { describeFit, memoryFit, requireRoomFor } from "./memory-fit.ts";
export type { MemoryFit, StateTensor } from "./memory-fit.ts";
export { describeModel, fidelityInfo, OpenModel, openModel, saveModel } from "./model-file.node.ts";
export type { ModelInfo, OpenModelOptions, SaveModelInput, TensorInfo } from "./model-file.node.ts";
export { languageModelOf, open } from "./open.node.ts";
export type { OpenOptions } from "./open.node.ts";
export { copyTensor, withContainer } from "./parameter-file.node.ts";
export { componentsOf, OPTIMIZER_PREFIX, tensorInput } from "./stored-model.ts";
export { versions } from "./versions.node.ts";
export type { Versions } from "./versions.node.ts";
export { Hub } from "./hub/hub.node.ts";
export type { HubFile } from "./hub/hub.node.ts";
export { ModelStore, storeFolder } from "./hub/model-store.node.ts";
export type { StoredModel } from "./hub/model-store.node.ts";
export { pullModel } from "./hub/pull.node.ts";
export type { PullOptions, PullProgress } from "./hub/pull.node.ts";
