// Matrix registers (AMX) must be asked for, once a process and before its threads use them: Linux keeps 8 KiB more for
// each thread that does. See Documentation/arch/x86/xstate.rst of the kernel.

import { loadFfi } from "@fidelity/barewire/node";

const ARCH_PRCTL = 158n;
const ARCH_REQ_XCOMP_PERM = 0x1023n;
const XFEATURE_XTILE_DATA = 18n;

let permission: boolean | undefined;

/** Asks the system for matrix registers; gives whether this process has them now. Never throws. */
export function requestMatrixRegisters(): boolean {
  permission ??= request();
  return permission;
}

function request(): boolean {
  const { ffi } = loadFfi();
  if (ffi === undefined || process.platform !== "linux" || process.arch !== "x64") return false;
  try {
    const word = "uint64";
    const { functions } = ffi.dlopen(null, { syscall: { arguments: [word, word, word], return: "int64" } });
    return functions.syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA) === 0n;
  } catch {
    return false;
  }
}
