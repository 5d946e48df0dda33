// Where compiled programs are kept between processes, so that a second start compiles nothing: neither passes nor code
// generators run, and the graph itself is the key. What stores there are is injected (program-store.node.ts); in a
// browser there is none.

import type { Recipe } from "@fidelity/core";
import type { GraphCode } from "./graph-code.ts";
import type { KeptResults, ProgramOutline } from "./outline.ts";
import type { CompiledProgram } from "./target.ts";

/** A program that can be run. */
export interface ReadyProgram {
  readonly outline: ProgramOutline;
  readonly compiled: CompiledProgram;
}

/** A program that is found without its graph, and what that would say of its results. */
export interface ProgramOfRecipe {
  readonly program: ReadyProgram;
  readonly results: KeptResults;
}

/** Programs of one target for one machine. */
export interface ProgramStore {
  /** A program that is there and whole; undefined when it has to be made. `maximumPages` as for `CpuTarget.compile`. */
  find(code: GraphCode, maximumPages: number): Promise<ReadyProgram | undefined>;
  /** Keeps a program that took `timeMs` to make. Never throws: what cannot be kept will be made again. */
  keep(code: GraphCode, maximumPages: number, program: ReadyProgram, timeMs: number): void;
  /** The program that was kept for a recipe, if its modules are still the same. */
  recall?(recipe: Recipe, maximumPages: number): Promise<ProgramOfRecipe | undefined>;
  /** Keeps a program for its recipe as well, as `keep` does. */
  remember?(recipe: Recipe, maximumPages: number, made: ProgramOfRecipe, timeMs: number): void;
}
