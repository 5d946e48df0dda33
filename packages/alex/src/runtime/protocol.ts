// How the caller and the members of a thread team speak: one block of shared memory, and mail for what is not numbers.
// The run itself is in the control block at its start (targets/team.ts). To post a run, the caller writes the
// command, starts the run, and counts a post for each member that takes part; nobody waits for members to come or to
// leave. Left out: more than one run at a time, and members in other processes.
//
// A member that comes late may find the command of a later run, or one that is being written. The command is a sequence
// lock: its epoch is 0 while the caller writes it, so a member that reads the same epoch before and after the rest has
// read one command. If that is a later run than it was posted, it is a run all the same, and its post follows. If not,
// the member is late for all that was: when the caller writes a command, the run before is over.
// The caller waits for members only where that is not enough, when a run has failed (members may hold chunks still) and
// before it uses epochs again: until each member's count of posts seen to the end, `left`, is that of its posts.

import { CONTROL, CONTROL_BYTES, STAGE_ENDED, STAGE_FAILED } from "../targets/team.ts";
import type { Loadable } from "./target.ts";

/** Positions in the block, in 32-bit words. What different threads write lies on different cache lines. */
export const WORD = {
  /** A count of ended runs; the control block's. */
  ended: CONTROL.ended / 4,
  /** The command: `COMMAND_WORDS` words. */
  epoch: CONTROL_BYTES / 4,
  /** The member that failed the run, plus 1; then the length of what it said, in bytes. */
  failed: 96,
  trapTextBytes: 97,
  trapText: 112,
  /** The first member's line; the others follow. */
  firstMember: 240,
} as const;

/** Places in a command. Members from `first` to below `members` take part. */
export const COMMAND = {
  epoch: 0,
  program: 1,
  first: 2,
  members: 3,
  bindings: 4,
  arena: 5,
  scratch: 6,
} as const;
export const COMMAND_WORDS = 7;

const TRAP_TEXT_BYTES_MAX = (WORD.firstMember - WORD.trapText) * 4;

/** Words for one member: a line that the caller writes and one that the member writes. */
const MEMBER_WORDS = 32;

/** Where a member's count of posts is: one for each run that it was to take part in. */
export function postWord(member: number): number {
  return WORD.firstMember + member * MEMBER_WORDS;
}

/** Where a member's count of posted mail is. */
export function mailWord(member: number): number {
  return postWord(member) + 1;
}

/** Where a member says which post it has seen to the end: it holds nothing of that run or an earlier one. */
export function leftWord(member: number): number {
  return postWord(member) + 16;
}

/** The size of the block for a team of `threads` members. */
export function teamBlockBytes(threads: number): number {
  return postWord(threads) * 4;
}

/** Views over a block that is at byte `blockBytes` of the memory. They stay valid when the memory grows. */
export function teamWords(memory: WebAssembly.Memory, blockBytes: number, threads: number): Int32Array {
  return new Int32Array(memory.buffer, blockBytes, teamBlockBytes(threads) / 4);
}

/** Writes a command but for its epoch, which is 0 until `publishCommand`. */
export function writeCommand(
  words: Int32Array,
  program: number,
  first: number,
  members: number,
  bindings: number,
  arena: number,
  scratch: number,
): void {
  Atomics.store(words, WORD.epoch + COMMAND.epoch, 0);
  Atomics.store(words, WORD.epoch + COMMAND.program, program);
  Atomics.store(words, WORD.epoch + COMMAND.first, first);
  Atomics.store(words, WORD.epoch + COMMAND.members, members);
  Atomics.store(words, WORD.epoch + COMMAND.bindings, bindings);
  Atomics.store(words, WORD.epoch + COMMAND.arena, arena);
  Atomics.store(words, WORD.epoch + COMMAND.scratch, scratch);
}

/** Makes the command that was written that of a run, which has been started. */
export function publishCommand(words: Int32Array, epoch: number): void {
  Atomics.store(words, WORD.epoch + COMMAND.epoch, epoch);
}

/** Copies the command; gives whether it was a whole one. */
export function readCommand(words: Int32Array, into: Int32Array): boolean {
  for (let i = 0; i < COMMAND_WORDS; i++) into[i] = Atomics.load(words, WORD.epoch + i);
  const epoch = into[COMMAND.epoch];
  return epoch !== 0 && Atomics.load(words, WORD.epoch + COMMAND.epoch) === epoch;
}

/** What a member is told when it starts. */
export interface MemberInit {
  readonly memory: WebAssembly.Memory;
  readonly blockBytes: number;
  readonly member: number;
  readonly threads: number;
  /** The processor that it is to stay on. */
  readonly processor?: number;
}

/** What a member is sent while it lives; it looks when its mail word has changed. */
export type MemberMail =
  | { readonly kind: "load"; readonly program: number; readonly loadable: Loadable }
  | { readonly kind: "unload"; readonly program: number };

const SPIN_MS = 0.06;

/** Tells the core that this is a spin loop; engines without `Atomics.pause` spin without it. */
const relax: () => void = (Atomics as { pause?: () => void }).pause ?? (() => {});

/** Reads `word` up to `spins` times until it is no longer `seen`. */
function spinUntilChanged(words: Int32Array, word: number, seen: number, spins: number): boolean {
  for (let spin = 0; spin < spins; spin++) {
    if (Atomics.load(words, word) !== seen) return true;
    relax();
  }
  return false;
}

/**
 * How many reads of a word take the time in which a sleeping thread would wake (about 60 us). A pause takes 5 to 500 ns
 * by machine. Found once, because looking at the clock while spinning leaves garbage.
 */
export function calibrateSpins(): number {
  const words = new Int32Array(1);
  const trialSpins = 64;
  let trialMs = Infinity;
  for (let trial = 0; trial < 5; trial++) {
    const started = performance.now();
    spinUntilChanged(words, 0, 0, trialSpins);
    trialMs = Math.min(trialMs, performance.now() - started);
  }
  return Math.ceil((trialSpins * SPIN_MS) / Math.max(trialMs, 1e-3));
}

/** Waits until a word is no longer `seen`: spins first, then sleeps. Gives the word. */
export function awaitChange(words: Int32Array, word: number, seen: number, spins: number): number {
  if (!spinUntilChanged(words, word, seen, spins)) Atomics.wait(words, word, seen);
  return Atomics.load(words, word);
}

/** The run's word of a team's block: see targets/team.ts. For where making a big integer does no harm. */
export function teamState(words: Int32Array): BigUint64Array {
  return new BigUint64Array(words.buffer, words.byteOffset + CONTROL.state, 1);
}

const stageOf = (state: bigint): number => Number((state >> 32n) & 0xffffn);

/** Whether the run that was started last is over, and how. */
export function runStatus(words: Int32Array): "running" | "ended" | "failed" {
  const stage = stageOf(Atomics.load(teamState(words), 0));
  return stage === STAGE_ENDED ? "ended" : stage === STAGE_FAILED ? "failed" : "running";
}

/**
 * Fails a run, unless it is over: then it gives false, and the failure is nobody's. All members leave as soon as they
 * look, and the caller goes on when they have. Of several that fail, one succeeds, and says why (`reportFailure`).
 */
export function failRun(words: Int32Array, epoch: number): boolean {
  if (!failState(words, epoch)) return false;
  Atomics.add(words, WORD.ended, 1);
  Atomics.notify(words, WORD.ended);
  return true;
}

/** Fails the run in progress, if there is one, without a word to its caller: for a process that exits. */
export function abandonRun(words: Int32Array): void {
  failState(words, Number(Atomics.load(teamState(words), 0) >> 48n));
}

function failState(words: Int32Array, epoch: number): boolean {
  const states = teamState(words);
  const failed = (BigInt(epoch) << 48n) | (BigInt(STAGE_FAILED) << 32n);
  for (;;) {
    const state = Atomics.load(states, 0);
    if (state >> 48n !== BigInt(epoch) || stageOf(state) >= STAGE_FAILED) return false;
    if (Atomics.compareExchange(states, 0, state, failed) === state) break;
  }
  // The same address as the word's, which members sleep on; notifying takes signed views only.
  Atomics.notify(new BigInt64Array(states.buffer, states.byteOffset, 1), 0);
  return true;
}

/** Notes that `member` failed the run and why; the one whose `failRun` succeeded calls it, before it leaves. */
export function reportFailure(words: Int32Array, member: number, cause: unknown): void {
  // encodeInto refuses shared memory, so the text takes a step in between.
  const encoded = new Uint8Array(TRAP_TEXT_BYTES_MAX);
  const { written } = new TextEncoder().encodeInto(failureCause(cause), encoded);
  new Uint8Array(words.buffer, words.byteOffset + WORD.trapText * 4, TRAP_TEXT_BYTES_MAX).set(encoded);
  Atomics.store(words, WORD.trapTextBytes, written);
  Atomics.store(words, WORD.failed, member + 1);
}

/** What a failure is told as. */
export function failureCause(cause: unknown): string {
  return cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
}

/** What the member that failed the run said. */
export function failureText(words: Int32Array): string {
  const at = words.byteOffset + WORD.trapText * 4;
  const shared = new Uint8Array(words.buffer, at, Atomics.load(words, WORD.trapTextBytes));
  return new TextDecoder().decode(shared.slice());
}
