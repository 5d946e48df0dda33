// The tuner of this machine: what there is to tune in programs is measured on a device, and remembered as it is found.
//
//   tasks.ts           programs -> nodes with a choice of schedules
//   contest.ts         node -> its schedules as programs on a device
//   tune.ts            the race
//   schedule-book.ts   nodes -> the schedules that won
//   file.node.ts       the book on disk, which devices read when they are made

import type { CompiledStages } from "../compile.ts";
import { wasmVectors } from "../runtime/cpu-device.node.ts";
import { createDevice } from "../runtime/device.node.ts";
import type { DeviceTarget } from "../runtime/device.node.ts";
import { wasmTarget } from "../runtime/target.ts";
import {
  cacheDirectory,
  createNativeTarget,
  hostMachine,
  ToolMissingError,
  vectorsOf,
} from "../targets/native/index.node.ts";
import { openContest } from "./contest.ts";
import { ScheduleFile } from "./file.node.ts";
import { ScheduleBook } from "./schedule-book.ts";
import { tuneTasks } from "./tasks.ts";
import { tune } from "./tune.ts";
import type { TuneOptions, TuneResult } from "./tune.ts";

export { TUNING_WARNING, ScheduleFile } from "./file.node.ts";
export { ScheduleBook, scheduleText } from "./schedule-book.ts";
export type { TunedSchedule } from "./schedule-book.ts";
export { nodeTitle, tuneTasks } from "./tasks.ts";
export type { TuneTask } from "./tasks.ts";
export type { TuneResult } from "./tune.ts";

/**
 * Where the schedules of a target are remembered on this machine.
 * @throws ToolMissingError, UnknownMachineError
 */
export function scheduleFile(name: DeviceTarget): ScheduleFile {
  const directory = cacheDirectory(process.env, name);
  return name === "wasm"
    ? new ScheduleFile({ directory, target: wasmTarget, vectors: wasmVectors() })
    : new ScheduleFile({ directory, target: createNativeTarget(), vectors: vectorsOf(hostMachine()) });
}

/** The schedules that devices of a target follow here: none where nothing is kept, or LLVM is not there. */
export function rememberedSchedules(name: DeviceTarget): ScheduleBook {
  if (process.env.FIDELITY_CACHE === "off") return new ScheduleBook();
  try {
    return scheduleFile(name).read();
  } catch (error) {
    if (error instanceof ToolMissingError) return new ScheduleBook();
    throw error;
  }
}

export interface TuneProgramsOptions extends Pick<TuneOptions, "budgetMs" | "signal" | "onResult"> {
  readonly target: DeviceTarget;
  readonly threads: number;
  /** Told of what there is to do before it begins. */
  readonly onStart?: (taskCount: number) => void;
}

/**
 * Measures the schedules of what is not tuned yet in programs, the heaviest first, and remembers each that was found:
 * devices that are made from then on follow it.
 * @param programs compiled for the target, by the schedules that are remembered, or by none to measure all again
 * @throws FileError where it cannot be remembered, and what compiling throws
 */
export async function tunePrograms(
  programs: readonly CompiledStages[],
  { target, threads, onStart, onResult, ...options }: TuneProgramsOptions,
): Promise<TuneResult[]> {
  const tasks = tuneTasks(programs).filter(({ isTuned }) => !isTuned);
  onStart?.(tasks.length);
  if (tasks.length === 0) return [];
  const vectors = programs[0]!.compilation.target;
  const file = scheduleFile(target);
  const device = createDevice({ target, threads, cache: false });
  try {
    return await tune(tasks, {
      ...options,
      open: (task) => openContest(device, vectors, task),
      onResult(result, place) {
        // What another process has found meanwhile is kept, too.
        const book = file.read();
        book.set(result.task.text, result);
        file.write(book);
        onResult?.(result, place);
      },
    });
  } finally {
    await device.close();
  }
}
