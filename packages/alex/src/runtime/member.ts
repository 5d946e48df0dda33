// The life of a team member: sleep, take part in what is posted, say so. It runs on a worker thread and never returns
// to its event loop; the thread is ended from outside.

import {
  awaitChange,
  calibrateSpins,
  COMMAND,
  COMMAND_WORDS,
  failRun,
  leftWord,
  mailWord,
  postWord,
  readCommand,
  reportFailure,
  teamWords,
} from "./protocol.ts";
import type { MemberInit, MemberMail, ProgramEntry } from "./protocol.ts";

/** Serves as a member until the thread is ended. `receive` gives the next piece of mail, or undefined. */
export function serveMember(init: MemberInit, receive: () => MemberMail | undefined): never {
  const { memory, member, blockBytes } = init;
  const words = teamWords(memory, blockBytes, init.threads);
  const programs = new Map<number, ProgramEntry | Error>();
  const command = new Int32Array(COMMAND_WORDS);
  const spins = calibrateSpins();
  let posts = 0;
  let mail = 0;
  for (;;) {
    posts = awaitChange(words, postWord(member), posts, spins);
    // The command before the mail: what a run needs was sent before it was posted.
    const isWhole = readCommand(words, command);
    const sent = Atomics.load(words, mailWord(member));
    for (; mail !== sent; mail = (mail + 1) | 0) open(programs, memory, receive());
    const takesPart = isWhole && member >= command[COMMAND.first] && member < command[COMMAND.members];
    if (takesPart) takePart(words, member, blockBytes, command, programs.get(command[COMMAND.program]));
    Atomics.store(words, leftWord(member), posts);
    Atomics.notify(words, leftWord(member));
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
  const { run, start } = new WebAssembly.Instance(module, { env: { memory } }).exports;
  return { run: run as ProgramEntry["run"], start: start as ProgramEntry["start"] };
}

function takePart(
  words: Int32Array,
  member: number,
  control: number,
  command: Int32Array,
  entry: ProgramEntry | Error | undefined,
): void {
  const epoch = command[COMMAND.epoch];
  try {
    // A late member may lack a program that was unloaded since: then its run is over, and failing it does nothing.
    if (entry === undefined || entry instanceof Error) throw entry ?? new Error("the program never arrived");
    const { bindings, arena, scratch } = COMMAND;
    entry.run(member, command[bindings], command[arena], command[scratch], control, epoch);
  } catch (cause) {
    if (failRun(words, epoch)) reportFailure(words, member, cause);
  }
}
