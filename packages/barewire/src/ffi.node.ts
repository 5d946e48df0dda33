// The one place that loads `node:ffi`, Node's built-in calls into native code. It is marked experimental and says so on
// standard error when it is loaded; that warning, and no other, is silenced here. Where it is missing (another runtime,
// an older Node, the permission model) callers get a reason in words and take their own way around.

import type * as ffiModule from "node:ffi";

export type Ffi = typeof ffiModule;

/** `node:ffi`, or why it cannot be had. */
export type FfiResult =
  | { readonly ffi: Ffi; readonly reason?: undefined }
  | { readonly ffi?: undefined; readonly reason: string };

let loaded: FfiResult | undefined;

/** Loads `node:ffi` once. Never throws. */
export function loadFfi(): FfiResult {
  loaded ??= load();
  return loaded;
}

function load(): FfiResult {
  try {
    const ffi = silencing("FFI is an experimental feature", () => process.getBuiltinModule("node:ffi"));
    if (ffi === undefined) return { reason: `node:ffi is not in this Node (${process.version})` };
    ffi.getRawPointer(new ArrayBuffer(8)); // refused at once where the permission model forbids native calls
    return { ffi };
  } catch (error) {
    return { reason: `node:ffi cannot be used: ${error instanceof Error ? error.message : String(error)}` };
  }
}

// Node gives no switch for one warning, so the emitter is replaced while the module loads, and only then.
function silencing<T>(start: string, action: () => T): T {
  const emit = process.emitWarning;
  const filtered = (warning: string | Error, ...rest: unknown[]): void => {
    const text = typeof warning === "string" ? warning : warning.message;
    if (!text.startsWith(start)) Reflect.apply(emit, process, [warning, ...rest]);
  };
  process.emitWarning = filtered;
  try {
    return action();
  } finally {
    process.emitWarning = emit;
  }
}
