// A program that a device has loaded: its table of bindings, its constants, and the jobs that the team runs for it.
// `run` neither allocates nor leaves garbage: all that it needs was made when the program was loaded.

import type { Allocation, SharedArena } from "@fidelity/barewire";
import { storageBytes } from "@fidelity/core";
import type { DeviceTensor, Executable, TensorType } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import { ADDRESS_BYTES } from "../targets/team.ts";
import { checkTensors } from "./binding.ts";
import type { Signature } from "./binding.ts";
import { RunMeter } from "./debug.ts";
import type { DebugSink } from "./debug.ts";
import { BindError, DeviceBusyError, DeviceClosedError } from "./errors.ts";
import type { ProgramOutline } from "./outline.ts";
import type { RegionTensor } from "./tensor.ts";
import type { Job, LoadedProgram, ThreadTeam, Workspace } from "./team.ts";

/** What an executable needs of its device. */
export interface ExecutableHome {
  readonly arena: SharedArena;
  readonly team: ThreadTeam;
  readonly workspace: Workspace;
  readonly debug: DebugSink;
  /** How many tensors of the device were freed so far. */
  readonly freedCount: () => number;
  readonly onFree: (executable: CpuExecutable) => void;
}

/** A part of a program that is run, and timed, by itself: usually all of it. */
export interface ProgramPart {
  /** What it is, in reports. */
  readonly label: string;
  /** The most members that it can keep busy. */
  readonly members: number;
  readonly loaded: LoadedProgram;
  /** The stage at which it starts. */
  readonly start: number;
}

interface Step {
  readonly job: Job;
  readonly meter: RunMeter | undefined;
}

/** A program on a device. Made by `CpuDevice.compile` and `CpuDevice.load`. */
export class CpuExecutable implements Executable {
  readonly name: string;
  readonly parameterTypes: readonly TensorType[];
  readonly resultTypes: readonly TensorType[];
  readonly arenaBytes: number;
  readonly #home: ExecutableHome;
  readonly #signature: Signature;
  readonly #table: Allocation;
  readonly #constants: Allocation | undefined;
  readonly #steps: readonly Step[];
  readonly #meter: RunMeter | undefined;
  #slots: readonly RegionTensor[] | undefined;
  #freedCount = 0;
  #runsInProgress = 0;
  #isFreed = false;

  constructor(home: ExecutableHome, program: ProgramOutline, signature: Signature, parts: readonly ProgramPart[]) {
    this.name = program.name;
    this.parameterTypes = signature.parameterTypes;
    this.resultTypes = signature.resultTypes;
    this.arenaBytes = program.arenaBytes;
    this.#home = home;
    this.#signature = signature;
    const tableBytes = tableSlots(program, signature) * 4;
    const table = home.arena.allocZeroed(tableBytes, ADDRESS_BYTES, `bindings of ${program.name}`);
    this.#table = table;
    try {
      this.#constants = placeConstants(home.arena, program, table.i32());
    } catch (error) {
      home.arena.free(table);
      throw error;
    }
    const { debug, team, workspace } = home;
    this.#steps = parts.map(({ label, members, loaded, start }) => ({
      job: {
        program: loaded,
        members: Math.min(team.threads, members),
        bindings: table.byteOffset / ADDRESS_BYTES,
        workspace,
        start,
      },
      meter: debug.level >= 3 ? new RunMeter(debug, label) : undefined,
    }));
    if (debug.level >= 2) this.#meter = new RunMeter(debug, program.name);
  }

  bind(parameters: readonly DeviceTensor[], results: readonly DeviceTensor[]): void {
    this.#checkOpen();
    this.#checkIdle("bound");
    const slots = checkTensors(this.name, this.#signature, this.#home.arena.memory, parameters, results);
    const table = this.#table.i32();
    for (const [slot, tensor] of slots.entries()) table[slot] = tensor.address / ADDRESS_BYTES;
    this.#slots = slots;
    this.#freedCount = this.#home.freedCount();
  }

  run(): void {
    this.#checkReady();
    const { team } = this.#home;
    if (this.#meter !== undefined) return this.#runTimed(this.#meter);
    for (let i = 0; i < this.#steps.length; i++) team.run(this.#steps[i].job);
  }

  async runAsync(): Promise<void> {
    this.#checkReady();
    const started = performance.now();
    this.#runsInProgress++;
    try {
      // All steps are queued at once: a step of another executable in between would overwrite the arena.
      const outcomes = await Promise.allSettled(this.#steps.map(({ job }) => this.#home.team.runAsync(job)));
      for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    } finally {
      this.#runsInProgress--;
    }
    this.#meter?.add(performance.now() - started);
  }

  free(): void {
    if (this.#isFreed) return;
    this.#checkIdle("freed");
    this.#isFreed = true;
    const { arena, team, onFree } = this.#home;
    for (const { job, meter } of this.#steps) {
      team.unload(job.program);
      meter?.flush();
    }
    this.#meter?.flush();
    this.#slots = undefined;
    arena.free(this.#table);
    if (this.#constants !== undefined) arena.free(this.#constants);
    onFree(this);
  }

  #runTimed(meter: RunMeter): void {
    const started = performance.now();
    let from = started;
    for (const step of this.#steps) {
      this.#home.team.run(step.job);
      const now = performance.now();
      step.meter?.add(now - from);
      from = now;
    }
    meter.add(from - started);
  }

  #checkOpen(): void {
    if (this.#isFreed) throw new DeviceClosedError("an executable was used after it was freed", { where: this.name });
  }

  #checkIdle(what: string): void {
    if (this.#runsInProgress === 0) return;
    throw new DeviceBusyError(`an executable cannot be ${what} while it runs`, {
      where: this.name,
      hint: "await the promises of runAsync() first",
    });
  }

  /** Looks at the tensors again only when some tensor of the device was freed since the last time. */
  #checkReady(): void {
    if (this.#slots === undefined) {
      this.#checkOpen();
      throw new BindError("an executable cannot run before its tensors are bound", { where: this.name });
    }
    const freedCount = this.#home.freedCount();
    if (freedCount === this.#freedCount) return;
    const freed = this.#slots.findIndex((tensor) => !tensor.isAlive);
    if (freed >= 0) throw new BindError("a bound tensor was freed", { where: `${this.name}: slot ${freed}` });
    this.#freedCount = freedCount;
  }
}

/** Slots of the binding table. What the program says of its slots must agree with the tensors. */
function tableSlots({ name, slotBytes }: ProgramOutline, signature: Signature): number {
  const types = [...signature.parameterTypes, ...signature.resultTypes];
  const count = Math.min(types.length, slotBytes.length);
  for (let slot = 0; slot < count; slot++) {
    const isCovered = slotBytes[slot] <= storageBytes(types[slot]);
    if (!isCovered) invariant(false, `slot ${slot} of ${name} takes ${slotBytes[slot]} bytes, more than its tensor`);
  }
  return Math.max(slotBytes.length, types.length, 1);
}

/**
 * Copies a program's constants to memory of their own, since the arena is shared with other programs, and binds them.
 * Gives their memory.
 */
function placeConstants(arena: SharedArena, program: ProgramOutline, table: Int32Array): Allocation | undefined {
  if (program.constants.length === 0) return undefined;
  const offsets: number[] = [];
  let totalBytes = 0;
  for (const { sizeBytes, bytes } of program.constants) {
    offsets.push(totalBytes);
    totalBytes += Math.ceil(Math.max(sizeBytes, bytes.byteLength) / ADDRESS_BYTES) * ADDRESS_BYTES;
  }
  const region = arena.allocZeroed(totalBytes, ADDRESS_BYTES, `constants of ${program.name}`);
  for (const [i, { slot, bytes }] of program.constants.entries()) {
    region.u8().set(bytes, offsets[i]);
    table[slot] = (region.byteOffset + offsets[i]) / ADDRESS_BYTES;
  }
  return region;
}
