// What the native target cannot do.

import { FidelityError } from "@fidelity/units";

/** A program uses what the native target does not have. */
export class NativeTargetError extends FidelityError {}
