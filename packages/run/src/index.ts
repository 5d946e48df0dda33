// The public face of `run`: models in use, and errors. What opens files on disk is in `@fidelity/run/node`.

export { LanguageModel } from "./language-model.ts";
export type { ChatStart, LanguageModelOptions, LanguageModelParts } from "./language-model.ts";
export { openFrom } from "./open-from.ts";
export type { OpenFromOptions } from "./open-from.ts";
export { Generation } from "./generation.ts";
export type {
  ConstraintSource,
  EndedBy,
  GenerateOptions,
  GenerationResult,
  ReportedToken,
  SpeculationOptions,
  SpeculationReport,
  Timings,
  TokenReport,
  Usage,
} from "./generation-types.ts";
export { Chat } from "./chat/chat.ts";
export type { ChatSettings } from "./chat/chat.ts";
export type { Embedding, EmbedOptions } from "./embed.ts";
export type { BeamText, SearchResult, SearchTextOptions } from "./search-text.ts";
export { batchSettings } from "./batch.ts";
export { capacitiesUpTo, ModelClosedError } from "./session-pool.ts";

export { ModelFileError, OutOfRoomError } from "./errors.ts";
export { ChecksumError, HubError, ModelStoreError, TransientHubError } from "./hub/errors.ts";
export { isStoreName, parseModelName } from "./hub/model-name.ts";
export type { ModelName } from "./hub/model-name.ts";
