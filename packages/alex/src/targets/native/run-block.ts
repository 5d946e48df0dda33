// What a call of a library's `run` hands over, and what it gives: shared by the code that is printed and its callers.

/**
 * What `run` takes: the address of a block of 32-bit words, at these positions. The base is 64 bits, the address of the
 * team's memory; addresses behind it are relative to that, in `ADDRESS_BYTES`, only that of the control block is in
 * bytes. `spins` is how often to look before sleeping; `start` is the
 * stage at which a run without a team starts, 0 for the whole program.
 */
export const RUN_ARGUMENTS = {
  base: 0,
  member: 2,
  bindings: 3,
  arena: 4,
  scratch: 5,
  control: 6,
  epoch: 7,
  spins: 8,
  start: 9,
  words: 16,
} as const;

/** What `run` gives: the run was over, it failed, or it is over and this member ended it. */
export const RUN_RESULT = { over: 0, failed: 1, ended: 2 } as const;
