// What can be wrong with a model file as a whole; its bytes are the business of `barewire` and `formats`.

import { FidelityError } from "@fidelity/units";

/** A file that should be a model or a checkpoint is a container of another kind, or lacks what it needs. */
export class ModelFileError extends FidelityError {}

/** A model is larger than the memory that it would lie in. */
export class OutOfRoomError extends FidelityError {}
