// Sessions that are used again. Opening one allocates its state and compiles its programs, so a session outlives the
// generation that opened it, and keeps what it has read: a prompt that begins with it reads only the rest (the next
// turn of a conversation, a prompt that always begins the same). A cache of attention is cut back to what both have in
// common; a recurrent state is of use only where all that it has read begins the prompt.

import type { CacheDtype, CompileOptions, Device, DeviceTensor, Executable, Graph, TensorType } from "@fidelity/core";
import type { RecalledProgram, Recipe } from "@fidelity/core";
import { openSession } from "@fidelity/models";
import type { DeviceParameters, Model, Session } from "@fidelity/models";
import { FidelityError } from "@fidelity/units";

/** The model was closed, and cannot generate any more. */
export class ModelClosedError extends FidelityError {}

/** A session with the tokens that it has read. */
export interface Lane {
  readonly session: Session;
  /** What compiles its programs. */
  readonly compiler: TimedCompiler;
  /** Set by whoever releases it; of a session at the start, none. */
  tokens: readonly number[];
  /** Tokens of the prompt that it was taken for which it has read. */
  cachedTokens: number;
  /** What had been compiled when it was taken; 0 for one that was opened then. */
  compileSeconds: number;
}

export interface SessionPoolOptions {
  readonly model: Model;
  readonly parameters: DeviceParameters;
  readonly device: Device;
  /** Tokens that every session has room for; without it, powers of two as texts need them. */
  readonly context?: number;
  /** What keys and values of attention are stored as. */
  readonly cacheDtype?: CacheDtype;
  /** Sessions that are kept while nobody uses them. */
  readonly idleMax: number;
}

/** Smaller states would save next to nothing. */
export const CAPACITY_MIN = 512;

/** Room for `tokens`, or `context`; powers of two, so that texts of similar lengths share their programs. */
export function capacityFor({ contextLimit }: Model, tokens: number, context?: number): number | undefined {
  if (contextLimit === null) return undefined;
  return Math.min(contextLimit, context ?? 2 ** Math.ceil(Math.log2(Math.max(CAPACITY_MIN, tokens))));
}

/** The capacities of sessions for texts of up to `tokensMax`: what programs are built for ahead of time. */
export function capacitiesUpTo(model: Model, tokensMax: number): ReadonlySet<number | undefined> {
  const capacities = new Set<number | undefined>();
  for (let tokens = CAPACITY_MIN; tokens <= tokensMax; tokens *= 2) capacities.add(capacityFor(model, tokens));
  return capacities;
}

/** A device that takes the time of compiling. */
class TimedCompiler implements Device {
  readonly target: string;
  readonly threads: number;
  seconds = 0;
  readonly #device: Device;

  constructor(device: Device) {
    this.#device = device;
    this.target = device.target;
    this.threads = device.threads;
  }

  tensor(type: TensorType): DeviceTensor {
    return this.#device.tensor(type);
  }

  async compile(graph: Graph, options?: CompileOptions): Promise<Executable> {
    const started = performance.now();
    const executable = await this.#device.compile(graph, options);
    this.seconds += (performance.now() - started) / 1000;
    return executable;
  }

  async recall(recipe: Recipe, parameterTypes: readonly TensorType[]): Promise<RecalledProgram | undefined> {
    const started = performance.now();
    const recalled = await this.#device.recall?.(recipe, parameterTypes);
    this.seconds += (performance.now() - started) / 1000;
    return recalled;
  }

  close(): Promise<void> {
    return this.#device.close();
  }
}

export class SessionPool {
  readonly #options: SessionPoolOptions;
  /** The one that was used last comes last. */
  readonly #idle: Lane[] = [];
  readonly #busy = new Set<Lane>();
  /** What must end before sessions may be closed: programs in the making. */
  readonly #pending = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(options: SessionPoolOptions) {
    this.#options = options;
  }

  /** Tokens that a sequence may have; Infinity where there is no limit. */
  get limit(): number {
    const { model, context = Infinity } = this.#options;
    return model.contextLimit === null ? Infinity : Math.min(model.contextLimit, context);
  }

  /** How many sessions there are, in use or not. */
  get size(): number {
    return this.#idle.length + this.#busy.size;
  }

  /** Takes the session that knows most of the prompt, or opens one. Throws `ModelClosedError`. */
  async take(prompt: ArrayLike<number>, tokens: number): Promise<Lane> {
    this.requireOpen();
    const { model, parameters, device, idleMax, context, cacheDtype } = this.#options;
    const found = this.#fitting(prompt, tokens);
    if (found !== undefined) {
      this.#idle.splice(this.#idle.indexOf(found), 1);
      this.#busy.add(found);
      cutBack(found, prompt);
      return found;
    }
    // The new one comes back to the idle ones; what has no room among them then goes before it is made.
    this.#shrink(Math.max(0, idleMax - 1));
    const compiler = new TimedCompiler(device);
    const capacity = capacityFor(model, tokens, context);
    const session = await this.during(openSession(model, parameters, compiler, { capacity, cacheDtype }));
    if (this.#isClosed) session.close();
    this.requireOpen();
    const lane: Lane = { session, compiler, tokens: [], cachedTokens: 0, compileSeconds: 0 };
    this.#busy.add(lane);
    return lane;
  }

  /** The session that `take` would give, if it is there, and how many tokens of the prompt it need not read. */
  find(prompt: ArrayLike<number>, tokens: number): { readonly session: Session; readonly known: number } | undefined {
    const lane = this.#fitting(prompt, tokens);
    return lane && { session: lane.session, known: reach(lane, prompt) };
  }

  /** Gives a session back with what it has read; undefined where that is not known, so that it cannot be used again. */
  release(lane: Lane, tokens: readonly number[] | undefined): void {
    if (!this.#busy.delete(lane)) return; // the pool was closed
    if (tokens === undefined) {
      lane.session.close();
      return;
    }
    lane.tokens = tokens;
    lane.compileSeconds = lane.compiler.seconds;
    this.#idle.push(lane);
    this.#shrink(this.#options.idleMax);
  }

  /** Keeps the pool open until something has ended, and gives what came of it. Throws `ModelClosedError`. */
  async during<T>(work: Promise<T>): Promise<T> {
    this.#pending.add(work);
    try {
      return await work;
    } finally {
      this.#pending.delete(work);
    }
  }

  requireOpen(): void {
    if (this.#isClosed) throw closedError();
  }

  /** Closes all sessions, those that are in use as well. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#pending);
    for (const { session } of [...this.#idle.splice(0), ...this.#busy]) session.close();
    this.#busy.clear();
  }

  /** The idle session that knows most of a prompt. */
  #fitting(prompt: ArrayLike<number>, tokens: number): Lane | undefined {
    const { model, context } = this.#options;
    const room = capacityFor(model, tokens, context) ?? 0;
    const fitting = this.#idle.filter(({ session }) => session.limit >= room);
    return fitting.toSorted((a, b) => reach(b, prompt) - reach(a, prompt))[0];
  }

  #shrink(count: number): void {
    while (this.#idle.length > count) this.#idle.shift()!.session.close();
  }
}

export function closedError(): ModelClosedError {
  return new ModelClosedError("the model was closed", { hint: "open it again, and close it when nothing generates" });
}

/** How many tokens of a prompt a session need not read again. The last one is always read, for its logits. */
function reach({ session, tokens }: Lane, prompt: ArrayLike<number>): number {
  const most = Math.min(tokens.length, prompt.length - 1);
  let common = 0;
  while (common < most && tokens[common] === prompt[common]) common++;
  return session.canRewind || common === tokens.length ? common : 0;
}

function cutBack(lane: Lane, prompt: ArrayLike<number>): void {
  const { session } = lane;
  lane.cachedTokens = reach(lane, prompt);
  if (lane.cachedTokens === 0) session.reset();
  else session.rewind(lane.cachedTokens);
}
