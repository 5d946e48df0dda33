// What reads the tokens of one generation: a session while it is alone, which is the fastest for one, and a seat among
// those that share steps as soon as there are others. What was read goes along.

import { ProgramMissingError } from "@fidelity/core";
import type { Model, Session, TokenReader } from "@fidelity/models";
import { Interrupted } from "./batch.ts";
import type { Batch, Seat } from "./batch.ts";
import { Pause } from "./pause.ts";
import type { Lane, SessionPool } from "./session-pool.ts";

/** Where generations find what reads their tokens. */
export interface ReaderHome {
  readonly model: Model;
  readonly pool: SessionPool;
  /** Undefined where generations take turns, each in a session of its own. */
  readonly batch: Batch | undefined;
}

/** What one generation needs. */
export interface ReaderRequest {
  readonly prompt: readonly number[];
  /** Tokens that prompt and text may come to. */
  readonly need: number;
  /** Whether it must have a session. */
  readonly isAlone: boolean;
  readonly signal: AbortSignal | undefined;
  /** Prompt and text, as far as they have come. */
  readonly tokens: () => readonly number[];
}

export class Reader implements TokenReader {
  readonly #home: ReaderHome;
  readonly #request: ReaderRequest;
  readonly #pause = new Pause();
  /** One of both: a session, or a seat; a seat without a sequence or an entry still has the session. */
  #lane: Lane | undefined;
  #seat: Seat | undefined;
  /** What sessions that it gave back compiled for it. */
  #compiledSeconds = 0;

  /** Takes a session, or a seat. Throws `ModelClosedError`. */
  static async open(home: ReaderHome, request: ReaderRequest): Promise<Reader> {
    const reader = new Reader(home, request);
    try {
      await reader.#begin();
    } catch (error) {
      reader.release(false);
      throw error;
    }
    return reader;
  }

  private constructor(home: ReaderHome, request: ReaderRequest) {
    this.#home = home;
    this.#request = request;
  }

  get model(): Model {
    return this.#home.model;
  }

  /** Tokens of the prompt that need not be read. */
  get cachedTokens(): number {
    return this.#lane?.cachedTokens ?? this.#seat?.cachedTokens ?? 0;
  }

  /** How long compiling took, as far as this generation waited for it. */
  get compileSeconds(): number {
    const here = this.#lane === undefined ? 0 : compiledBy(this.#lane);
    return this.#compiledSeconds + here + (this.#seat?.compileSeconds ?? 0);
  }

  /** The session of one that is alone. */
  get session(): Session | undefined {
    return this.#lane?.session;
  }

  /**
   * Reads the whole chunks of the prompt in a session, so that a signal is heard in a long one. Gives how many
   * tokens have been read; others may have come meanwhile. Throws `Interrupted`.
   */
  async readAhead(prompt: readonly number[]): Promise<number> {
    const { session } = this.#lane!;
    do this.#requireGoingOn();
    while (!this.#isWanted && (await this.#readChunk(session, prompt)));
    return session.position;
  }

  async #readChunk(session: Session, prompt: readonly number[]): Promise<boolean> {
    const isRead = await this.#home.pool.during(session.prefillChunk(prompt, session.position));
    await this.#pause.turn();
    this.#home.pool.requireOpen();
    return isRead;
  }

  /** Reads what is left of the prompt. Those that share steps get all logits. Throws as `Batch.ask`. */
  async prefill(prompt: ArrayLike<number>, allowed?: Uint32Array): Promise<Float32Array> {
    const tokens = Array.from(prompt);
    const read = this.#lane === undefined ? 0 : await this.readAhead(tokens);
    if (this.#isWanted) this.#move();
    this.#requireGoingOn();
    if (this.#lane === undefined) return await this.#prefillShared(tokens, allowed);
    return await this.#lane.session.prefill(tokens.slice(read), allowed);
  }

  /** In a seat, or in a session of its own where the device has no programs for those that share steps. */
  async #prefillShared(prompt: readonly number[], allowed?: Uint32Array): Promise<Float32Array> {
    const { pool, batch } = this.#home;
    const seat = this.#seat!;
    try {
      return await batch!.ask(seat, [], true);
    } catch (error) {
      if (!(error instanceof ProgramMissingError)) throw error;
    }
    batch!.leave(seat);
    this.#seat = undefined;
    this.#lane = await pool.take(prompt, this.#request.need);
    return await this.prefill(prompt, allowed);
  }

  /** Reads the last token of the text. */
  step(token: number, allowed?: Uint32Array): Float32Array | Promise<Float32Array> {
    if (this.#isWanted) {
      this.#move();
      return this.#home.batch!.ask(this.#seat!, []); // the text ends with the token
    }
    return this.#lane === undefined
      ? this.#home.batch!.ask(this.#seat!, [token])
      : this.#lane.session.step(token, allowed);
  }

  get peaks(): Float32Array | undefined {
    return this.#lane?.session.peaks;
  }

  /** Gives back what it has: a session with what it has read, where that is known. Harmless when repeated. */
  release(isWhole: boolean): void {
    const { pool, batch } = this.#home;
    this.#request.signal?.removeEventListener("abort", this.#interrupt);
    if (this.#seat !== undefined) batch?.leave(this.#seat);
    this.#giveBack((lane) => pool.release(lane, isWhole ? this.#known(lane.session) : undefined));
  }

  async #begin(): Promise<void> {
    const { pool, batch } = this.#home;
    const { prompt, need, isAlone, signal } = this.#request;
    signal?.addEventListener("abort", this.#interrupt);
    if (batch === undefined || isAlone) {
      this.#lane = await pool.take(prompt, need);
      return;
    }
    this.#seat = batch.join(need);
    const [found, there] = [pool.find(prompt, need), batch.known(prompt)];
    const here = found?.known ?? 0;
    if (batch.size === 1 && there <= here) this.#lane = await pool.take(prompt, need);
    else if (found !== undefined && there < here) {
      batch.enter(this.#seat, found.session.saveSequence(prompt, batch.pageSize, here)); // and it keeps what it knows
    } else batch.enter(this.#seat, { tokens: prompt, position: 0, pages: [], state: undefined });
  }

  /** Whether others share steps, and this one should, too. */
  get #isWanted(): boolean {
    return this.#lane !== undefined && this.#seat !== undefined && this.#home.batch!.wants(this.#seat);
  }

  /** From the session to a seat. */
  #move(): void {
    const { pool, batch } = this.#home;
    const [lane, seat] = [this.#lane!, this.#seat!];
    seat.cachedTokens = lane.cachedTokens;
    batch!.enter(seat, lane.session.saveSequence(this.#request.tokens(), batch!.pageSize));
    this.#giveBack(() => pool.release(lane, this.#known(lane.session)));
  }

  #giveBack(release: (lane: Lane) => void): void {
    const lane = this.#lane;
    if (lane === undefined) return;
    this.#compiledSeconds += compiledBy(lane);
    this.#lane = undefined;
    release(lane);
  }

  /** What a session has read: a beginning of what was asked and answered, the last token mostly was not. */
  #known(session: Session): readonly number[] {
    const all = this.#request.tokens();
    if (session.position > all.length) {
      // Guesses that were right and that nobody took.
      if (session.canRewind) session.rewind(all.length);
      else session.reset();
    }
    return all.slice(0, session.position);
  }

  readonly #interrupt = (): void => {
    if (this.#seat !== undefined) this.#home.batch?.interrupt(this.#seat);
  };

  #requireGoingOn(): void {
    if (this.#request.signal?.aborted === true) throw new Interrupted();
  }
}

/** What a session has compiled since it was taken. */
function compiledBy({ compiler, compileSeconds }: Lane): number {
  return compiler.seconds - compileSeconds;
}
