// Modules of WebAssembly as programs of a thread. Members of a team load no more than what this needs.

import type { Loadable, ProgramEntry } from "./target.ts";

/** Instantiates a compiled module over the team's memory. */
export function openWasm(loadable: Loadable, memory: WebAssembly.Memory): ProgramEntry {
  if (loadable.kind !== "wasm") throw new TypeError("a native library cannot be loaded here");
  const { run } = new WebAssembly.Instance(loadable.module, { env: { memory } }).exports;
  return { run: run as ProgramEntry["run"] };
}
