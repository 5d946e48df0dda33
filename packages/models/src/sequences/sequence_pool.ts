// Many sequences on one model: each step reads one token of every active sequence, whatever their lengths, so that the
// weights are read once for all of them (continuous batching: Yu et al. 2022, Orca, OSDI). Caches lie in pages
// (page_store.ts), recurrent states in lanes (state_lanes.ts); what was read is kept for texts that begin alike
// (prefix_index.ts). Sequences can be forked, saved and restored; forks share what they have in common.
//
// Programs for 1, 2, 4, ... lanes are compiled when they are first needed. Memory is taken when the pool is opened, and
// no step allocates on the device. Leaves out: prompts of several sequences read at once, steps of several tokens.

import type { Device, DeviceTensor, TensorType, Tree } from "@fidelity/core";
import { isTensorType, mapTree } from "@fidelity/core";
import { formatBytes } from "@fidelity/units";
import type { DeviceParameters } from "../device_parameters.ts";
import { orderedParameters } from "../device_parameters.ts";
import type { Model } from "../model.ts";
import { requireCausal } from "../model.ts";
import { ContextLimitError, TokenRangeError } from "../session.ts";
import { chunkLengths, leftToSteps } from "./chunks.ts";
import type { BoundState, ForwardProgram, StateLeaf } from "./forward_program.ts";
import { compileForward, stateLeaves } from "./forward_program.ts";
import { PageStore } from "./page_store.ts";
import type { PoolMemory, PoolOptions, PoolSettings, SavedSequence, Sequence } from "./pool_options.ts";
import { OutOfPagesError, poolSettings, SequenceError } from "./pool_options.ts";
import type { PrefixNode } from "./prefix_index.ts";
import { PrefixIndex } from "./prefix_index.ts";
import type { LaneHolder } from "./state_lanes.ts";
import { StateLanes } from "./state_lanes.ts";
import type { StateFormat } from "./state_format.ts";
import { requireFormat, SessionStateError, stateFormat } from "./state_format.ts";

/** A sequence as its pool knows it. */
interface Member extends Sequence, LaneHolder {
  readonly tokens: number[];
  position: number;
  readonly pages: number[];
  /** Where its whole runs are in the index; undefined once it is no longer there. */
  node: PrefixNode | undefined;
}

/** What a pool owns on the device. */
interface PoolTensors {
  readonly leaves: readonly StateLeaf[];
  /** By leaf; undefined for recurrent states. */
  readonly caches: readonly (DeviceTensor | undefined)[];
  readonly lanes: StateLanes;
  /** One lane for prompts, so that reading one moves nobody. */
  readonly reader: StateLanes;
  readonly pages: PageStore | undefined;
}

/**
 * Opens a pool without sequences. `parameters` stay the caller's, may be packed, and must outlive it. Throws
 * `PoolOptionError`, `ParameterMismatchError` when the parameters are not the model's, `ModelKindError` for an encoder,
 * and what the device throws when there is no memory for the pages.
 */
export function openSequencePool(
  model: Model,
  parameters: DeviceParameters,
  device: Device,
  options: PoolOptions = {},
): SequencePool {
  requireCausal(model, "a pool of sequences");
  orderedParameters(model, parameters);
  const settings = poolSettings(model, options);
  return new SequencePool(model, parameters, device, settings);
}

/** Sequences that share a model's weights, step by step. Made by `openSequencePool`. */
export class SequencePool {
  readonly model: Model;
  /** The most tokens that a sequence may have; Infinity where there is no limit. */
  readonly limit: number;
  readonly lanes: number;
  readonly pageSize: number;
  readonly #parameters: DeviceParameters;
  readonly #device: Device;
  readonly #settings: PoolSettings;
  readonly #tensors: PoolTensors;
  readonly #format: StateFormat;
  readonly #index: PrefixIndex;
  readonly #owned: { free(): void }[] = [];
  readonly #members = new Set<Member>();
  /** By `${batch} x ${length}`. */
  readonly #programs = new Map<string, Promise<ForwardProgram>>();
  #isClosed = false;

  constructor(model: Model, parameters: DeviceParameters, device: Device, settings: PoolSettings) {
    this.model = model;
    this.lanes = settings.lanes;
    this.pageSize = settings.pageSize;
    this.#parameters = parameters;
    this.#device = device;
    this.#settings = settings;
    this.#format = stateFormat(model, settings.cacheDtype);
    try {
      this.#tensors = this.#allocate();
    } catch (error) {
      this.close();
      throw error;
    }
    const { pages, lanes } = this.#tensors;
    const room = pages === undefined ? Infinity : pages.count * settings.pageSize;
    this.limit = Math.min(model.contextLimit ?? Infinity, room, settings.limit);
    this.#index = new PrefixIndex({
      pageSize: settings.pageSize,
      pages,
      needsState: lanes.tensors.length > 0,
      stateBytesMax: settings.keptStateBytes,
    });
  }

  /** What it takes on the device and beside it. */
  get memory(): PoolMemory {
    const { pages, lanes, reader } = this.#tensors;
    const bytesOf = (tensors: readonly DeviceTensor[]): number =>
      tensors.reduce((sum, tensor) => sum + tensor.bytes().length, 0);
    return {
      pageBytes: pages === undefined ? 0 : pages.pageBytes * (1 + pages.count),
      laneBytes: bytesOf(lanes.tensors) + bytesOf(reader.tensors),
      keptStateBytes: this.#index.stateBytes,
      pages: pages?.count ?? 0,
      freePages: pages === undefined ? 0 : pages.freeCount + this.#index.reclaimableCount,
    };
  }

  /**
   * A sequence that begins with `tokens`. What an earlier one read of them and is still kept counts as read: all but
   * the last token at most. Throws `TokenRangeError` for none or what is no token, `ContextLimitError` for too many.
   */
  open(tokens: ArrayLike<number>): Sequence {
    if (tokens.length === 0) {
      throw new TokenRangeError("the prompt is empty", {
        expected: "at least one token",
        hint: "start with the token that begins a text, or with a newline",
      });
    }
    const member = this.#member();
    this.#append(member, tokens);
    const node = this.#index.match(member.tokens, tokens.length - 1);
    if (this.#tensors.pages !== undefined) member.pages.push(...this.#index.pagesTo(node));
    for (const page of member.pages) this.#tensors.pages!.hold(page);
    member.position = node.depth * this.pageSize;
    member.node = node;
    member.saved = node.state;
    this.#members.add(member);
    return member;
  }

  /** Adds tokens to be read. Throws as `open`, and `SequenceError` for a sequence that was freed. */
  append(sequence: Sequence, ...tokens: number[]): void {
    this.#append(this.#memberOf(sequence), tokens);
  }

  /**
   * Reads a chunk of what is left to read, but never the last token, which is for `step`. Gives whether there was one:
   * what is too short for a chunk is read by steps, too. Throws `OutOfPagesError`, and nothing is read then.
   */
  async prefill(sequence: Sequence): Promise<boolean> {
    const member = this.#memberOf(sequence);
    const left = member.tokens.length - member.position - 1;
    const lengths = chunkLengths(this.#settings.chunkLength);
    const chunked = left - leftToSteps(left, lengths, this.#tensors.lanes.tensors.length === 0);
    if (chunked === 0 || lengths.length === 0) return false;
    const length = lengths.find((each) => each <= chunked) ?? lengths[lengths.length - 1];
    const count = Math.min(length, chunked);
    const program = await this.#program(1, length);
    // Somebody else may have read or freed it meanwhile.
    if (this.#memberOf(sequence).tokens.length - member.position <= count) return true;
    this.#makeRoom([member], count);
    this.#run(program, [member], this.#tensors.reader, count);
    return true;
  }

  /**
   * Reads one token of each sequence and gives the logits [vocabulary] after it, in the same order: views that the next
   * step overwrites. A sequence that is not named waits. Throws `SequenceError` for more sequences than lanes, one with
   * nothing left to read, or one named twice; `ContextLimitError`; and `OutOfPagesError`. Nothing is read then.
   * @param width the program's lanes, from `widthFor`: a wider one than is needed may be compiled already
   */
  async step(sequences: readonly Sequence[], width = this.widthFor(sequences.length)): Promise<Float32Array[]> {
    const members = this.#requireSteps(sequences, width);
    if (members.length === 0) return [];
    const program = await this.#program(width, 1);
    this.#requireSteps(sequences, width);
    this.#makeRoom(members, 1);
    const lanes = this.#run(program, members, this.#tensors.lanes);
    const logits = program.logits!.f32();
    const { vocabSize } = this.model;
    return lanes.map((lane) => logits.subarray(lane * vocabSize, (lane + 1) * vocabSize));
  }

  /** Lanes of the narrowest program for so many sequences: a power of two, or all lanes. */
  widthFor(count: number): number {
    return Math.min(this.lanes, 2 ** Math.ceil(Math.log2(Math.max(1, count))));
  }

  /** Compiles ahead of time what steps of `width` lanes need; without it, what chunks of prompts need. */
  async prepare(width?: number): Promise<void> {
    if (width !== undefined) await this.#program(width, 1);
    else for (const length of chunkLengths(this.#settings.chunkLength)) await this.#program(1, length);
  }

  /** Reads all that is left, and gives the logits after the last token: `prefill` as long as it can, then steps. */
  async read(sequence: Sequence): Promise<Float32Array> {
    while (await this.prefill(sequence));
    for (;;) {
      const [logits] = await this.step([sequence]);
      if (sequence.position === sequence.tokens.length) return logits;
    }
  }

  /** A second sequence that goes on from where this one is. They share their pages until one of them writes. */
  fork(sequence: Sequence): Sequence {
    const from = this.#memberOf(sequence);
    const member = this.#member();
    member.tokens.push(...from.tokens);
    member.pages.push(...from.pages);
    for (const page of member.pages) this.#tensors.pages!.hold(page);
    member.position = from.position;
    member.node = from.node;
    member.saved = StateLanes.stateOf(from);
    this.#members.add(member);
    return member;
  }

  /** A copy of all that makes the sequence, which stays as it is. */
  save(sequence: Sequence): SavedSequence {
    const { tokens, position, pages, ...holder } = this.#memberOf(sequence);
    const copies = this.#tensors.pages?.read(pages) ?? [];
    return { format: this.#format, tokens: [...tokens], position, pages: copies, state: StateLanes.stateOf(holder) };
  }

  /**
   * A sequence that goes on from what `save` gave, of this pool or of another one with the same model, page size and
   * dtype of caches. Throws `SessionStateError` for any other, `OutOfPagesError`, and as `open`.
   */
  restore({ format, tokens, position, pages: copies, state }: SavedSequence): Sequence {
    const where = `a pool of a ${this.model.architecture} model`;
    if (position > 0) requireFormat(format, this.#format, where);
    const { pages, lanes, leaves } = this.#tensors;
    const member = this.#member();
    this.#append(member, tokens);
    const count = pages === undefined ? 0 : Math.ceil(position / this.pageSize);
    const sizes = leaves
      .filter(({ isCache }) => !isCache)
      .map((_leaf, i) => lanes.tensors[i].bytes().length / this.lanes);
    const fits =
      position <= tokens.length &&
      fit(copies, pages?.sizesBytes(count) ?? []) &&
      (state === undefined ? position === 0 || sizes.length === 0 : fit(state, sizes));
    if (!fits) {
      throw new SessionStateError("a saved sequence does not fit", {
        where,
        expected: `${count} pages of ${this.pageSize} tokens, and ${sizes.length} recurrent states`,
        got: `${copies.length} caches, ${state?.length ?? 0} recurrent states`,
        hint: "restore it in a pool of the same model with the same pageSize",
      });
    }
    this.#requirePages(count);
    for (let i = 0; i < count; i++) member.pages.push(pages!.take());
    pages?.write(member.pages, copies);
    member.position = position;
    member.saved = sizes.length === 0 ? undefined : state;
    this.#members.add(member);
    this.#keep(member, position);
    return member;
  }

  /** Ends a sequence: its pages are free but for what others hold. Harmless when repeated. */
  free(sequence: Sequence): void {
    const member = sequence as Member;
    if (!this.#members.delete(member)) return;
    StateLanes.vacate(member);
    for (const page of member.pages.splice(0)) this.#tensors.pages!.release(page);
  }

  /** Forgets what is kept for texts that begin alike. */
  forget(): void {
    this.#index.clear();
  }

  /** Ends all sequences and gives the memory back; the parameters stay. Harmless when repeated. */
  close(): void {
    this.#isClosed = true;
    this.#members.clear();
    for (const owned of this.#owned.splice(0).reverse()) owned.free();
  }

  #allocate(): PoolTensors {
    const { lanes, capacity, pageSize, cacheDtype } = this.#settings;
    const leaves = stateLeaves(this.model, cacheDtype);
    const count = leaves.some(({ isCache }) => isCache) ? Math.ceil(capacity / pageSize) : 0;
    const tensor = (type: TensorType): DeviceTensor => {
      const made = this.#device.tensor(type);
      this.#owned.push(made);
      return made;
    };
    const caches = leaves.map(({ isCache, type }) =>
      isCache ? tensor({ ...type, shape: [1 + count, pageSize, ...type.shape.slice(2)] }) : undefined,
    );
    const states = (size: number): DeviceTensor[] =>
      leaves
        .filter(({ isCache }) => !isCache)
        .map(({ type }) => tensor({ ...type, shape: [size, ...type.shape.slice(1)] }));
    const pages = caches.filter((cache) => cache !== undefined);
    return {
      leaves,
      caches,
      lanes: new StateLanes(states(lanes), lanes),
      reader: new StateLanes(states(1), 1),
      pages: count === 0 ? undefined : new PageStore(pages, count),
    };
  }

  #member(): Member {
    return { tokens: [], position: 0, pages: [], node: this.#index.root, seat: undefined, saved: undefined };
  }

  #memberOf(sequence: Sequence): Member {
    const member = sequence as Member;
    if (this.#members.has(member)) return member;
    throw new SequenceError("a sequence is not in this pool", { hint: "it was freed, or another pool opened it" });
  }

  #append(member: Member, tokens: ArrayLike<number>): void {
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i];
      if (Number.isInteger(token) && token >= 0 && token < this.model.vocabSize) continue;
      throw new TokenRangeError("the model has no such token", {
        expected: `an integer from 0 to ${this.model.vocabSize - 1}`,
        got: String(token),
        hint: "use the tokenizer that the model was trained with",
      });
    }
    if (member.tokens.length + tokens.length > this.limit) {
      throw new ContextLimitError("the context is full", {
        where: `a pool of a ${this.model.architecture} model`,
        expected: `at most ${this.limit} tokens a sequence`,
        got: `${member.tokens.length} tokens and ${tokens.length} more`,
        hint: "generate fewer tokens, shorten the prompt, or give the pool more capacity",
      });
    }
    for (let i = 0; i < tokens.length; i++) member.tokens.push(tokens[i]);
  }

  #requireSteps(sequences: readonly Sequence[], lanes: number): Member[] {
    const members = sequences.map((sequence) => this.#memberOf(sequence));
    const refuse = (problem: string, expected: string, got: string): never => {
      throw new SequenceError(problem, { where: "a step of a pool", expected, got });
    };
    if (members.length > lanes) refuse("too many sequences", `at most ${lanes}`, `${members.length}`);
    if (new Set(members).size < members.length) refuse("a sequence is named twice", "each of them once", "the same");
    const done = members.findIndex(({ tokens, position }) => position === tokens.length);
    if (done >= 0) refuse("a sequence has nothing to read", "a token that was appended", `none in sequence ${done}`);
    return members;
  }

  /** Gives each member pages of its own for so many more tokens. */
  #makeRoom(members: readonly Member[], length: number): void {
    const { pages } = this.#tensors;
    if (pages === undefined) return;
    const isShared = ({ position, pages: own }: Member): boolean =>
      position % this.pageSize > 0 && pages.holdersOf(own[own.length - 1]) > 1;
    const missing = (member: Member): number =>
      Math.ceil((member.position + length) / this.pageSize) - member.pages.length;
    this.#requirePages(members.reduce((sum, member) => sum + missing(member) + (isShared(member) ? 1 : 0), 0));
    for (const member of members) {
      if (isShared(member)) {
        const [shared, own] = [member.pages.pop()!, pages.take()];
        pages.copy(shared, own);
        pages.release(shared);
        member.pages.push(own);
      }
      for (let more = missing(member); more > 0; more--) member.pages.push(pages.take());
    }
  }

  #requirePages(count: number): void {
    const { pages } = this.#tensors;
    if (pages === undefined || pages.freeCount >= count || this.#index.reclaim(count)) return;
    throw new OutOfPagesError("all pages are held by sequences", {
      where: `a pool of ${pages.count} pages of ${this.pageSize} tokens, ${formatBytes(pages.count * pages.pageBytes)}`,
      expected: `${count} free pages`,
      got: `${pages.freeCount} of them`,
      hint: "free or save a sequence, let fewer of them grow, or give the pool more capacity",
    });
  }

  /** Runs a program over the next `count` tokens of its members, in lanes of `home`; gives the lane of each. */
  #run(program: ForwardProgram, members: readonly Member[], home: StateLanes, count = 1): readonly number[] {
    const { batch, length, pagesPerSequence = 0 } = program.shape;
    const lanes = home.arrange(members, batch);
    const [tokens, positions] = [program.tokens.i32().fill(0), program.position.i32().fill(0)];
    // Lanes without a sequence, and what fills up a chunk, are tokens of their own that go to the page that nobody has.
    const [table, rows] = [program.table?.i32(), program.rows?.i32()];
    rows?.fill(0);
    table?.fill(0);
    members.forEach(({ tokens: all, position, pages }, i) => {
      const lane = lanes[i];
      positions[lane] = position;
      table?.set(pages, lane * pagesPerSequence);
      for (let t = 0; t < count; t++) {
        const at = position + t;
        tokens[lane * length + t] = all[at];
        if (rows !== undefined) {
          rows[lane * length + t] = pages[Math.floor(at / this.pageSize)] * this.pageSize + (at % this.pageSize);
        }
      }
    });
    program.executable.run();
    for (const member of members) {
      member.position += count;
      this.#keep(member, count);
    }
    return lanes;
  }

  /** Keeps the runs of tokens that the last `length` tokens completed, for texts that begin alike. */
  #keep(member: Member, length: number): void {
    const whole = Math.floor(member.position / this.pageSize);
    const isStateHere = member.position % this.pageSize === 0;
    for (let run = Math.floor((member.position - length) / this.pageSize); run < whole; run++) {
      if (member.node === undefined) return;
      const stateOf = isStateHere && run + 1 === whole ? this.#keptState(member) : undefined;
      member.node = this.#index.extend(member.node, member.tokens, member.pages[run] ?? -1, stateOf);
    }
  }

  #keptState(member: Member): (() => readonly Uint8Array[] | undefined) | undefined {
    const { lanes } = this.#tensors;
    const sizeBytes = lanes.tensors.reduce((sum, tensor) => sum + tensor.bytes().length / lanes.count, 0);
    const isKept = sizeBytes > 0 && sizeBytes <= this.#settings.keptStateBytes;
    return isKept ? () => StateLanes.stateOf(member) : undefined;
  }

  #program(batch: number, length: number): Promise<ForwardProgram> {
    const key = `${batch} x ${length}`;
    const known = this.#programs.get(key);
    if (known !== undefined) return known;
    const program = this.#compile(batch, length);
    this.#programs.set(key, program);
    // One that failed is tried again.
    program.catch(() => this.#programs.delete(key));
    return program;
  }

  async #compile(batch: number, length: number): Promise<ForwardProgram> {
    const { pages } = this.#tensors;
    const perSequence = pages === undefined ? 0 : Math.ceil(this.limit / this.pageSize);
    const shape = { batch, length, withLogits: length === 1, pagesPerSequence: perSequence };
    const state = this.#boundState(batch, length === 1 ? this.#tensors.lanes : this.#tensors.reader);
    const program = await compileForward(this.model, this.#parameters, this.#device, state, shape);
    if (this.#isClosed) program.free();
    else this.#owned.push(program);
    return program;
  }

  /** All pages, and the first `batch` lanes. */
  #boundState(batch: number, lanes: StateLanes): BoundState {
    const { leaves, caches } = this.#tensors;
    const states = lanes.tensors.values();
    const tensors = leaves.map(({ type }, i) => {
      const cache = caches[i];
      return cache ?? states.next().value!.view({ ...type, shape: [batch, ...type.shape.slice(1)] });
    });
    const byPath = new Map<string, TensorType>(leaves.map(({ path }, i) => [path, tensors[i].type]));
    const tree: unknown = this.model.stateTypes({ batch: 1, capacity: 1 });
    const types: unknown = mapTree(tree, isTensorType, (_type, path) => byPath.get(path)!);
    return { types: types as Tree<TensorType>, tensors };
  }
}

function fit(arrays: readonly Uint8Array[], sizesBytes: readonly number[]): boolean {
  return arrays.length === sizesBytes.length && arrays.every(({ length }, i) => length === sizesBytes[i]);
}
