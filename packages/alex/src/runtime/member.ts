// The life of a team member: sleep, take part in what is posted, say so. It runs on a worker thread and returns to its
// event loop only for mail that has to be awaited, as in browsers; the thread is ended from outside.

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
import type { MemberInit, MemberMail } from "./protocol.ts";
import type { Loadable, ProgramEntry, ProgramOpener } from "./target.ts";

/** The next piece of mail, if there is one, or a promise of it where mail comes by the event loop. */
export type Mailbox = () => MemberMail | undefined | Promise<MemberMail>;

/**
 * Serves as a member until the thread is ended. `receive` is asked for as many pieces of mail as were sent; `open`
 * loads the programs in them.
 */
export async function serveMember(init: MemberInit, receive: Mailbox, open: ProgramOpener): Promise<never> {
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
    for (; mail !== sent; mail = (mail + 1) | 0) {
      const received = receive();
      const piece = received instanceof Promise ? await received : received;
      read(programs, piece, (loadable) => open(loadable, memory));
    }
    const takesPart = isWhole && member >= command[COMMAND.first] && member < command[COMMAND.members];
    if (takesPart) takePart(words, member, blockBytes, command, programs.get(command[COMMAND.program]));
    Atomics.store(words, leftWord(member), posts);
    Atomics.notify(words, leftWord(member));
  }
}

function read(
  programs: Map<number, ProgramEntry | Error>,
  mail: MemberMail | undefined,
  open: (loadable: Loadable) => ProgramEntry,
): void {
  if (mail === undefined) return;
  if (mail.kind === "load") {
    programs.set(
      mail.program,
      tryOpen(() => open(mail.loadable)),
    );
    return;
  }
  const entry = programs.get(mail.program);
  programs.delete(mail.program);
  if (entry !== undefined && !(entry instanceof Error)) entry.close?.();
}

/** A program that cannot be loaded is kept as its error, and fails the run that asks for it. */
function tryOpen(open: () => ProgramEntry): ProgramEntry | Error {
  try {
    return open();
  } catch (cause) {
    return cause instanceof Error ? cause : new Error(String(cause));
  }
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
