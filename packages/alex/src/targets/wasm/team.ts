// The thread team's primitives inside a program's module: a central barrier over a control block in shared memory, with
// a generation word (Mellor-Crummey and Scott, "Algorithms for scalable synchronization on shared-memory
// multiprocessors", 1991, section 3.1). Waiting spins first and then sleeps on a futex.
//
// The barrier comes in two halves, so that the last member to arrive can do serial work before it lets the others go:
//   if (arrive(members, control)) { serial work; release(control) }
//
// Why it does not lose a wake-up: a sleeper first counts itself in `sleepers`, then waits for the generation to change
// from the value it read before arriving; the releaser first changes the generation, then reads `sleepers`. Atomics are
// sequentially consistent, so either the releaser sees the sleeper, or the sleeper's wait sees the new generation.
// Why the control block may be used again at once: the releaser has reset `arrived` and `next` before the generation
// changes, and a late leaver only reads the generation, which cannot change again before that member arrives again.

import type { ModuleBuilder } from "./encoder.ts";
import { VALUE } from "./encoder.ts";
import { OP } from "./opcodes.ts";

/** Size of the control block; it must be zeroed once, before the first run. */
export const CONTROL_BYTES = 256;

/** Offsets in the control block: one cache line for each word. */
export const CONTROL = { next: 0, arrived: 64, generation: 128, sleepers: 192 } as const;

/**
 * Reads of the generation before a member goes to sleep: about 60 us, at the 0.25 to 0.3 ns that one turn of the loop
 * takes on a 3 to 4 GHz core while nobody writes the word. Shorter than this, sleeping costs more than it saves;
 * longer, it takes the processor from members that still work.
 */
const SPIN_COUNT = 220_000;

export interface TeamFunctions {
  /** (members, control) -> i32: 1 for the last member to arrive, who must release; others return 0 once released. */
  readonly arrive: number;
  /** (control): opens the barrier. */
  readonly release: number;
}

/** Adds the barrier's two functions to a module. */
export function addTeamFunctions(module: ModuleBuilder): TeamFunctions {
  return { arrive: addArrive(module), release: addRelease(module) };
}

function addArrive(module: ModuleBuilder): number {
  const { index, body } = module.function("team.arrive", [VALUE.i32, VALUE.i32], [VALUE.i32]);
  const members = 0;
  const control = 1;
  const generation = body.local(VALUE.i32);
  const spins = body.local(VALUE.i32);
  const readGeneration = (): void => void body.get(control).memory(OP.i32AtomicLoad, 2, CONTROL.generation);

  readGeneration();
  body.set(generation);
  body.get(control).i32(1).memory(OP.i32AtomicAdd, 2, CONTROL.arrived);
  body.get(members).i32(1).op(OP.i32Sub).op(OP.i32Eq).if().i32(1).return().end();

  body.i32(SPIN_COUNT).set(spins);
  body.loop();
  readGeneration();
  body.get(generation).op(OP.i32Ne).if().i32(0).return().end();
  body.get(spins).i32(1).op(OP.i32Sub).tee(spins).brIf(0);
  body.end();

  body.get(control).i32(1).memory(OP.i32AtomicAdd, 2, CONTROL.sleepers).drop();
  body.block().loop();
  readGeneration();
  body.get(generation).op(OP.i32Ne).brIf(1);
  body.get(control).get(generation).i64(-1).memory(OP.wait32, 2, CONTROL.generation).drop();
  body.br(0).end().end();
  body.get(control).i32(1).memory(OP.i32AtomicSub, 2, CONTROL.sleepers).drop();
  body.i32(0);
  return index;
}

function addRelease(module: ModuleBuilder): number {
  const { index, body } = module.function("team.release", [VALUE.i32], []);
  const control = 0;
  body.get(control).i32(0).memory(OP.i32AtomicStore, 2, CONTROL.arrived);
  body.get(control).i32(0).memory(OP.i32AtomicStore, 2, CONTROL.next);
  body.get(control).i32(1).memory(OP.i32AtomicAdd, 2, CONTROL.generation).drop();
  body.get(control).memory(OP.i32AtomicLoad, 2, CONTROL.sleepers).if();
  body.get(control).i32(-1).memory(OP.notify, 2, CONTROL.generation).drop();
  body.end();
  return index;
}
