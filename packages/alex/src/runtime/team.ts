// A thread team over one shared memory (DESIGN, decision 5): every member runs the same program with its own index.
// `run` uses the calling thread as member 0; `runAsync` uses workers only and leaves the calling thread to its events.
// Workers start when they are first needed and sleep without cost between runs. How a worker is made is injected, so
// that the same team serves Node and, with a spawner of its own, a browser.
// Left out: two programs at the same time; a synchronous run of several members on a browser's main thread, which may
// not sleep.

import { DeviceBusyError, DeviceClosedError, ProgramTrapError } from "./errors.ts";
import { programEntry } from "./member.ts";
import {
  awaitChange,
  calibrateSpins,
  failureText,
  generationWord,
  leaveRun,
  mailWord,
  openBarriers,
  REOPEN_MS,
  reportFailure,
  teamWords,
  WORD,
  CONTROL_BYTES,
} from "./protocol.ts";
import type { MemberInit, MemberMail, ProgramEntry } from "./protocol.ts";

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
  readonly module: WebAssembly.Module;
  readonly entry: ProgramEntry;
}

/** What to run. The addresses are read when the run starts, so that queued runs see memory that has moved since. */
export interface Job {
  readonly program: LoadedProgram;
  /** How many members take part, at most the team's threads. */
  readonly members: number;
  /** Address of the table of buffer addresses. */
  readonly bindings: number;
  readonly workspace: Workspace;
}

/** Addresses of the memory for intermediate values, shared by programs that never run at the same time. */
export interface Workspace {
  arena: number;
  scratch: number;
}

export interface TeamOptions {
  readonly memory: WebAssembly.Memory;
  /** Address of `teamBlockBytes(threads)` zeroed bytes, 64-byte aligned. */
  readonly blockBytes: number;
  readonly threads: number;
  readonly spawn: MemberSpawner;
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
  /** Members of the run in progress, counted from `#first`; for workers that end of themselves. */
  #first = 0;
  #members = 0;

  constructor(options: TeamOptions) {
    this.threads = options.threads;
    this.#options = options;
    this.#words = teamWords(options.memory, options.blockBytes, options.threads);
    this.#handles = Array.from({ length: options.threads }, () => undefined);
  }

  /** Makes a program known to all members, those that have not started yet included. */
  load(name: string, module: WebAssembly.Module): LoadedProgram {
    const program = { id: this.#nextProgram++, name, module, entry: programEntry(module, this.#options.memory) };
    this.#programs.set(program.id, program);
    for (let member = 0; member < this.threads; member++) this.#post(member, loadMail(program));
    return program;
  }

  unload(program: LoadedProgram): void {
    if (!this.#programs.delete(program.id)) return;
    for (let member = 0; member < this.threads; member++) this.#post(member, { kind: "unload", program: program.id });
  }

  /**
   * Runs a job with the calling thread as member 0, and returns when all members are through. Throws
   * `ProgramTrapError`, and `DeviceBusyError` while asynchronous runs are in progress.
   */
  run(job: Job): void {
    if (this.#waiting > 0 || this.#isClosed) throw this.#refusal();
    const { program, members, workspace } = job;
    const control = this.#options.blockBytes;
    if (members > 1) this.#start(job, 1);
    try {
      program.entry(0, members, job.bindings, workspace.arena, workspace.scratch, control);
    } catch (cause) {
      reportFailure(this.#words, 0, cause);
    }
    if (members > 1) {
      leaveRun(this.#words, members);
      this.#awaitMembers(members);
    }
    if (this.#words[WORD.failed] !== 0) throw this.#failure(job);
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

  async #runOnWorkers(job: Job): Promise<void> {
    this.#start(job, 0);
    const holder = this.#handles[0];
    holder?.hold();
    try {
      await this.#membersLeft(job.members);
    } finally {
      holder?.release();
    }
    if (this.#words[WORD.failed] !== 0) throw this.#failure(job);
  }

  /** Posts the job to the members from `first` on, starting workers that are missing. */
  #start(job: Job, first: number): void {
    for (let member = first; member < job.members; member++) {
      if (this.#handles[member] === undefined) this.#spawn(member);
    }
    const words = this.#words;
    words[WORD.program] = job.program.id;
    words[WORD.members] = job.members;
    words[WORD.bindings] = job.bindings;
    words[WORD.arena] = job.workspace.arena;
    words[WORD.scratch] = job.workspace.scratch;
    Atomics.store(words, WORD.done, 0);
    this.#first = first;
    this.#members = job.members;
    for (let member = first; member < job.members; member++) {
      const word = generationWord(member);
      Atomics.add(words, word, 1);
      Atomics.notify(words, word);
    }
  }

  #spawn(member: number): void {
    const { memory, blockBytes } = this.#options;
    // The new worker counts runs and mail from 0, whatever its predecessor had seen.
    Atomics.store(this.#words, generationWord(member), 0);
    Atomics.store(this.#words, mailWord(member), 0);
    const init = { memory, blockBytes, member, threads: this.threads };
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
    if (this.#isClosed) return;
    this.#handles[member] = undefined;
    if (member < this.#first || member >= this.#members) return;
    reportFailure(this.#words, member, `the worker thread ended: ${reason}`);
    leaveRun(this.#words, this.#members);
    // The caller must look, though it was not the last: it opens the barriers for the others.
    Atomics.notify(this.#words, WORD.done);
  }

  #awaitMembers(members: number): void {
    const words = this.#words;
    for (let done = Atomics.load(words, WORD.done); done < members;) {
      const hasFailed = Atomics.load(words, WORD.failed) !== 0;
      if (hasFailed) openBarriers(words);
      done = awaitChange(words, WORD.done, done, this.#spins, hasFailed ? REOPEN_MS : Infinity);
    }
    this.#members = 0;
  }

  async #membersLeft(members: number): Promise<void> {
    const words = this.#words;
    for (;;) {
      const done = Atomics.load(words, WORD.done);
      if (done >= members) break;
      const hasFailed = Atomics.load(words, WORD.failed) !== 0;
      if (hasFailed) openBarriers(words);
      const wait = Atomics.waitAsync(words, WORD.done, done, hasFailed ? REOPEN_MS : Infinity);
      if (wait.async) await wait.value;
    }
    this.#members = 0;
  }

  /** What the run failed with; afterwards the team is as new. */
  #failure(job: Job): ProgramTrapError {
    const words = this.#words;
    const error = new ProgramTrapError(job.program.name, words[WORD.failed] - 1, job.members, failureText(words));
    words.fill(0, 0, CONTROL_BYTES / 4);
    words[WORD.failed] = 0;
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
  return { kind: "load", program: program.id, module: program.module };
}
