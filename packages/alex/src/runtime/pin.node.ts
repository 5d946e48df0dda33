// Threads that stay on one processor, by Linux's sched_setaffinity through node:ffi: members of a team keep their
// caches, and a benchmark its figures. A worker thread is pinned for its life; the thread that makes a synchronous run
// is pinned for the run and has its own mask again afterwards, since what it starts (threads, processes) would inherit
// the pin.

import { loadFfi } from "@fidelity/barewire/ffi";
import { DeviceOptionError } from "./errors.ts";
import type { Pinning } from "./team.ts";

/** Numbers of sched_setaffinity and sched_getaffinity. */
const SYSTEM_CALLS: Readonly<Partial<Record<NodeJS.Architecture, readonly [set: bigint, get: bigint]>>> = {
  x64: [203n, 204n],
  arm64: [122n, 123n],
  riscv64: [122n, 123n],
};

/** As many processors as a mask of the C library has. */
const PROCESSORS_MAX = 1024;
const MASK_BYTES = PROCESSORS_MAX / 8;
const THIS_THREAD = 0n;

/** The masks of the calling thread. */
interface Affinity {
  get(mask: Mask): boolean;
  set(mask: Mask): boolean;
}

/** Processors as bits, and where they lie. */
interface Mask {
  readonly bytes: Uint8Array;
  readonly address: bigint;
}

/**
 * The pinning of a team of `threads`. `pin` is a list of processors, which is repeated where it is shorter than the
 * team, or true for all that this process may use. Throws `DeviceOptionError` for a processor that it may not use.
 */
export function planPinning(pin: boolean | readonly number[], threads: number): Pinning {
  if (pin === false) return { processors: [] };
  const affinity = loadAffinity();
  if (typeof affinity === "string") return { processors: [], reason: affinity };
  const own = newMask();
  if (!affinity.get(own)) return { processors: [], reason: "the system does not tell which processors are allowed" };
  const allowed = processorsOf(own.bytes);
  const chosen = pin === true ? allowed : pin;
  if (chosen.length === 0 || chosen.some((processor) => !allowed.includes(processor))) {
    throw new DeviceOptionError("threads cannot be pinned to these processors", {
      expected: `one or more of ${allowed.join(", ")}`,
      got: chosen.length === 0 ? "none" : chosen.join(", "),
    });
  }
  const processors = Array.from({ length: threads }, (_, member) => chosen[member % chosen.length]);
  const pinned = maskOf(processors[0]);
  return {
    processors,
    caller: { enter: () => void affinity.set(pinned), leave: () => void affinity.set(own) },
  };
}

/** Pins the calling thread for good; gives whether the system did so. */
export function pinThread(processor: number): boolean {
  const affinity = loadAffinity();
  return typeof affinity !== "string" && affinity.set(maskOf(processor));
}

let loaded: Affinity | string | undefined;

function loadAffinity(): Affinity | string {
  loaded ??= bindAffinity();
  return loaded;
}

function bindAffinity(): Affinity | string {
  const numbers = SYSTEM_CALLS[process.arch];
  if (process.platform !== "linux" || numbers === undefined) {
    return `threads are pinned on Linux (x64, arm64, riscv64), not on ${process.platform} ${process.arch}`;
  }
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) return reason;
  // Arguments that are all pointers, and a result that is a number, make calls that leave nothing behind.
  const { functions } = ffi.dlopen(null, {
    syscall: { arguments: ["pointer", "pointer", "pointer", "pointer"], return: "int32" },
  });
  const [set, get] = numbers;
  const sizeBytes = BigInt(MASK_BYTES);
  return {
    get: ({ address }) => functions.syscall(get, THIS_THREAD, sizeBytes, address) > 0,
    set: ({ address }) => functions.syscall(set, THIS_THREAD, sizeBytes, address) === 0,
  };
}

function newMask(): Mask {
  const bytes = new Uint8Array(new ArrayBuffer(MASK_BYTES));
  return { bytes, address: loadFfi().ffi!.getRawPointer(bytes) };
}

function maskOf(processor: number): Mask {
  const mask = newMask();
  mask.bytes[processor >> 3] = 1 << (processor & 7);
  return mask;
}

function processorsOf(bytes: Uint8Array): number[] {
  return Array.from({ length: PROCESSORS_MAX }, (_, i) => i).filter((i) => (bytes[i >> 3] & (1 << (i & 7))) !== 0);
}
