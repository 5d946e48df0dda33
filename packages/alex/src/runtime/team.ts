// A thread team over one shared memory (DESIGN, decision 5): every member runs the same program with its own index.
// `run` uses the calling thread as member 0; `runAsync` uses workers only and leaves the calling thread to its events.
// A run is over when its chunks are done, wherever its members are: one that the system has preempted, that sleeps or
// is still starting joins when it comes, or is late and leaves. Only after a failed run, and before epochs begin
// again, the caller waits until all have left.
// Workers start when they are first needed and sleep without cost between runs. How a worker is made is injected, so
// that the same team serves Node and, with a spawner of its own, a browser. Left out: two programs at the same time; a
// synchronous run of several members on a browser's main thread, which may not sleep.

import { CONTROL_BYTES, EPOCH_MAX, startRun } from "../targets/team.ts";
import { DeviceBusyError, DeviceClosedError, ProgramTrapError } from "./errors.ts";
import {
  awaitChange,
  calibrateSpins,
  failRun,
  failureCause,
  failureText,
  leftWord,
  mailWord,
  postWord,
  publishCommand,
  reportFailure,
  runStatus,
  teamWords,
  WORD,
  writeCommand,
} from "./protocol.ts";
import type { MemberInit, MemberMail } from "./protocol.ts";
import type { Loadable, ProgramEntry, ProgramOpener } from "./target.ts";

/** A worker thread as the team sees it. It must not keep the process alive but between `hold` and `release`. */
export interface MemberHandle {
  post(mail: MemberMail): void;
  hold(): void;
  release(): void;
  end(): Promise<void>;
}

/** Starts a worker that calls `serveMember`. `onExit` is called when the thread ends without having been asked to. */
export type MemberSpawner = (init: MemberInit, onExit: (reason: string) => void) => MemberHandle;

/** A program that the team has loaded. */
export interface LoadedProgram {
  readonly id: number;
  readonly name: string;
  readonly loadable: Loadable;
  readonly entry: ProgramEntry;
}

/** What to run. The addresses are read when the run starts, so that queued runs see memory that has moved since. */
export interface Job {
  readonly program: LoadedProgram;
  /** How many members take part, at most the team's threads. */
  readonly members: number;
  /** Address of the table of buffer addresses, in `ADDRESS_BYTES`. */
  readonly bindings: number;
  readonly workspace: Workspace;
  /** The stage at which it starts: 0, or that of an item of the program's schedule. */
  readonly start: number;
}

/** Addresses, in `ADDRESS_BYTES`, of the memory that programs share which never run at the same time. */
export interface Workspace {
  arena: number;
  scratch: number;
}

/** Keeps the calling thread on a processor while it takes part in a run. */
export interface CallerPin {
  enter(): void;
  leave(): void;
}

/** Where the members of a team are, or why they are wherever the system puts them. */
export interface Pinning {
  /** The processor of each member; empty when they are not pinned. */
  readonly processors: readonly number[];
  /** Pins the calling thread during synchronous runs. */
  readonly caller?: CallerPin;
  /** Why threads cannot be pinned here, where that was asked for. */
  readonly reason?: string;
}

export interface TeamOptions extends Partial<Pinning> {
  readonly memory: WebAssembly.Memory;
  /** Address of `teamBlockBytes(threads)` zeroed bytes, 64-byte aligned. */
  readonly blockBytes: number;
  readonly threads: number;
  readonly spawn: MemberSpawner;
  /** Loads programs on the calling thread. */
  readonly open: ProgramOpener;
  /** After how many runs their epochs begin again, for which all members must have left; at most `EPOCH_MAX`. */
  readonly epochs?: number;
}

/** Runs programs on `threads` members. */
export class ThreadTeam {
  readonly threads: number;
  readonly #options: TeamOptions;
  readonly #words: Int32Array;
  readonly #handles: (MemberHandle | undefined)[];
  readonly #programs = new Map<number, LoadedProgram>();
  readonly #spins = calibrateSpins();
  #nextProgram = 1;
  #waiting = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  /** The epoch of the last run. */
  #epoch = 0;
  /** How many members the asynchronous run in progress has; for workers that end of themselves. */
  #members = 0;

  constructor(options: TeamOptions) {
    this.threads = options.threads;
    this.#options = options;
    this.#words = teamWords(options.memory, options.blockBytes, options.threads);
    this.#handles = Array.from({ length: options.threads }, () => undefined);
  }

  /** Makes a program known to all members, those that have not started yet included. */
  load(name: string, loadable: Loadable): LoadedProgram {
    const entry = this.#options.open(loadable, this.#options.memory);
    const program = { id: this.#nextProgram++, name, loadable, entry };
    this.#programs.set(program.id, program);
    for (let member = 0; member < this.threads; member++) this.#post(member, loadMail(program));
    return program;
  }

  /** Starts the workers that a run of so many members needs, so that the first one does not wait until they are up. */
  prepare(members: number): void {
    if (this.#isClosed) return;
    const count = Math.min(members, this.threads);
    for (let member = 1; member < count; member++) if (this.#handles[member] === undefined) this.#spawn(member);
  }

  unload(program: LoadedProgram): void {
    if (!this.#programs.delete(program.id)) return;
    program.entry.close?.();
    for (let member = 0; member < this.threads; member++) this.#post(member, { kind: "unload", program: program.id });
  }

  /**
   * Runs a job with the calling thread as member 0, and returns when all of it is done. Throws `ProgramTrapError`, and
   * `DeviceBusyError` while asynchronous runs are in progress.
   */
  run(job: Job): void {
    if (this.#waiting > 0 || this.#isClosed) throw this.#refusal();
    const { caller } = this.#options;
    if (caller === undefined) return this.#runHere(job);
    caller.enter();
    try {
      this.#runHere(job);
    } finally {
      caller.leave();
    }
  }

  #runHere(job: Job): void {
    if (job.members === 1) return this.#runAlone(job);
    if (this.#isLastEpoch) this.#awaitMembersLeft();
    this.#start(job, 1);
    const { program, bindings, workspace } = job;
    const control = this.#options.blockBytes;
    let failed = 1;
    try {
      failed = program.entry.run(0, bindings, workspace.arena, workspace.scratch, control, this.#epoch);
    } catch (cause) {
      if (failRun(this.#words, this.#epoch)) reportFailure(this.#words, 0, cause);
    }
    if (failed === 0) return;
    this.#awaitMembersLeft();
    throw this.#failure(job);
  }

  /** Runs a job on workers only, after the asynchronous runs that were asked for before. */
  runAsync(job: Job): Promise<void> {
    return this.exclusive(() => this.#runOnWorkers(job));
  }

  /** Does something when no run is in progress, in order with the asynchronous runs. */
  exclusive<R>(task: () => R | Promise<R>): Promise<R> {
    if (this.#isClosed) return Promise.reject(this.#refusal());
    this.#waiting++;
    const result = this.#tail.then(async () => {
      try {
        return await task();
      } finally {
        this.#waiting--;
      }
    });
    this.#tail = result.catch(() => {});
    return result;
  }

  /** Waits for the runs in progress, then ends the workers. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#tail;
    const handles = this.#handles.filter((handle) => handle !== undefined);
    this.#handles.fill(undefined);
    await Promise.all(handles.map((handle) => handle.end()));
  }

  #runAlone(job: Job): void {
    const { program, bindings, workspace, start } = job;
    try {
      program.entry.run(0, bindings, workspace.arena, workspace.scratch, this.#options.blockBytes, 0, start);
    } catch (cause) {
      throw new ProgramTrapError(program.name, 0, 1, failureCause(cause));
    }
  }

  async #runOnWorkers(job: Job): Promise<void> {
    if (this.#isLastEpoch) await this.#membersLeft();
    this.#start(job, 0);
    this.#members = job.members;
    const holder = this.#handles[0];
    holder?.hold();
    try {
      await this.#runOver();
      if (runStatus(this.#words) === "ended") return;
      await this.#membersLeft();
    } finally {
      this.#members = 0;
      holder?.release();
    }
    throw this.#failure(job);
  }

  get #isLastEpoch(): boolean {
    return this.#epoch === (this.#options.epochs ?? EPOCH_MAX);
  }

  /**
   * Posts the job to the members from `first` on, starting workers that are missing. No run is in progress, and at the
   * last epoch all members have left.
   */
  #start(job: Job, first: number): void {
    for (let member = first; member < job.members; member++) {
      if (this.#handles[member] === undefined) this.#spawn(member);
    }
    const words = this.#words;
    const { program, members, bindings, workspace } = job;
    this.#epoch = this.#isLastEpoch ? 1 : this.#epoch + 1;
    writeCommand(words, program.id, first, members, bindings, workspace.arena, workspace.scratch);
    startRun(words, this.#epoch, job.start);
    publishCommand(words, this.#epoch);
    for (let member = first; member < members; member++) {
      const word = postWord(member);
      Atomics.add(words, word, 1);
      Atomics.notify(words, word);
    }
  }

  #spawn(member: number): void {
    const { memory, blockBytes } = this.#options;
    // The new worker counts posts and mail from 0, whatever its predecessor had seen.
    for (const word of [postWord(member), leftWord(member), mailWord(member)]) Atomics.store(this.#words, word, 0);
    const processor = this.#options.processors?.[member];
    const init = { memory, blockBytes, member, threads: this.threads, ...(processor !== undefined && { processor }) };
    this.#handles[member] = this.#options.spawn(init, (reason) => this.#lost(member, reason));
    for (const program of this.#programs.values()) this.#post(member, loadMail(program));
  }

  #post(member: number, mail: MemberMail): void {
    const handle = this.#handles[member];
    if (handle === undefined) return;
    handle.post(mail);
    Atomics.add(this.#words, mailWord(member), 1);
  }

  /** A worker ended of itself, for want of memory for one: the run that it took part in fails, the next replaces it. */
  #lost(member: number, reason: string): void {
    this.#handles[member] = undefined;
    if (member >= this.#members) return;
    const words = this.#words;
    if (failRun(words, this.#epoch)) reportFailure(words, member, `the worker thread ended: ${reason}`);
    // The run may wait for this member to leave.
    Atomics.notify(words, leftWord(member));
  }

  /** Waits until the run on workers is over. */
  async #runOver(): Promise<void> {
    for (;;) {
      const ended = Atomics.load(this.#words, WORD.ended);
      if (runStatus(this.#words) !== "running") return;
      const wait = Atomics.waitAsync(this.#words, WORD.ended, ended);
      if (wait.async) await wait.value;
    }
  }

  /** Waits until no member is in a run: each has left the last one that it was posted. */
  #awaitMembersLeft(): void {
    const words = this.#words;
    for (let member = 0; member < this.threads; member++) {
      if (this.#handles[member] === undefined) continue;
      const posts = words[postWord(member)];
      let left = Atomics.load(words, leftWord(member));
      while (left !== posts) left = awaitChange(words, leftWord(member), left, this.#spins);
    }
  }

  /** The same, without holding up the calling thread. A worker that ends has left, too. */
  async #membersLeft(): Promise<void> {
    const words = this.#words;
    for (let member = 0; member < this.threads; member++) {
      for (;;) {
        const handle = this.#handles[member];
        const left = Atomics.load(words, leftWord(member));
        if (handle === undefined || left === words[postWord(member)]) break;
        handle.hold();
        const wait = Atomics.waitAsync(words, leftWord(member), left);
        if (wait.async) await wait.value;
        handle.release();
      }
    }
  }

  /** What the run failed with; afterwards, all members having left, the team is as new. */
  #failure(job: Job): ProgramTrapError {
    const words = this.#words;
    const error = new ProgramTrapError(job.program.name, words[WORD.failed] - 1, job.members, failureText(words));
    words.fill(0, 0, CONTROL_BYTES / 4);
    return error;
  }

  #refusal(): Error {
    if (this.#isClosed) return new DeviceClosedError("the device was closed and runs nothing more");
    return new DeviceBusyError("a synchronous run cannot start while asynchronous runs are in progress", {
      got: `${this.#waiting} runs in progress or waiting`,
      hint: "await the promises of runAsync() first, or use runAsync() here, too",
    });
  }
}

function loadMail(program: LoadedProgram): MemberMail {
  return { kind: "load", program: program.id, loadable: program.loadable };
}
