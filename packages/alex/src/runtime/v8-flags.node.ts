// The engine's settings for compiled programs, in one place. They hold for the whole process, so they are set once,
// before the first program is compiled, and FIDELITY_V8_FLAGS=off leaves the engine as it is.

import v8 from "node:v8";

const FLAGS: readonly string[] = [];

let areSet = false;

/** Sets the flags unless they were set before or the environment says no. */
export function setEngineFlags(): void {
  if (areSet || process.env.FIDELITY_V8_FLAGS === "off") return;
  areSet = true;
  for (const flag of FLAGS) v8.setFlagsFromString(flag);
}
