// Decoding on a device, token by token. A session owns a state and the programs that advance it in place: one for a
// single token, which gives logits, and one for a chunk of a prompt, which gives none and so never computes the head.
// Both read the same parameters and write the same state.
//
// `step` allocates nothing. A state can be saved and restored, so that several texts go on from one prompt. Each cache
// is one run of memory, which is read faster than pages are, and can be cut back; batches of sequences, and memory that
// sequences share, are in sequences/sequence_pool.ts.

import type { CacheDtype, Device, DeviceTensor, TensorType } from "@fidelity/core";
import { chooseOutputs, flattenTree, isTensorType } from "@fidelity/core";
import { FidelityError, invariant } from "@fidelity/units";
import type { DeviceParameters } from "./device_parameters.ts";
import { orderedParameters } from "./device_parameters.ts";
import type { GenerateOptions } from "./generate-tokens.ts";
import { generateTokens } from "./generate-tokens.ts";
import type { Model } from "./model.ts";
import { requireCausal } from "./model.ts";
import type { BoundState, ForwardProgram } from "./sequences/forward_program.ts";
import { chunkLengths, leftToSteps, SHORTER } from "./sequences/chunks.ts";
import { compileForward, stateLeaves } from "./sequences/forward_program.ts";
import type { SavedSequence } from "./sequences/pool_options.ts";
import { saveSequence } from "./sequences/saved_sequence.ts";
import type { StateFormat } from "./sequences/state_format.ts";
import { requireFormat, SessionStateError, stateFormat } from "./sequences/state_format.ts";

/** The sequence is as long as the model or the session allows. */
export class ContextLimitError extends FidelityError {}

/** Tokens that the model cannot read. */
export class TokenRangeError extends FidelityError {}

/** What a session knows of the tokens that it has read: a copy, in the order of the state's tensors. */
export interface SessionState {
  readonly format: StateFormat;
  readonly position: number;
  readonly tensors: readonly Uint8Array[];
}

export interface SessionOptions {
  /** Tokens to make room for; the model's limit by default. What is recurrent needs no room and ignores it. */
  readonly capacity?: number;
  /** Tokens of a prompt that are read at once, and eighths of them where fewer are left. Default 256. */
  readonly chunkLength?: number;
  /** What keys and values of attention are stored as, as in `PoolOptions`. Default f32. */
  readonly cacheDtype?: CacheDtype;
}

/** A longer chunk takes packed weights apart less often, but by then that hardly counts. */
const CHUNK_LENGTH = 256;

/**
 * Opens a session at the start of a sequence. `parameters` stay the caller's, may be packed, and must outlive it.
 * Throws `ParameterMismatchError` when they are not the model's, `ContextLimitError` for an impossible capacity, and
 * `ModelKindError` for an encoder.
 */
export async function openSession(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  { capacity, chunkLength = CHUNK_LENGTH, cacheDtype }: SessionOptions = {},
): Promise<Session> {
  requireCausal(model, "a session");
  invariant(Number.isInteger(chunkLength) && chunkLength >= 1, `a chunk of ${chunkLength} tokens`);
  const limit = sessionLimit(model, capacity);
  const programs = new SessionPrograms(model, parameters, device, limit, cacheDtype);
  try {
    return new Session(model, programs, await programs.compile(1, true), limit, chunkLength);
  } catch (error) {
    programs.free();
    throw error;
  }
}

function sessionLimit(model: Model, capacity: number | undefined): number {
  const most = model.contextLimit;
  if (most === null) return Infinity;
  if (capacity === undefined) return most;
  if (Number.isInteger(capacity) && capacity >= 1 && capacity <= most) return capacity;
  throw new ContextLimitError("the model's context is not that long", {
    where: `a session of a ${model.architecture} model`,
    expected: `a capacity from 1 to ${most} tokens`,
    got: String(capacity),
  });
}

/** The memory of a session, and programs bound to it. */
class SessionPrograms {
  readonly state: BoundState;
  /** The tensors of the state that are no caches by position. */
  readonly recurrent: readonly DeviceTensor[];
  /** What `save` gives a state of. */
  readonly format: StateFormat;
  readonly #model: Model;
  readonly #device: Device;
  readonly #parameters: DeviceParameters;
  readonly #owned: { free(): void }[] = [];

  constructor(
    model: Model,
    parameters: DeviceParameters,
    device: Device,
    limit: number,
    cacheDtype: CacheDtype | undefined,
  ) {
    orderedParameters(model, parameters);
    this.#model = model;
    this.#device = device;
    this.#parameters = parameters;
    this.format = stateFormat(model, cacheDtype);
    const leaves = stateLeaves(model);
    const types = model.stateTypes({ batch: 1, capacity: Number.isFinite(limit) ? limit : 1, cacheDtype });
    try {
      this.state = { types, tensors: flattenTree(types, isTensorType).map(({ leaf }) => this.#allocate(leaf)) };
      this.recurrent = this.state.tensors.filter((_, i) => !leaves[i].isCache);
    } catch (error) {
      this.free();
      throw error;
    }
  }

  #allocate(type: TensorType): DeviceTensor {
    const tensor = this.#device.tensor(type);
    this.#owned.push(tensor);
    return tensor;
  }

  /** The program that reads `length` tokens, and the logits after each of them if they are wanted. */
  async compile(length: number, withLogits: boolean): Promise<ForwardProgram> {
    const shape = { batch: 1, length, withLogits };
    const program = await compileForward(this.#model, this.#parameters, this.#device, this.state, shape);
    this.#owned.push(program);
    return program;
  }

  free(): void {
    for (const owned of this.#owned.splice(0).reverse()) owned.free();
  }
}

/** One sequence being read and written. Made by `openSession`. */
export class Session {
  readonly model: Model;
  /** The most tokens that the sequence may have; Infinity where there is no limit. */
  readonly limit: number;
  readonly chunkLength: number;
  readonly #programs: SessionPrograms;
  readonly #step: ForwardProgram;
  /** What reads chunks of a prompt, by the number of tokens. */
  readonly #chunks = new Map<number, ForwardProgram>();
  /** What `read` compiled, by the number of tokens. */
  readonly #readers = new Map<number, ForwardProgram>();
  #position = 0;
  /** Whether the last step was asked for some logits only. */
  #isChosen = false;
  // Views are taken again when the memory under them has moved, which empties them.
  #tokenView: Int32Array;
  #logitsView: Float32Array;
  #peaksView: Float32Array;

  constructor(model: Model, programs: SessionPrograms, step: ForwardProgram, limit: number, chunkLength: number) {
    this.model = model;
    this.limit = limit;
    this.chunkLength = chunkLength;
    this.#programs = programs;
    this.#step = step;
    this.#tokenView = step.tokens.i32();
    this.#logitsView = step.logits!.f32();
    this.#peaksView = step.peaks!.f32();
  }

  /** Number of tokens read so far. */
  get position(): number {
    return this.#position;
  }

  /**
   * Whether all that the session knows of the past lies in caches by position, as attention has it, so that `rewind`
   * can forget the last tokens.
   */
  get canRewind(): boolean {
    return this.#programs.recurrent.length === 0;
  }

  /** Bytes of the state, whatever the position. */
  get stateBytes(): number {
    return this.#programs.state.tensors.reduce((sum, tensor) => sum + tensor.bytes().byteLength, 0);
  }

  /**
   * Reads one token and gives the logits [vocabulary] of the next: a view that the next step overwrites. Throws
   * `ContextLimitError` at the end of the context and `TokenRangeError` for what is no token.
   * @param allowed a bit for every token that may come next, as `Sampler.sample` takes them: the logits of all others
   *   mean nothing, and what only they need is not read
   */
  step(token: number, allowed?: Uint32Array): Float32Array {
    this.#requireRoom(1);
    this.#requireToken(token);
    if (this.#tokenView.length === 0) this.#tokenView = this.#step.tokens.i32();
    this.#tokenView[0] = token;
    this.#choose(allowed);
    this.#run(this.#step, 1);
    if (this.#logitsView.length === 0) this.#logitsView = this.#step.logits!.f32();
    return this.#logitsView;
  }

  /**
   * The highest logit of each 16 neighbours, Infinity where one is NaN, after `step` and `prefill`: what
   * `Sampler.sample` looks at first. A view that the next step overwrites.
   */
  get peaks(): Float32Array {
    if (this.#peaksView.length === 0) this.#peaksView = this.#step.peaks!.f32();
    return this.#peaksView;
  }

  /**
   * Reads a prompt, in chunks where it is long, and gives the logits after its last token as `step` does. Nothing is
   * read if it does not fit or holds what is no token. An empty one throws `TokenRangeError`.
   */
  async prefill(tokens: ArrayLike<number>, allowed?: Uint32Array): Promise<Float32Array> {
    this.#requirePrompt(tokens);
    const last = tokens.length - 1; // left to `step`, which gives logits
    const chunked = last - leftToSteps(last, this.chunkLengths, this.canRewind);
    let read = 0;
    for (const length of this.chunkLengths) {
      while (chunked - read >= length || this.#mayPad(length, chunked - read)) {
        const count = Math.min(length, chunked - read);
        await this.#readChunk(length, tokens, read, count);
        read += count;
      }
    }
    for (; read < last; read++) this.step(tokens[read]);
    return this.step(tokens[last], allowed);
  }

  /**
   * Reads the longest chunk of a prompt from token `from` on, but not its last token, for those who have something else
   * to do between two of them; `prefill` reads the rest. Gives whether there was one. Throws as `prefill`.
   */
  async prefillChunk(tokens: ArrayLike<number>, from: number): Promise<boolean> {
    if (this.chunkLength === 1 || tokens.length - 1 - from < this.chunkLength) return false;
    this.#requirePrompt(Array.from({ length: this.chunkLength }, (_, i) => tokens[from + i]));
    await this.#readChunk(this.chunkLength, tokens, from, this.chunkLength);
    return true;
  }

  /** Reads `count` tokens by the program for `length`. */
  async #readChunk(length: number, tokens: ArrayLike<number>, from: number, count: number): Promise<void> {
    const chunk = this.#chunks.get(length) ?? (await this.#programs.compile(length, false));
    this.#chunks.set(length, chunk);
    const view = chunk.tokens.i32();
    for (let i = 0; i < length; i++) view[i] = i < count ? tokens[from + i] : 0;
    this.#run(chunk, count);
  }

  /** Tokens of the programs that read prompts, from the longest to the shortest. */
  get chunkLengths(): number[] {
    return chunkLengths(this.chunkLength);
  }

  /**
   * Whether a chunk may be filled up behind the `left` tokens that are still to be read: what is written to a cache
   * behind the position is written again before anything reads it. It pays where little is filled up, or where the
   * tokens would be read one by one.
   */
  #mayPad(length: number, left: number): boolean {
    const share = length < 2 * SHORTER ? 1 / 2 : 1 - 1 / SHORTER;
    return left > share * length && left < length && this.canRewind && this.#position + length <= this.limit;
  }

  /**
   * Reads tokens at once and gives the logits after each of them, [tokens, vocabulary]: a view that the next reading of
   * as many overwrites. A program is compiled for each number of tokens. Throws as `prefill`.
   */
  async read(tokens: ArrayLike<number>): Promise<Float32Array> {
    this.#requirePrompt(tokens);
    if (tokens.length === 1) return this.step(tokens[0]);
    const reader = this.#readers.get(tokens.length) ?? (await this.#programs.compile(tokens.length, true));
    this.#readers.set(tokens.length, reader);
    reader.tokens.i32().set(tokens);
    this.#run(reader, tokens.length);
    return reader.logits!.f32();
  }

  /**
   * Reads a prompt and gives out tokens, one by one, until `maxTokens` or `stop`. The last token given out has not been
   * read: begin the prompt of a continuation with it. Each token is computed on the calling thread when it is asked
   * for; whoever must hear timers and signals in between awaits one of them.
   */
  generate(prompt: ArrayLike<number>, options: GenerateOptions): AsyncGenerator<number, void, undefined> {
    return generateTokens(this, prompt, options);
  }

  /** A copy of the state, in the memory of `into` where that is given: an earlier copy that is needed no more. */
  save(into?: SessionState): SessionState {
    const tensors = this.#programs.state.tensors.map((tensor, index) => {
      const bytes = tensor.bytes();
      const copy = into?.tensors[index];
      if (copy?.length !== bytes.length) return bytes.slice();
      copy.set(bytes);
      return copy;
    });
    return { format: this.#programs.format, position: this.#position, tensors };
  }

  /**
   * A copy of what was read of `tokens`, for a pool of the same model and dtype of caches with pages of so many tokens:
   * its `restore` goes on from there.
   * @param position where to go on from, if not from where the session is: one that `rewind` could go to
   */
  saveSequence(tokens: readonly number[], pageSize: number, position = this.#position): SavedSequence {
    const views = this.#programs.state.tensors.map((tensor) => tensor.bytes());
    const { format } = this.#programs;
    return saveSequence(this.model, views, { format, tokens, position, pageSize });
  }

  /**
   * Goes on from a state that `save` gave, in this session or in another of the same model, capacity and dtype of
   * caches. Throws `SessionStateError` for any other.
   */
  restore({ format, position, tensors }: SessionState): void {
    const where = `a session of a ${this.model.architecture} model`;
    requireFormat(format, this.#programs.format, where);
    const views = this.#programs.state.tensors.map((tensor) => tensor.bytes());
    const fits = views.length === tensors.length && views.every((view, index) => view.length === tensors[index].length);
    if (!fits || position > this.limit) {
      const savedBytes = tensors.reduce((sum, { length }) => sum + length, 0);
      throw new SessionStateError("a saved state does not fit", {
        where,
        expected: `${views.length} tensors, ${this.stateBytes} bytes, of at most ${this.limit} tokens`,
        got: `${tensors.length} tensors, ${savedBytes} bytes, ${position} tokens`,
        hint: "restore it in a session of the same model with the same capacity",
      });
    }
    for (const [index, view] of views.entries()) view.set(tensors[index]);
    this.#position = position;
  }

  /**
   * Forgets all tokens from `position` on, at no cost. Throws `SessionStateError` for a position that was not reached,
   * and where something of the state is recurrent: `restore` a saved one there.
   */
  rewind(position: number): void {
    if (position === this.#position) return;
    if (this.canRewind && Number.isInteger(position) && position >= 0 && position < this.#position) {
      this.#position = position;
      return;
    }
    throw new SessionStateError("the session cannot go back there", {
      where: `a session of a ${this.model.architecture} model`,
      expected: this.canRewind ? `a position from 0 to ${this.#position}` : "a state of caches alone, as of attention",
      got: `position ${position}`,
      hint: "save the state before, and restore it",
    });
  }

  /** Back to the start of a sequence. Rows of caches stay: nothing reads one before it is written again. */
  reset(): void {
    this.#position = 0;
    for (const tensor of this.#programs.recurrent) tensor.bytes().fill(0);
  }

  /** Gives the memory of state and programs back; the parameters stay. Harmless when repeated. */
  close(): void {
    this.#programs.free();
  }

  /** Says which logits are wanted after the next token. */
  #choose(allowed: Uint32Array | undefined): void {
    if (allowed !== undefined || this.#isChosen) chooseOutputs(this.#step.chosen!.i32(), allowed);
    this.#isChosen = allowed !== undefined;
  }

  #run(program: ForwardProgram, length: number): void {
    program.position.i32()[0] = this.#position;
    program.executable.run();
    this.#position += length;
  }

  #requireRoom(count: number): void {
    if (this.#position + count <= this.limit) return;
    throw new ContextLimitError("the context is full", {
      where: `a session of a ${this.model.architecture} model`,
      expected: `at most ${this.limit} tokens`,
      got: `${this.#position} tokens and ${count} more`,
      hint: "generate fewer tokens, shorten the prompt, or use a recurrent model, which has no limit",
    });
  }

  #requirePrompt(tokens: ArrayLike<number>): void {
    if (tokens.length === 0) {
      throw new TokenRangeError("the prompt is empty", {
        expected: "at least one token",
        hint: "start with the token that begins a text, or with a newline",
      });
    }
    this.#requireRoom(tokens.length);
    for (let i = 0; i < tokens.length; i++) this.#requireToken(tokens[i]);
  }

  #requireToken(token: number): void {
    if (Number.isInteger(token) && token >= 0 && token < this.model.vocabSize) return;
    throw new TokenRangeError("the model has no such token", {
      expected: `an integer from 0 to ${this.model.vocabSize - 1}`,
      got: String(token),
      hint: "use the tokenizer that the model was trained with",
    });
  }
}
