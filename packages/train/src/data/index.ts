// Training data: files to text, text to tokens, tokens to batches; and tasks, whose batches are made.

export { Batches, splitTokens } from "./batches.ts";
export type { BatchOptions } from "./batches.ts";
export { TextCorpus } from "./corpus.ts";
export type { CorpusOptions, TokenArray, TokenData } from "./corpus.ts";
export { defaultCorpus } from "./default-corpus.ts";
export { BinaryDataError, CorpusTooShortError, DataError, DataSettingError, EmptyTextError } from "./errors.ts";
export { NoMatchError, NoSuchFileError, TooManyFilesError, UnreadableFileError } from "./errors.ts";
export { defaultExtensions, findTextFiles } from "./find-files.ts";
export type { CorpusFile } from "./find-files.ts";
export { mqarTask, symbolTokenizer } from "./mqar.ts";
export type { MqarOptions } from "./mqar.ts";
export { QuestionError, readQuestions } from "./questions.ts";
export type { Question } from "./questions.ts";
export { readText } from "./read-text.ts";
export { batchesOf, isTask } from "./task.ts";
export type { BatchSource, SequenceTask, TrainingData } from "./task.ts";
