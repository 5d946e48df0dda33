// What goes wrong at run time, by name.

import { FidelityError } from "@fidelity/units";

/** A compiled program trapped, which is a fault in Fidelity or in a hand-written kernel. Its outputs are undefined. */
export class ProgramTrapError extends FidelityError {
  readonly program: string;
  /** The member of the team that trapped first. */
  readonly member: number;
  /** What the engine said. */
  readonly trap: string;

  constructor(program: string, member: number, members: number, trap: string) {
    super(`the program "${program}" trapped`, {
      where: `member ${member} of ${members}`,
      got: trap,
      hint: "what it wrote is undefined; the device can go on running. Compare with the interpreter, and report it",
    });
    this.program = program;
    this.member = member;
    this.trap = trap;
  }
}

/** A synchronous run was asked for while asynchronous ones were in progress on the same device. */
export class DeviceBusyError extends FidelityError {}

/** A device or an executable was used after it was closed or freed. */
export class DeviceClosedError extends FidelityError {}

/** Tensors do not fit the executable that they were bound to, or a run had no tensors. */
export class BindError extends FidelityError {}

/** Options that a device cannot have. */
export class DeviceOptionError extends FidelityError {}
