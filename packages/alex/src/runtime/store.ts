// Where compiled programs are kept between processes, so that a second start compiles nothing: neither passes nor code
// generators run, and the graph itself is the key. What stores there are is injected (program-store.node.ts); in a
// browser there is none.

import type { GraphCode } from "./graph-code.ts";
import type { ProgramOutline } from "./outline.ts";
import type { CompiledProgram } from "./target.ts";

/** A program that can be run. */
export interface ReadyProgram {
  readonly outline: ProgramOutline;
  readonly compiled: CompiledProgram;
}

/** Programs of one target for one machine. */
export interface ProgramStore {
  /** A program that is there and whole; undefined when it has to be made. `maximumPages` as for `CpuTarget.compile`. */
  find(code: GraphCode, maximumPages: number): Promise<ReadyProgram | undefined>;
  /** Keeps a program that took `timeMs` to make. Never throws: what cannot be kept will be made again. */
  keep(code: GraphCode, maximumPages: number, program: ReadyProgram, timeMs: number): void;
}
