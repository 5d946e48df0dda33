// What can be wrong with a message of GradBench; each is told to the evaluator in the answer, and ends nothing.

import { FidelityError } from "@fidelity/units";

/** A line is no message of the protocol. */
export class GradBenchMessageError extends FidelityError {}

/** An evaluation's input is not what its description asks for. */
export class GradBenchInputError extends FidelityError {}
