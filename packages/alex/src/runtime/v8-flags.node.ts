// The engine's settings for compiled programs, in one place. They hold for the whole process and for modules compiled
// after they were set; FIDELITY_V8_FLAGS=off leaves the engine as it is.
//
// Set: revectorize, which makes one 256-bit operation of two neighbouring 128-bit ones where the machine has AVX2. One
// thread of an EPYC, best of 40: matrix products 34 -> 97 GFLOP/s; softmax, silu and vector times matrix the same.
// It is experimental in V8, so the wasm target's tests compare results with it and without.
//
// Not set: `--no-liftoff`, alone or with `--no-wasm-dynamic-tiering`, stops the process in V8 14 (a check on inlining
// feedback fails) unless inlining is off, too; then the steady state is the same and the first run no faster. An
// eager tier-up (`--no-wasm-dynamic-tiering`) and a smaller tiering budget change nothing that could be measured, and
// with `--no-wasm-lazy-compilation` Node does not wait for WebAssembly.compile.

import v8 from "node:v8";

const FLAGS: readonly string[] = ["--experimental-wasm-revectorize"];

let areSet = false;

/** Sets the flags unless they were set before or the environment says no; gives whether they are set. */
export function setEngineFlags(): boolean {
  if (areSet || process.env.FIDELITY_V8_FLAGS === "off") return areSet;
  areSet = true;
  for (const flag of FLAGS) v8.setFlagsFromString(flag);
  return areSet;
}
