// What can be wrong with the text that somebody wants to train on. Each error names the file or the pattern, and what
// to try instead.

import { FidelityError } from "@fidelity/units";

/** Any problem with training data. */
export class DataError extends FidelityError {}

/** A path that leads nowhere. */
export class NoSuchFileError extends DataError {}

/** A glob pattern, or a folder with its extensions, that matched no file. */
export class NoMatchError extends DataError {}

/** A file that exists and cannot be read: permissions, a device, a failing disk. */
export class UnreadableFileError extends DataError {}

/** The files are there and hold no text at all. */
export class EmptyTextError extends DataError {}

/** The file is not text: NUL bytes, or more than a tenth of it is invalid UTF-8. */
export class BinaryDataError extends DataError {}

/** More files than one corpus may have. */
export class TooManyFilesError extends DataError {}

/** Fewer tokens than one training window and one validation window need. */
export class CorpusTooShortError extends DataError {}

/** A batch size, a context length or a limit that is not a sensible positive integer. */
export class DataSettingError extends DataError {}

/** Throws `DataSettingError` unless `value` is an integer from 1 to `largest`. */
export function checkPositiveInteger(what: string, value: number, largest = Number.MAX_SAFE_INTEGER): void {
  if (Number.isInteger(value) && value >= 1 && value <= largest) return;
  throw new DataSettingError(`${what} cannot be ${value}`, {
    expected: `an integer from 1 to ${largest}`,
    got: String(value),
  });
}
