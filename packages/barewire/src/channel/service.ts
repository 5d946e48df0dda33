// Request and response: clients send requests to one server, which answers each of them, in any order. A service is one
// ring for the requests of all clients and one ring for the responses to each client, side by side in one memory. A
// request bears a number that no other request of the service bears at that time, and its response bears it too, so
// that a response to someone who is gone, or who has given up waiting, is recognised and dropped.
//
// Left out: several servers (give several consumers to a ring channel), streams of responses.

import type { Loan } from "./channel.ts";
import { ChannelClosedError, ChannelFormatError, ChannelTimeoutError } from "./errors.ts";
import { GRANULE_BYTES, PARTICIPANTS_MAX, checkCount, layOutRing } from "./layout.ts";
import type { RingLayout } from "./layout.ts";
import type { ChannelMemory } from "./memory.ts";
import type { RingMessage, RingReceiver } from "./receiver.ts";
import { RingChannel } from "./ring.ts";
import type { RingSender, Slot } from "./sender.ts";
import { nowMs } from "./wait.ts";
import type { AsyncWaitOptions, Parking, WaitOptions } from "./wait.ts";

const MAGIC = 0x56535742; // "BWSV"
const VERSION = 1;
const HEADER_BYTES = 4096;
const WORD = {
  magic: 0,
  version: 1,
  clientsMax: 2,
  requestGranules: 3,
  responseGranules: 4,
  pendingMax: 5,
  next: 16,
} as const;

/** A client that does not take its responses holds the server up for at most this long. */
const RESPONSE_TIMEOUT_MS = 1000;

/** Limits of a service, fixed when it is made. */
export interface ServiceOptions {
  /** Clients at one time, at most 64. Default 8. */
  readonly clientsMax?: number;
  /** Bytes of requests under way from each client; one may have as many. Default 256 KiB. */
  readonly requestBytesMax?: number;
  /** Bytes of responses under way to each client. Default 256 KiB. */
  readonly responseBytesMax?: number;
  /** Requests under way from each client, a power of two. Default 64. */
  readonly pendingMax?: number;
}

interface ServiceLayout {
  readonly clientsMax: number;
  readonly pendingMax: number;
  readonly requests: RingLayout;
  readonly responses: RingLayout;
  readonly sizeBytes: number;
}

function layOut(options: ServiceOptions = {}): ServiceLayout {
  const { clientsMax = 8, requestBytesMax = 2 ** 18, responseBytesMax = 2 ** 18, pendingMax = 64 } = options;
  checkCount("clientsMax", clientsMax, PARTICIPANTS_MAX);
  const common = { messagesMax: pendingMax, consumersMax: 1 };
  const requests = layOutRing({ ...common, capacityBytes: requestBytesMax, producersMax: clientsMax });
  const responses = layOutRing({ ...common, capacityBytes: responseBytesMax, producersMax: 1 });
  const sizeBytes = HEADER_BYTES + requests.sizeBytes + clientsMax * responses.sizeBytes;
  return { clientsMax, pendingMax, requests, responses, sizeBytes };
}

/** Bytes of memory that a service with these limits takes. */
export function serviceSizeBytes(options?: ServiceOptions): number {
  return layOut(options).sizeBytes;
}

/** Asks. Each client has a place of its own; open one per thread. */
export class ServiceClient implements Disposable {
  readonly #memory: ChannelMemory;
  readonly #requests: RingSender;
  readonly #responses: RingReceiver;
  /** Those who wait without holding up the event loop, by the number of their request. */
  readonly #pending = new Map<number, PromiseWithResolvers<RingMessage>>();
  #isPumping = false;
  /** Requests go out one after the other. */
  #lastSent: Promise<unknown> = Promise.resolve();

  constructor(memory: ChannelMemory, requests: RingSender, responses: RingReceiver) {
    this.#memory = memory;
    this.#requests = requests;
    this.#responses = responses;
    // What a predecessor in this place did not take.
    for (let left = responses.tryTake(); left !== undefined; left = responses.tryTake()) left.release();
  }

  /**
   * Sends a copy of the request and waits for the response, which must be released. Throws `PeerDeadError` when the
   * server dies, `ChannelTimeoutError`, `MessageTooLargeError`.
   */
  call(request: Uint8Array, options: WaitOptions = {}): RingMessage {
    return this.callWith(request.length, (bytes) => bytes.set(request), options);
  }

  /** As `call`; `fill` writes the request in place. */
  callWith(sizeBytes: number, fill: (bytes: Uint8Array) => void, options: WaitOptions = {}): RingMessage {
    const timeoutMs = options.timeoutMs ?? Infinity;
    const deadline = nowMs() + timeoutMs;
    const number = this.#send(this.#requests.loan(sizeBytes, options), fill);
    for (;;) {
      const leftMs = timeoutMs === Infinity ? Infinity : Math.max(0, deadline - nowMs());
      const response = this.#responses.take({ timeoutMs: leftMs });
      if (response.tag === number) return response;
      this.#hand(response);
    }
  }

  /** As `call`, without holding up the event loop. Several may be under way. */
  async callAsync(request: Uint8Array, options: AsyncWaitOptions = {}): Promise<RingMessage> {
    const { timeoutMs = Infinity } = options;
    const deadline = nowMs() + timeoutMs;
    const sent = this.#lastSent.then(() => this.#sendAsync(request, options));
    this.#lastSent = sent.catch(() => {}); // the caller is told; the next request goes out all the same
    const number = await sent;
    const waiter = Promise.withResolvers<RingMessage>();
    this.#pending.set(number, waiter);
    const giveUp = (reason: unknown): void => {
      if (this.#pending.delete(number)) waiter.reject(reason);
    };
    const abort = (): void => giveUp(options.signal!.reason);
    const late = (): void => giveUp(new ChannelTimeoutError("no response came", { got: `${timeoutMs} ms` }));
    const timer = timeoutMs === Infinity ? undefined : setTimeout(late, deadline - nowMs());
    options.signal?.addEventListener("abort", abort, { once: true });
    if (options.signal?.aborted) abort();
    if (!this.#isPumping) void this.#pump();
    try {
      return await waiter.promise;
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", abort);
    }
  }

  /** Which of the service's clients it is: what `evictClient` takes. */
  get place(): number {
    return this.#requests.lane;
  }

  close(): void {
    this.#responses.close(); // first: whoever gets the lane of the requests next needs this place as well
    this.#requests.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #send(slot: Slot, fill: (bytes: Uint8Array) => void): number {
    try {
      fill(slot.bytes);
    } catch (error) {
      slot.discard();
      throw error;
    }
    const number = Atomics.add(this.#memory.words, WORD.next, 1);
    slot.send(slot.bytes.length, number);
    return number;
  }

  async #sendAsync(request: Uint8Array, options: AsyncWaitOptions): Promise<number> {
    const slot = await this.#requests.loanAsync(request.length, options);
    return this.#send(slot, (bytes) => bytes.set(request));
  }

  #hand(response: RingMessage): void {
    const waiter = this.#pending.get(response.tag);
    if (waiter === undefined) return response.release(); // nobody waits for it any more
    this.#pending.delete(response.tag);
    return waiter.resolve(response);
  }

  async #pump(): Promise<void> {
    this.#isPumping = true;
    try {
      while (this.#pending.size > 0) {
        try {
          this.#hand(await this.#responses.takeAsync({ timeoutMs: RESPONSE_TIMEOUT_MS }));
        } catch (error) {
          if (!(error instanceof ChannelTimeoutError)) throw error;
        }
      }
    } catch (error) {
      for (const waiter of this.#pending.values()) waiter.reject(error);
      this.#pending.clear();
    } finally {
      this.#isPumping = false;
    }
  }
}

/** A request at the server: answer it once, then it is gone. */
export class ServiceRequest implements Disposable {
  readonly #message: RingMessage;
  readonly #sender: RingSender;

  constructor(message: RingMessage, sender: RingSender) {
    this.#message = message;
    this.#sender = sender;
  }

  /** The request, in place. */
  get bytes(): Uint8Array {
    return this.#message.bytes;
  }

  /** Answers with a copy of the bytes and gives the request back. Throws `PeerDeadError`, `ChannelTimeoutError`. */
  reply(response: Uint8Array): void {
    const loan = this.loanReply(response.length);
    loan.bytes.set(response);
    loan.send();
  }

  /** As `reply`, without holding up the event loop: for the main thread of a page. */
  async replyAsync(response: Uint8Array, options: AsyncWaitOptions = {}): Promise<void> {
    const { tag } = this.#message;
    await this.#sender.sendAsync(response, { timeoutMs: RESPONSE_TIMEOUT_MS, ...options, tag });
    this[Symbol.dispose]();
  }

  /** Lends memory for the response; sending it gives the request back. Throws as `reply` does. */
  loanReply(sizeBytes: number): Loan {
    const { tag } = this.#message;
    const slot = this.#sender.loan(sizeBytes, { timeoutMs: RESPONSE_TIMEOUT_MS });
    return {
      bytes: slot.bytes,
      send: (size) => {
        slot.send(size, tag);
        this[Symbol.dispose]();
      },
      discard: () => slot.discard(),
    };
  }

  /** Gives the request back, answered or not. */
  [Symbol.dispose](): void {
    this.#message[Symbol.dispose]();
  }
}

/** Answers. There is one at a time; a new one takes over from one that died. */
export class ServiceServer implements Disposable {
  readonly #requests: RingReceiver;
  readonly #responses: readonly RingSender[];

  constructor(requests: RingReceiver, responses: readonly RingSender[]) {
    this.#requests = requests;
    this.#responses = responses;
  }

  /** The next request. Throws `PeerDeadError` once for each client that dies, and `ChannelTimeoutError`. */
  take(options?: WaitOptions): ServiceRequest {
    return this.#wrap(this.#requests.take(options));
  }

  /** As `take`, or undefined where there is none right now. */
  tryTake(): ServiceRequest | undefined {
    const message = this.#requests.tryTake();
    return message === undefined ? undefined : this.#wrap(message);
  }

  /** As `take`, without holding up the event loop. */
  async takeAsync(options?: AsyncWaitOptions): Promise<ServiceRequest> {
    return this.#wrap(await this.#requests.takeAsync(options));
  }

  close(): void {
    this.#requests.close();
    for (const sender of this.#responses) sender.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #wrap(message: RingMessage): ServiceRequest {
    return new ServiceRequest(message, this.#responses[message.lane]);
  }
}

/** A service over shared memory, as one thread sees it. */
export class ServiceChannel implements Disposable {
  readonly #memory: ChannelMemory;
  readonly #requests: RingChannel;
  readonly #responses: readonly RingChannel[];
  readonly #where: string;
  readonly #onClose: () => void;
  #isClosed = false;

  /** Attaches to a service that lies in the memory. Throws `ChannelFormatError`. */
  constructor(memory: ChannelMemory, parking: Parking, where: string, onClose: () => void = () => {}) {
    const { words } = memory;
    const isOurs =
      memory.sizeBytes > HEADER_BYTES && Atomics.load(words, WORD.magic) === MAGIC && words[WORD.version] === VERSION;
    if (!isOurs) throw new ChannelFormatError("there is no service of this version in this memory", { where });
    const layout = layOut({
      clientsMax: words[WORD.clientsMax],
      requestBytesMax: (words[WORD.requestGranules] >>> 0) * GRANULE_BYTES,
      responseBytesMax: (words[WORD.responseGranules] >>> 0) * GRANULE_BYTES,
      pendingMax: words[WORD.pendingMax],
    });
    if (layout.sizeBytes > memory.sizeBytes) {
      throw new ChannelFormatError("the memory is smaller than the service that it says it holds", { where });
    }
    this.#memory = memory;
    this.#where = where;
    this.#onClose = onClose;
    const parts = partsOf(memory, layout);
    this.#requests = new RingChannel(parts.requests, parking, `${where}, requests`);
    this.#responses = parts.responses.map((part) => new RingChannel(part, parking, `${where}, responses`));
  }

  /** Makes a service in memory that is all zeros. */
  static format(memory: ChannelMemory, options?: ServiceOptions): void {
    const layout = layOut(options);
    const { requests, responses } = partsOf(memory, layout);
    RingChannel.format(requests, layout.requests);
    for (const part of responses) RingChannel.format(part, layout.responses);
    const { words } = memory;
    words[WORD.version] = VERSION;
    words[WORD.clientsMax] = layout.clientsMax;
    words[WORD.requestGranules] = layout.requests.capacityBytes / GRANULE_BYTES;
    words[WORD.responseGranules] = layout.responses.capacityBytes / GRANULE_BYTES;
    words[WORD.pendingMax] = layout.pendingMax;
    Atomics.store(words, WORD.magic, MAGIC);
  }

  /** Joins as a client. Throws `ChannelFullError` where there are as many as the service takes. */
  client(): ServiceClient {
    this.#checkOpen();
    const requests = this.#requests.sender({ keepOpen: true });
    try {
      const responses = this.#responses[requests.lane].receiver({ keepOpen: true });
      return new ServiceClient(this.#memory, requests, responses);
    } catch (error) {
      requests.close();
      throw error;
    }
  }

  /** Becomes the server. Throws `ChannelFullError` where there is one that lives. */
  server(): ServiceServer {
    this.#checkOpen();
    const requests = this.#requests.receiver({ keepOpen: true });
    return new ServiceServer(
      requests,
      this.#responses.map((ring) => ring.sender({ keepOpen: true })),
    );
  }

  /** Gives up the server where it is a thread that was terminated; its clients are told. Another one may come. */
  evictServer(): void {
    this.#checkOpen();
    this.#requests.evict("consumer", 0);
    for (const ring of this.#responses) ring.evict("producer", 0);
  }

  /** Gives up the client at a place where it is a thread that was terminated; the server is told. */
  evictClient(place: number): void {
    this.#checkOpen();
    this.#requests.evict("producer", place);
    this.#responses[place].evict("consumer", 0);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#requests.close();
    for (const ring of this.#responses) ring.close();
    this.#onClose();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new ChannelClosedError("the service was closed", { where: this.#where });
  }
}

function partsOf(memory: ChannelMemory, { requests, responses, clientsMax }: ServiceLayout) {
  const responsesByte = HEADER_BYTES + requests.sizeBytes;
  return {
    requests: memory.sub(HEADER_BYTES, requests.sizeBytes),
    responses: Array.from({ length: clientsMax }, (_, client) => {
      return memory.sub(responsesByte + client * responses.sizeBytes, responses.sizeBytes);
    }),
  };
}
