// What can be wrong with a model file that somebody else wrote. Each error names the file, what the bytes say and what
// they should say, so that the command line can print it as it stands.

import { FidelityError } from "@fidelity/units";

/** Any problem with a model file's bytes or with a request to write one. */
export class FormatError extends FidelityError {}

/** The header cannot belong to a model: a field is absurd, or fields contradict each other. */
export class InvalidHeaderError extends FormatError {}

/** The header is sound and the file is shorter or longer than the tensors that it announces. */
export class FileSizeError extends FormatError {}

/** A tensor is missing, has the wrong number of elements, or holds NaN or an infinity. */
export class InvalidTensorError extends FormatError {}

/** The file is sound, as far as one can see, and of a version or with a type that is not read. */
export class UnsupportedFormatError extends FormatError {}
