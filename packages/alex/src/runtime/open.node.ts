// Loading compiled programs in Node: modules of WebAssembly, and shared libraries.

import { openNative } from "../targets/native/entry.node.ts";
import { openWasm } from "./open-wasm.ts";
import type { ProgramOpener } from "./target.ts";

/** Loads a program of either target. */
export const openLoadable: ProgramOpener = (loadable, memory) =>
  loadable.kind === "native" ? openNative(loadable.path, memory) : openWasm(loadable, memory);
