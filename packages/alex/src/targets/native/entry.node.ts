// A program's shared library, loaded on one thread. Calls into native code are cheap when all arguments are pointers,
// so a run's arguments lie in a block of memory that this thread owns, and no run leaves garbage once the engine has
// compiled the call.
// The library is found by its path when it is loaded first; the system gives later threads the same one, whatever has
// become of the file.

import { loadFfi } from "@fidelity/barewire/ffi";
import { CONTROL } from "../team.ts";
import { calibrateSpins } from "../../runtime/protocol.ts";
import type { ProgramEntry } from "../../runtime/target.ts";
import { NativeTargetError } from "./errors.ts";
import { RUN_ARGUMENTS, RUN_RESULT } from "./run-block.ts";

const RUN = { run: { arguments: ["pointer"], return: "int32" } } as const;

/** Looks before a thread sleeps; found once a thread. */
let spins = 0;

/**
 * Loads a library on the calling thread, over the team's memory.
 * @throws NativeTargetError when native code cannot be called here, or the file is not such a library
 */
export function openNative(path: string, memory: WebAssembly.Memory): ProgramEntry {
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) throw new NativeTargetError("native code cannot be called", { got: reason });
  const { lib, functions } = openLibrary(ffi, path);
  const block = new Int32Array(new ArrayBuffer(RUN_ARGUMENTS.words * 4));
  const pointer = ffi.getRawPointer(block);
  new BigUint64Array(block.buffer)[RUN_ARGUMENTS.base / 2] = ffi.getRawPointer(memory.buffer);
  spins ||= calibrateSpins();
  block[RUN_ARGUMENTS.spins] = spins;
  // Views of shared memory stay valid when it grows, and the block's line with the count of ended runs is in it anyway.
  const words = new Int32Array(memory.buffer);
  return {
    run(member, bindings, arena, scratch, control, epoch = 0, start = 0) {
      block[RUN_ARGUMENTS.member] = member;
      block[RUN_ARGUMENTS.bindings] = bindings;
      block[RUN_ARGUMENTS.arena] = arena;
      block[RUN_ARGUMENTS.scratch] = scratch;
      block[RUN_ARGUMENTS.control] = control;
      block[RUN_ARGUMENTS.epoch] = epoch;
      block[RUN_ARGUMENTS.start] = start;
      const result = functions.run(pointer);
      if (result !== RUN_RESULT.ended) return result;
      const ended = (control + CONTROL.ended) / 4;
      Atomics.add(words, ended, 1);
      Atomics.notify(words, ended);
      return RUN_RESULT.over;
    },
    close: () => lib.close(),
  };
}

function openLibrary(ffi: NonNullable<ReturnType<typeof loadFfi>["ffi"]>, path: string) {
  try {
    return ffi.dlopen(path, RUN);
  } catch (cause) {
    throw new NativeTargetError("a compiled library cannot be loaded", {
      where: path,
      got: cause instanceof Error ? cause.message : String(cause),
      hint: "remove the file; it will be made again",
    });
  }
}
