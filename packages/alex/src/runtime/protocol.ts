// How the caller and the members of a thread team speak: one block of shared memory, and mail for what is not numbers.
// A run is posted by writing the command, then bumping the generation of each member that takes part; every participant
// adds itself to `DONE` when it leaves the program. Commands never overlap, so one command line serves all members.
// Left out: more than one run at a time, and members in other processes.

/** The one export of a compiled program. Addresses are bytes into the shared memory, taken as unsigned. */
export type ProgramEntry = (
  member: number,
  members: number,
  bindings: number,
  arena: number,
  scratch: number,
  control: number,
) => void;

/** The block starts with the control block of the program's own barriers and counters; it is zero at first. */
export const CONTROL_BYTES = 256;

/**
 * Where the control block has the generation of the program's barrier. Whoever waits in a barrier goes on when it
 * changes, so that a run can be brought to its end after one member trapped and will never arrive.
 */
export const CONTROL_GENERATION_BYTES = 128;

/** Positions in the block, in 32-bit words. What different threads write lies on different cache lines. */
export const WORD = {
  generation: CONTROL_GENERATION_BYTES / 4,
  program: 64,
  members: 65,
  bindings: 66,
  arena: 67,
  scratch: 68,
  /** How many members have left the run. */
  done: 80,
  /** The member that trapped first, plus 1; then the length of what it said, in bytes. */
  failed: 96,
  trapTextBytes: 97,
  trapText: 112,
  /** The first member's line; the others follow. */
  firstMember: 240,
} as const;

const TRAP_TEXT_BYTES_MAX = (WORD.firstMember - WORD.trapText) * 4;

/** Words from one member's line to the next, and what is on a line. */
const MEMBER_WORDS = 16;

/** Where a member's generation is: it grows by one for each run that the member takes part in. */
export function generationWord(member: number): number {
  return WORD.firstMember + member * MEMBER_WORDS;
}

/** Where a member's count of posted mail is. */
export function mailWord(member: number): number {
  return generationWord(member) + 1;
}

/** The size of the block for a team of `threads` members. */
export function teamBlockBytes(threads: number): number {
  return generationWord(threads) * 4;
}

/** Views over a block that is at byte `blockBytes` of the memory. They stay valid when the memory grows. */
export function teamWords(memory: WebAssembly.Memory, blockBytes: number, threads: number): Int32Array {
  return new Int32Array(memory.buffer, blockBytes, teamBlockBytes(threads) / 4);
}

/** What a member is told when it starts. */
export interface MemberInit {
  readonly memory: WebAssembly.Memory;
  readonly blockBytes: number;
  readonly member: number;
  readonly threads: number;
}

/** What a member is sent while it lives; it looks when its mail word has changed. */
export type MemberMail =
  | { readonly kind: "load"; readonly program: number; readonly module: WebAssembly.Module }
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
 * How many reads of a word take the time in which a sleeping thread would wake (about 60 us, KERNELS.md). A pause takes
 * 5 to 500 ns by machine. Found once, because looking at the clock while spinning leaves garbage.
 */
export function calibrateSpins(): number {
  const words = new Int32Array(new SharedArrayBuffer(4));
  const trialSpins = 64;
  let trialMs = Infinity;
  for (let trial = 0; trial < 5; trial++) {
    const started = performance.now();
    spinUntilChanged(words, 0, 0, trialSpins);
    trialMs = Math.min(trialMs, performance.now() - started);
  }
  return Math.ceil((trialSpins * SPIN_MS) / Math.max(trialMs, 1e-3));
}

/** Waits until a word is no longer `seen`, or for about `timeoutMs`: spins first, then sleeps. Gives the word. */
export function awaitChange(
  words: Int32Array,
  word: number,
  seen: number,
  spins: number,
  timeoutMs = Infinity,
): number {
  if (!spinUntilChanged(words, word, seen, spins)) Atomics.wait(words, word, seen, timeoutMs);
  return Atomics.load(words, word);
}

const OPENINGS = 64;

/**
 * Opens the barriers that members may be waiting in, some in a row. After a failure this is repeated until all have
 * left: each time they go on to the next barrier, and the schedule is finite. What they write on the way is undefined.
 */
export function openBarriers(words: Int32Array): void {
  for (let opening = 0; opening < OPENINGS; opening++) {
    Atomics.add(words, WORD.generation, 1);
    Atomics.notify(words, WORD.generation);
    relax();
  }
}

/** How long to wait before barriers are opened again. */
export const REOPEN_MS = 0.05;

/** Notes that `member` failed and why, unless another was first. */
export function reportFailure(words: Int32Array, member: number, cause: unknown): void {
  if (Atomics.compareExchange(words, WORD.failed, 0, member + 1) !== 0) return;
  const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
  // encodeInto refuses shared memory, so the text takes a step in between.
  const encoded = new Uint8Array(TRAP_TEXT_BYTES_MAX);
  const { written } = new TextEncoder().encodeInto(text, encoded);
  new Uint8Array(words.buffer, words.byteOffset + WORD.trapText * 4, TRAP_TEXT_BYTES_MAX).set(encoded);
  Atomics.store(words, WORD.trapTextBytes, written);
}

/** What the member that failed first said. */
export function failureText(words: Int32Array): string {
  const at = words.byteOffset + WORD.trapText * 4;
  const shared = new Uint8Array(words.buffer, at, Atomics.load(words, WORD.trapTextBytes));
  return new TextDecoder().decode(shared.slice());
}

/** A member leaves the run; the last one wakes the caller. */
export function leaveRun(words: Int32Array, members: number): void {
  if (Atomics.add(words, WORD.done, 1) + 1 === members) Atomics.notify(words, WORD.done);
}
