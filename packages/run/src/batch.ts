// Generations that share steps (continuous batching: Yu et al. 2022, Orca, OSDI). Each step reads one token of every
// generation that asks for one, so that the weights are read once for all; whoever asks for nothing does not take part.
// Prompts are read in chunks, one between two steps, by turns. There are so many seats in a pool of sequences, all with
// room for the longest text so far; who comes when they are taken waits, and nobody keeps a seat from others who is not
// read on. Pools are opened, enlarged and compiled for beside what runs.

import { openSequencePool, poolBytes } from "@fidelity/models";
import type { DeviceParameters, Model, PoolMemory, PoolOptions, SavedSequence, Sequence } from "@fidelity/models";
import type { SequencePool } from "@fidelity/models";
import { ProgramMissingError } from "@fidelity/core";
import type { CacheDtype, Device } from "@fidelity/core";
import { formatBytes, invariant } from "@fidelity/units";
import { OutOfRoomError } from "./errors.ts";
import { nextTurn } from "./pause.ts";
import { capacityFor, closedError } from "./session-pool.ts";

export interface BatchOptions {
  readonly model: Model;
  readonly parameters: DeviceParameters;
  readonly device: Device;
  /** How many generations are in progress at a time: 2 or more. */
  readonly lanes: number;
  /** Tokens that every generation has room for; without it, powers of two as texts need them. */
  readonly context?: number;
  /** What keys and values of attention are stored as, as in the sessions of those who come. */
  readonly cacheDtype?: CacheDtype;
  /** Whether the pool is kept when nobody uses it. */
  readonly isKept: boolean;
  /** How much memory there is left. Default: the device says when there is none. */
  readonly freeBytes?: () => number;
}

/** Nobody waits for this any more. */
export class Interrupted extends Error {}

/** Tokens of a prompt that are read between two steps; an eighth of them is the shortest chunk of sessions, too. */
const CHUNK_LENGTH = 32;
/**
 * Attention goes over so many neighbouring keys at a time, here as in a session with room for up to 4096 tokens, so
 * that both add in one order. In longer ones it takes more keys; pages that follow would make moving to a larger pool
 * a copy of another form, and of a prompt less would be known.
 */
const PAGE_SIZE = 256;
/** Every pool is opened with the program for so many, which serves for fewer until theirs is compiled. */
const FIRST_WIDTH = 2;

/** The place of one generation, whether it sits in the pool, waits, or still has a session of its own. */
export class Seat {
  /** Tokens that its text may come to. */
  readonly need: number;
  /** Of the prompt, those that need not be read; undefined before that is known. */
  cachedTokens: number | undefined;
  /** How long it waited for programs. */
  compileSeconds = 0;
  /** Where it sits. */
  sequence: Sequence | undefined;
  /** What it goes on from, while it waits. */
  entry: SavedSequence | undefined;
  /** Whether a prompt is read, of which chunks may be left. */
  isReading = false;
  /** Who asks for logits. */
  ask: PromiseWithResolvers<Float32Array> | undefined;
  /** When it was served or asked last, by a clock of steps. */
  turn = 0;
  /** Since when it has waited for programs, ms. */
  waitingSinceMs: number | undefined;

  constructor(need: number) {
    this.need = need;
  }
}

export class Batch {
  readonly #options: BatchOptions;
  readonly #seats = new Set<Seat>();
  #pool: SequencePool | undefined;
  /** The pool that takes the place of the other at the next turn. */
  #next: SequencePool | undefined;
  /** Lanes of the pool's programs that are compiled, and those that were asked for. */
  #widths = { ready: new Set<number>(), wanted: new Set<number>() };
  #opening: Promise<void> | undefined;
  readonly #preparing: Promise<void>[] = [];
  /** Whom the work in progress is for; those of them who have left are freed behind it. */
  #inWork: ReadonlySet<Seat> = new Set();
  readonly #leaving: Sequence[] = [];
  #work: Promise<void> | undefined;
  /** By the tokens of a text, what the device has no programs for. */
  readonly #missing = new Map<number | undefined, ProgramMissingError>();
  /** Tokens for which there was no room. */
  #tooMuch = Infinity;
  #clock = 0;
  /** Whether it is a prompt's turn. */
  #isForPrompts = true;
  #isClosed = false;

  constructor(options: BatchOptions) {
    this.#options = options;
  }

  /** How many generations there are, all that joined and have not left. */
  get size(): number {
    return this.#seats.size;
  }

  /** What the pool takes; undefined while there is none. */
  get memory(): PoolMemory | undefined {
    return this.#pool?.memory;
  }

  /** Why there is no pool: the device cannot make its programs. */
  get missing(): ProgramMissingError | undefined {
    return this.#pool === undefined ? this.#missing.values().next().value : undefined;
  }

  get pageSize(): number {
    return PAGE_SIZE;
  }

  /** A generation begins, whose text may come to so many tokens. */
  join(need: number): Seat {
    if (this.#isClosed) throw closedError();
    const seat = new Seat(need);
    this.#seats.add(seat);
    return seat;
  }

  /** How many tokens of a prompt need not be read here. */
  known(prompt: readonly number[]): number {
    const pool = this.#pool;
    if (pool === undefined || prompt.length === 0 || prompt.length > pool.limit) return 0;
    const sequence = pool.open(prompt);
    pool.free(sequence);
    return sequence.position;
  }

  /** Whether a generation with a session of its own should come: others are here, and its seat is ready. */
  wants(seat: Seat): boolean {
    if (this.#seats.size < 2) return false;
    if (this.#pool !== undefined && this.#pool.limit >= seat.need) return true;
    if (this.#pool !== undefined && seat.need < this.#tooMuch) this.#open();
    return false;
  }

  /** Takes a seat, or waits for one, to go on from what was read of these tokens. */
  enter(seat: Seat, entry: SavedSequence): void {
    seat.entry = entry;
  }

  /**
   * The logits after all tokens of a seat and these: a view that is good until the next turn. Rejects with
   * `Interrupted`, `ModelClosedError`, `OutOfRoomError` where there is no memory for the pool, `ProgramMissingError`
   * where the device cannot make its programs, and what pools throw.
   */
  ask(seat: Seat, tokens: readonly number[], isReading = false): Promise<Float32Array> {
    if (this.#isClosed) return Promise.reject(closedError());
    if (seat.sequence !== undefined) this.#pool!.append(seat.sequence, ...tokens);
    else if (seat.entry !== undefined) seat.entry = { ...seat.entry, tokens: [...seat.entry.tokens, ...tokens] };
    seat.isReading = isReading;
    seat.ask = Promise.withResolvers();
    seat.turn = ++this.#clock;
    this.#work ??= this.#serve();
    return seat.ask.promise;
  }

  /** Whoever asks for a seat is told that nobody waits for it. */
  interrupt(seat: Seat): void {
    this.#fail(seat, new Interrupted());
  }

  /** A generation has ended: what it held is free. */
  leave(seat: Seat): void {
    if (!this.#seats.delete(seat)) return;
    this.interrupt(seat);
    const { sequence } = seat;
    seat.sequence = undefined;
    seat.entry = undefined;
    if (sequence !== undefined) {
      if (this.#inWork.has(seat)) this.#leaving.push(sequence);
      else this.#pool?.free(sequence);
    }
    if (this.#seats.size > 0 || !this.#options.isKept) this.#work ??= this.#serve();
  }

  /** Ends all that asks with `ModelClosedError`, and gives the memory back. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const seat of this.#seats) this.#fail(seat, closedError());
    await Promise.allSettled([this.#work, this.#opening, ...this.#preparing]);
    this.#pool?.close();
    this.#next?.close();
  }

  /** Works as long as somebody asks. Others have their turn between two steps, and may ask, too. */
  async #serve(): Promise<void> {
    for (;;) {
      await nextTurn();
      if (this.#isClosed) break;
      try {
        this.#admit();
        const asking = [...this.#seats].filter((seat) => seat.ask !== undefined && seat.sequence !== undefined);
        if (asking.length > 0) await this.#advance(asking.toSorted((a, b) => a.turn - b.turn));
        else if (!this.#makeWay()) break;
      } catch (error) {
        for (const seat of this.#seats) this.#fail(seat, error);
      }
    }
    this.#work = undefined;
    if (this.#seats.size === 0 && !this.#options.isKept && this.#opening === undefined) {
      this.#pool?.close();
      this.#pool = undefined;
    }
  }

  /** Reads a chunk of one prompt, or one token of each of the others, by turns. */
  async #advance(asking: readonly Seat[]): Promise<void> {
    const pool = this.#pool!;
    const readers = asking.filter(({ isReading }) => isReading);
    const isForPrompts = readers.length > 0 && (this.#isForPrompts || readers.length === asking.length);
    this.#isForPrompts = !isForPrompts;
    const steppers = asking.filter(({ isReading }) => !isReading);
    const width = isForPrompts ? 1 : this.#widthFor(steppers.length, pool);
    const served = isForPrompts ? readers.slice(0, 1) : steppers.slice(0, width);
    for (const seat of served) seat.turn = ++this.#clock;
    this.#inWork = new Set(served);
    const sequences = served.map(({ sequence }) => sequence!);
    try {
      if (isForPrompts) served[0].isReading = await pool.prefill(sequences[0]);
      else {
        const logits = await pool.step(sequences, width);
        for (const [i, seat] of served.entries()) {
          if (sequences[i].position < sequences[i].tokens.length) continue; // the end of a prompt
          seat.ask?.resolve(logits[i]);
          seat.ask = undefined;
        }
      }
    } catch (error) {
      for (const seat of served) this.#fail(seat, error);
    } finally {
      this.#inWork = new Set();
      for (const sequence of this.#leaving.splice(0)) pool.free(sequence);
    }
  }

  /** The narrowest program for so many that is compiled, or the widest; the right one is compiled meanwhile. */
  #widthFor(count: number, pool: SequencePool): number {
    const { ready, wanted } = this.#widths;
    const right = pool.widthFor(count);
    if (!wanted.has(right)) {
      wanted.add(right);
      this.#preparing.push(prepare(pool, right, ready));
    }
    const wide = [...ready].filter((width) => width >= right);
    return wide.length > 0 ? Math.min(...wide) : Math.max(...ready);
  }

  /** Seats who waits, as far as there is room. */
  #admit(): void {
    this.#replacePool();
    const [pool, { lanes }] = [this.#pool, this.#options];
    for (const seat of this.#seats) {
      if (seat.entry === undefined || seat.ask === undefined) continue;
      if (pool === undefined || pool.limit < seat.need) {
        seat.waitingSinceMs ??= performance.now();
        this.#open();
      } else if ([...this.#seats].filter(({ entry }) => entry === undefined).length < lanes) this.#place(seat, pool);
    }
  }

  #place(seat: Seat, pool: SequencePool): void {
    const { entry, waitingSinceMs } = seat;
    invariant(entry !== undefined, "who is seated has waited");
    try {
      seat.sequence = entry.position === 0 ? pool.open(entry.tokens) : pool.restore(entry);
      seat.entry = undefined;
      seat.cachedTokens ??= seat.sequence.position;
      if (waitingSinceMs !== undefined) seat.compileSeconds += (performance.now() - waitingSinceMs) / 1000;
      seat.waitingSinceMs = undefined;
    } catch (error) {
      this.#fail(seat, error);
    }
  }

  /** Where somebody waits and nobody who has a seat asks for anything, one of these gives it up. False: none does. */
  #makeWay(): boolean {
    const pool = this.#pool;
    const waits = [...this.#seats].some(({ entry, ask, need }) => entry && ask && need <= (pool?.limit ?? 0));
    if (!waits || pool === undefined) return false;
    const seated = [...this.#seats].filter(({ sequence }) => sequence !== undefined);
    const idle = seated.toSorted((a, b) => a.turn - b.turn).at(0);
    if (idle?.sequence === undefined) return false;
    idle.entry = pool.save(idle.sequence);
    pool.free(idle.sequence);
    idle.sequence = undefined;
    return true;
  }

  /** Opens a pool for the longest text that is in the making; whoever waits for it fails where it cannot be. */
  #open(): void {
    if (this.#next === undefined) this.#opening ??= this.#openNext();
  }

  async #openNext(): Promise<void> {
    try {
      this.#next = await this.#prepareNext();
      this.#tooMuch = Infinity;
    } catch (error) {
      const limit = this.#pool?.limit ?? 0;
      const others = [...this.#seats].filter(({ need }) => need > limit);
      this.#tooMuch = Math.min(...others.map(({ need }) => need));
      for (const seat of others) if (seat.entry !== undefined) this.#fail(seat, error);
    }
    this.#opening = undefined;
    if (!this.#isClosed) this.#work ??= this.#serve();
  }

  async #prepareNext(): Promise<SequencePool> {
    const { model, parameters, device, lanes, context, freeBytes, cacheDtype } = this.#options;
    const need = Math.max(...[...this.#seats].map((seat) => seat.need));
    const limit = capacityFor(model, need, context);
    const known = this.#missing.get(limit);
    if (known !== undefined) throw known;
    const settings = batchSettings(lanes, limit, cacheDtype);
    const [neededBytes, haveBytes] = [poolBytes(model, settings), freeBytes?.() ?? Infinity];
    if (neededBytes > haveBytes) throw noRoom(neededBytes, haveBytes, lanes, limit);
    const pool = openSequencePool(model, parameters, device, settings);
    try {
      await pool.prepare();
      await pool.prepare(FIRST_WIDTH);
    } catch (error) {
      if (error instanceof ProgramMissingError) this.#missing.set(limit, error);
      pool.close();
      throw error;
    }
    return pool;
  }

  /** Moves everybody to the pool that has been opened, if there is one. */
  #replacePool(): void {
    const [pool, next] = [this.#pool, this.#next];
    if (next === undefined) return;
    this.#next = undefined;
    for (const seat of this.#seats) {
      if (seat.sequence === undefined || pool === undefined) continue;
      seat.sequence = next.restore(pool.save(seat.sequence));
    }
    pool?.close();
    this.#pool = next;
    this.#widths = { ready: new Set([FIRST_WIDTH]), wanted: new Set([FIRST_WIDTH]) };
  }

  #fail(seat: Seat, error: unknown): void {
    const { ask } = seat;
    seat.ask = undefined;
    ask?.reject(error);
  }
}

/** The pool for so many generations at a time, each of at most `limit` tokens. */
export function batchSettings(lanes: number, limit: number | undefined, cacheDtype?: CacheDtype): PoolOptions {
  const settings = { lanes, pageSize: PAGE_SIZE, chunkLength: CHUNK_LENGTH, cacheDtype };
  return limit === undefined
    ? settings
    : { ...settings, limit, capacity: lanes * Math.ceil(limit / PAGE_SIZE) * PAGE_SIZE };
}

/** Compiles for more lanes. Where that cannot be, as without memory for it, those that are ready have to do. */
async function prepare(pool: SequencePool, width: number, ready: Set<number>): Promise<void> {
  try {
    await pool.prepare(width);
    ready.add(width);
  } catch {
    // Others are ready.
  }
}

function noRoom(neededBytes: number, haveBytes: number, lanes: number, limit: number | undefined): OutOfRoomError {
  const each = limit === undefined ? "their states" : `${limit} tokens each`;
  return new OutOfRoomError(`needs ${formatBytes(neededBytes)}, have ${formatBytes(haveBytes)}`, {
    where: `room for ${lanes} generations that share steps, ${each}`,
    hint: "open the model with fewer: parallel: 2, or parallel: 1, by which they take turns; or give it less context",
  });
}
