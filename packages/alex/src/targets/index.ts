// What every target gives: the seam between the compiler and the machines that it makes code for. The table of targets
// is index.node.ts, since all but wasm need Node. One more kind of machine (WGSL for WebGPU, AMD's GPUs through MLIR's
// rocdl dialect, Verilog) is a folder beside these and a row there: it prints programs of the loop IR, says what
// generators may know of it, and makes a device.

import type { Device, Program, VectorTarget } from "@fidelity/core";

/** A kind of machine that programs are compiled for. `Options` are those of its devices. */
export interface Target<Options, Made extends Device = Device> {
  readonly name: string;
  /** What it makes, and what runs that, in a line. */
  readonly summary: string;
  /** Why it cannot be used on this machine, or undefined when it can. */
  whyNot(): string | undefined;
  /** What kernel generators know of this machine. Throws what `device` throws. */
  vectors(): VectorTarget;
  /** A program's code, as a device would load it: it must be lowered for `vectors()`. */
  compile(program: Program): Promise<Uint8Array>;
  /** Throws by name what is missing. */
  device(options: Options): Made;
}
