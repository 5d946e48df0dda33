// The life of a team member: sleep, run what is posted, say so. It runs on a worker thread and never returns to its
// event loop; the thread is ended from outside.

import {
  awaitChange,
  calibrateSpins,
  generationWord,
  leaveRun,
  mailWord,
  openBarriers,
  REOPEN_MS,
  reportFailure,
  teamWords,
  WORD,
} from "./protocol.ts";
import type { MemberInit, MemberMail, ProgramEntry } from "./protocol.ts";

/** Serves as a member until the thread is ended. `receive` gives the next piece of mail, or undefined. */
export function serveMember(init: MemberInit, receive: () => MemberMail | undefined): never {
  const { memory, member } = init;
  const words = teamWords(memory, init.blockBytes, init.threads);
  const programs = new Map<number, ProgramEntry | Error>();
  const spins = calibrateSpins();
  let generation = 0;
  let mail = 0;
  for (;;) {
    generation = awaitChange(words, generationWord(member), generation, spins);
    const posted = Atomics.load(words, mailWord(member));
    for (; mail !== posted; mail = (mail + 1) | 0) open(programs, memory, receive());
    takePart(words, member, init.blockBytes, programs.get(words[WORD.program]));
  }
}

function open(
  programs: Map<number, ProgramEntry | Error>,
  memory: WebAssembly.Memory,
  mail: MemberMail | undefined,
): void {
  if (mail === undefined) return;
  if (mail.kind === "unload") programs.delete(mail.program);
  else programs.set(mail.program, instantiate(mail.module, memory));
}

/** A module's entry; a module that cannot be loaded is kept as its error, and fails the run that asks for it. */
function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): ProgramEntry | Error {
  try {
    return programEntry(module, memory);
  } catch (cause) {
    return cause instanceof Error ? cause : new Error(String(cause));
  }
}

/** Instantiates a compiled program over the team's memory. */
export function programEntry(module: WebAssembly.Module, memory: WebAssembly.Memory): ProgramEntry {
  return new WebAssembly.Instance(module, { env: { memory } }).exports.run as ProgramEntry;
}

function takePart(words: Int32Array, member: number, control: number, entry: ProgramEntry | Error | undefined): void {
  const members = words[WORD.members];
  try {
    if (typeof entry !== "function") throw entry ?? new Error("the program never arrived");
    entry(member, members, words[WORD.bindings], words[WORD.arena], words[WORD.scratch], control);
  } catch (cause) {
    fail(words, member, members, cause);
  }
  leaveRun(words, members);
}

/** Brings the run to its end for everybody: the others, the caller perhaps among them, wait for this member. */
function fail(words: Int32Array, member: number, members: number, cause: unknown): void {
  reportFailure(words, member, cause);
  // Of several that fail, the first sees the others out.
  if (Atomics.load(words, WORD.failed) !== member + 1) return;
  for (;;) {
    const done = Atomics.load(words, WORD.done);
    if (done >= members - 1) return;
    openBarriers(words);
    Atomics.wait(words, WORD.done, done, REOPEN_MS);
  }
}
