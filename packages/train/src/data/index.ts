// Training data: files to text, text to tokens, tokens to batches.

export { Batches, splitTokens } from "./batches.ts";
export type { BatchOptions } from "./batches.ts";
export { TextCorpus } from "./corpus.ts";
export type { CorpusOptions, TokenArray, TokenData } from "./corpus.ts";
export { defaultCorpus } from "./default-corpus.ts";
export { BinaryDataError, CorpusTooShortError, DataError, DataSettingError, EmptyTextError } from "./errors.ts";
export { NoMatchError, NoSuchFileError, TooManyFilesError, UnreadableFileError } from "./errors.ts";
export { defaultExtensions, findTextFiles } from "./find-files.ts";
export type { CorpusFile } from "./find-files.ts";
export { readText } from "./read-text.ts";
