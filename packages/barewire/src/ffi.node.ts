// The one place that loads `node:ffi`, Node's built-in calls into native code. It is marked experimental and says so on
// standard error when it is loaded; that warning, and no other, is silenced here. Where it is missing (another runtime,
// an older Node, the permission model) callers get a reason in words and take their own way around.

import type * as ffiModule from "node:ffi";

export type Ffi = typeof ffiModule;

/** `node:ffi`, or why it cannot be had. */
export type FfiResult =
  | { readonly ffi: Ffi; readonly reason?: undefined }
  | { readonly ffi?: undefined; readonly reason: string };

/** The functions of the C library that are called, and two of `node:ffi` that go with them. */
export interface Libc {
  mmap(address: bigint, sizeBytes: bigint, protection: number, flags: number, fd: number, offset: bigint): bigint;
  munmap(address: bigint, sizeBytes: bigint): number;
  /** Gives the error's number, 0 for none. */
  posix_fallocate(fd: number, offset: bigint, sizeBytes: bigint): number;
  /** A system call of five arguments. Arguments that are all pointers make the fastest calls. */
  syscall(number: bigint, a: bigint, b: bigint, c: bigint, d: bigint, e: bigint): bigint;
  /** The memory at an address, in place. It must stay mapped until the buffer is detached. */
  toArrayBuffer(address: bigint, sizeBytes: number): ArrayBuffer;
  /** The address of bytes outside the collected heap, such as those of an `ArrayBuffer` of their own. */
  addressOf(view: NodeJS.ArrayBufferView): bigint;
}

let loaded: FfiResult | undefined;
let libc: Libc | undefined;

/** Loads `node:ffi` once. Never throws. */
export function loadFfi(): FfiResult {
  loaded ??= load();
  return loaded;
}

/** The C library of this process, or why it cannot be had. Never throws. */
export function loadLibc():
  | { readonly libc: Libc; readonly reason?: undefined }
  | { libc?: undefined; reason: string } {
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) return { reason };
  try {
    libc ??= bindLibc(ffi);
    return { libc };
  } catch (error) {
    return { reason: `the C library cannot be called: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function bindLibc(ffi: Ffi): Libc {
  const { mmap, munmap, posix_fallocate, syscall } = ffi.dlopen(null, {
    mmap: { arguments: ["pointer", "uint64", "int32", "int32", "int32", "int64"], return: "pointer" },
    munmap: { arguments: ["pointer", "uint64"], return: "int32" },
    posix_fallocate: { arguments: ["int32", "int64", "int64"], return: "int32" },
    syscall: { arguments: ["pointer", "pointer", "pointer", "pointer", "pointer", "pointer"], return: "pointer" },
  }).functions;
  return {
    mmap,
    munmap,
    posix_fallocate,
    syscall,
    toArrayBuffer: (address, sizeBytes) => ffi.toArrayBuffer(address, sizeBytes, false),
    addressOf: (view) => ffi.getRawPointer(view),
  };
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
