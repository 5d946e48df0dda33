// The same channel to another host, over TCP. One connection carries messages both ways; its sender waits while the
// network or the peer cannot follow, and its receiver stops reading while messages lie untaken. A process that dies
// closes its connection at once; a host or a cable that dies is noticed because pings stay away. Left out: RDMA,
// encryption (run it inside a tunnel), reconnecting.

import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";

import { untilClosed } from "./channel.ts";
import type { Loan, Message, MessageReceiver, MessageSender } from "./channel.ts";
import {
  ChannelClosedError,
  ChannelError,
  ChannelTimeoutError,
  ChannelUseError,
  MessageTooLargeError,
  PeerDeadError,
} from "./errors.ts";
import {
  FrameReader,
  MESSAGE_HEADER_BYTES_MAX,
  closeFrame,
  helloFrame,
  pingFrame,
  putMessageHeader,
} from "./frames.ts";
import type { Frame } from "./frames.ts";
import { checkCount } from "./layout.ts";
import { nowMs } from "./wait.ts";
import type { AsyncWaitOptions } from "./wait.ts";

/** Limits of one side of a connection. */
export interface TcpOptions {
  /** The largest message that this side takes. Default 64 MiB, at most 1 GiB. */
  readonly messageBytesMax?: number;
  /** Bytes under way (not yet sent, or not yet taken) beyond which this side waits. Default 1 MiB. */
  readonly capacityBytes?: number;
  /** A peer of which nothing is heard for so long counts as dead. Default 10 s. */
  readonly silenceMs?: number;
}

/** Where to connect to. */
export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

/** Where to listen; port 0 means any that is free, and the loopback interface is the default. */
export interface ListenAddress {
  readonly host?: string;
  readonly port?: number;
}

const MESSAGE_BYTES_MAX = 2 ** 30;
const PINGS_PER_SILENCE = 4;
const GREETING_MS = 5000;

/** One connection: a channel in each direction. */
export class TcpChannel implements Disposable {
  readonly sender: MessageSender;
  readonly receiver: MessageReceiver;
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
    this.sender = new TcpSender(link);
    this.receiver = new TcpReceiver(link);
  }

  /** Ends the connection; what was sent is still delivered. */
  close(): void {
    this.#link.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Connects to a listener. Throws `ChannelError` where there is none, `ChannelFormatError` where it is no channel. */
export async function connectTcp({ host, port }: TcpAddress, options: TcpOptions = {}): Promise<TcpChannel> {
  return greet(new Link(connect({ host, port, noDelay: true }), `tcp ${host}:${port}`, options));
}

/** Listens for connections. Throws `ChannelError` where the address is taken. */
export async function listenTcp(address: ListenAddress = {}, options: TcpOptions = {}): Promise<TcpListener> {
  const { host = "127.0.0.1", port = 0 } = address;
  const server = createServer({ noDelay: true });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(port, host, resolve);
  try {
    await promise;
  } catch (cause) {
    const hint = "take another port, or 0 for any that is free";
    throw new ChannelError("the address cannot be listened on", { where: `tcp ${host}:${port}`, hint, cause });
  }
  return new TcpListener(server, options);
}

/** Takes connections. */
export class TcpListener implements Disposable {
  readonly port: number;
  readonly #server: Server;
  readonly #ready: TcpChannel[] = [];
  readonly #waiters: PromiseWithResolvers<TcpChannel>[] = [];
  #isClosed = false;

  constructor(server: Server, options: TcpOptions) {
    this.#server = server;
    const address = server.address();
    this.port = address !== null && typeof address === "object" ? address.port : 0;
    server.on("connection", (socket) => {
      const where = `tcp ${socket.remoteAddress}:${socket.remotePort}`;
      // A stranger that is no channel is sent away and does not disturb the others.
      greet(new Link(socket, where, options)).then(
        (channel) => this.#add(channel),
        () => socket.destroy(),
      );
    });
  }

  /** The next connection. */
  async accept(): Promise<TcpChannel> {
    if (this.#isClosed) throw new ChannelClosedError("the listener was closed");
    const ready = this.#ready.shift();
    if (ready !== undefined) return ready;
    const waiter = Promise.withResolvers<TcpChannel>();
    this.#waiters.push(waiter);
    return waiter.promise;
  }

  /** Takes no more connections; those that were accepted go on. */
  close(): void {
    this.#isClosed = true;
    this.#server.close();
    for (const channel of this.#ready.splice(0)) channel.close();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new ChannelClosedError("the listener was closed"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #add(channel: TcpChannel): void {
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) waiter.resolve(channel);
    else if (this.#isClosed) channel.close();
    else this.#ready.push(channel);
  }
}

// A connection: what was received and not taken, who waits, and how it ended.
class Link {
  readonly where: string;
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #capacityBytes: number;
  readonly #received: Uint8Array[] = [];
  /** Called whenever something changed that someone may wait for. */
  readonly #listeners = new Set<() => void>();
  readonly #pings: NodeJS.Timeout;
  #receivedBytes = 0;
  #heardMs = nowMs();
  #peerBytesMax: number | undefined;
  #end: Error | undefined;

  constructor(socket: Socket, where: string, options: TcpOptions) {
    const { messageBytesMax = 2 ** 26, capacityBytes = 2 ** 20, silenceMs = 10_000 } = options;
    checkCount("messageBytesMax", messageBytesMax, MESSAGE_BYTES_MAX);
    checkCount("capacityBytes", capacityBytes, MESSAGE_BYTES_MAX);
    checkCount("silenceMs", silenceMs, 2 ** 31 - 1);
    this.#socket = socket;
    this.where = where;
    this.#capacityBytes = capacityBytes;
    this.#reader = new FrameReader(messageBytesMax, where);
    socket.write(helloFrame(messageBytesMax));
    socket.on("data", (piece) => this.#hear(piece as Uint8Array));
    socket.on("drain", () => this.#tell());
    socket.on("end", () => this.#hearEnd());
    socket.on("error", (cause) => this.#fail(this.#dead({ cause })));
    socket.on("close", () => this.#fail(this.#dead({})));
    this.#pings = setInterval(() => this.#ping(silenceMs), Math.ceil(silenceMs / PINGS_PER_SILENCE));
    this.#pings.unref();
  }

  /** The largest message that the other side takes; undefined before its greeting. */
  get peerBytesMax(): number | undefined {
    return this.#peerBytesMax;
  }

  /** How the connection ended; undefined as long as it lives. */
  get end(): Error | undefined {
    return this.#end;
  }

  get hasRoom(): boolean {
    return this.#socket.writableLength < this.#capacityBytes;
  }

  write(bytes: Uint8Array): void {
    if (this.#end !== undefined) throw this.#end;
    this.#socket.write(bytes);
  }

  shift(): Uint8Array | undefined {
    const bytes = this.#received.shift();
    if (bytes === undefined) return undefined;
    this.#receivedBytes -= bytes.length;
    if (this.#receivedBytes < this.#capacityBytes && this.#socket.isPaused()) {
      this.#heardMs = nowMs();
      this.#socket.resume();
    }
    return bytes;
  }

  /** Waits until `isReady`. Throws `ChannelTimeoutError`, or the signal's reason. */
  async wait(isReady: () => boolean, { timeoutMs = Infinity, signal }: AsyncWaitOptions): Promise<void> {
    signal?.throwIfAborted();
    if (isReady()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // `isReady` may take a message, so that it must not be asked again once the wait is over.
    const look = (): void => {
      if (!this.#listeners.has(look) || !isReady()) return;
      this.#listeners.delete(look);
      resolve();
    };
    const giveUp = (reason: unknown): void => {
      this.#listeners.delete(look);
      reject(reason);
    };
    const abort = (): void => giveUp(signal!.reason);
    const late = (): void => {
      giveUp(new ChannelTimeoutError("the other side did not follow", { where: this.where, got: `${timeoutMs} ms` }));
    };
    const timer = timeoutMs === Infinity ? undefined : setTimeout(late, timeoutMs);
    signal?.addEventListener("abort", abort, { once: true });
    this.#listeners.add(look);
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
      clearTimeout(timer);
    }
  }

  close(): void {
    if (this.#end !== undefined) return;
    this.#socket.end(closeFrame());
    this.#fail(new ChannelClosedError("the channel was closed", { where: this.where }));
    this.#socket.resume(); // so that the other side's end is seen and the socket goes away
  }

  /** Ends the connection because of an error. */
  abort(error: Error): void {
    this.#fail(error);
    this.#socket.destroy();
  }

  #hear(piece: Uint8Array): void {
    this.#heardMs = nowMs();
    if (this.#end !== undefined) return;
    try {
      this.#reader.push(piece, (frame) => this.#take(frame));
    } catch (error) {
      this.abort(error as Error);
    }
    if (this.#receivedBytes >= this.#capacityBytes && this.#end === undefined) this.#socket.pause();
    this.#tell();
  }

  #take(frame: Frame): void {
    switch (frame.kind) {
      case "hello":
        this.#peerBytesMax = frame.messageBytesMax;
        break;
      case "message":
        this.#received.push(frame.bytes);
        this.#receivedBytes += frame.bytes.length;
        break;
      case "close":
        this.#fail(new ChannelClosedError("the other side has closed the channel", { where: this.where }));
        this.#socket.end();
        break;
      case "ping":
        break;
    }
  }

  #hearEnd(): void {
    try {
      this.#reader.end();
      this.#fail(this.#dead({}));
    } catch (error) {
      this.#fail(error as Error);
    }
    this.#socket.destroy();
  }

  #ping(silenceMs: number): void {
    // Nothing is heard while reading is held up, so the silence says nothing then.
    const isSilent = !this.#socket.isPaused() && nowMs() - this.#heardMs > silenceMs;
    if (isSilent) this.abort(this.#dead({ got: `nothing heard for ${silenceMs} ms` }));
    else if (this.#end === undefined && !this.#socket.connecting) this.#socket.write(pingFrame());
  }

  // The first end counts: what comes after it follows from it.
  #fail(error: Error): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    clearInterval(this.#pings);
    this.#tell();
  }

  #dead({ got, cause }: { got?: string; cause?: Error }): Error {
    if (this.#peerBytesMax === undefined) {
      const hint = "check host and port, and that the other side listens";
      return new ChannelError("no channel could be opened", { where: this.where, got: cause?.message, hint, cause });
    }
    return new PeerDeadError("peer", this.where, { got: got ?? cause?.message, hint: "connect again" });
  }

  #tell(): void {
    for (const look of [...this.#listeners]) look();
  }
}

async function greet(link: Link): Promise<TcpChannel> {
  try {
    await link.wait(() => link.peerBytesMax !== undefined || link.end !== undefined, { timeoutMs: GREETING_MS });
  } catch (error) {
    link.abort(error as Error);
    throw error;
  }
  if (link.peerBytesMax === undefined) throw link.end!;
  return new TcpChannel(link);
}

class TcpSender implements MessageSender {
  readonly #link: Link;
  #hasLoan = false;

  constructor(link: Link) {
    this.#link = link;
  }

  async loanAsync(sizeBytes: number, options: AsyncWaitOptions = {}): Promise<Loan> {
    const link = this.#link;
    const limitBytes = link.peerBytesMax!;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes > limitBytes) {
      throw new MessageTooLargeError(sizeBytes, limitBytes, link.where);
    }
    if (this.#hasLoan) throw new ChannelUseError("a second slot was asked for", { where: link.where });
    this.#hasLoan = true;
    try {
      await link.wait(() => link.hasRoom || link.end !== undefined, options);
      if (link.end !== undefined) throw link.end;
    } catch (error) {
      this.#hasLoan = false;
      throw error;
    }
    return this.#lend(sizeBytes);
  }

  async sendAsync(bytes: Uint8Array, options?: AsyncWaitOptions): Promise<void> {
    const loan = await this.loanAsync(bytes.length, options);
    loan.bytes.set(bytes);
    loan.send();
  }

  close(): void {
    this.#link.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #lend(sizeBytes: number): Loan {
    const whole = new Uint8Array(MESSAGE_HEADER_BYTES_MAX + sizeBytes);
    let isUsed = false;
    const use = (): void => {
      if (isUsed) throw new ChannelUseError("a slot was used again", { where: this.#link.where });
      isUsed = true;
      this.#hasLoan = false;
    };
    return {
      bytes: whole.subarray(MESSAGE_HEADER_BYTES_MAX),
      send: (size = sizeBytes) => {
        use();
        const start = putMessageHeader(whole, MESSAGE_HEADER_BYTES_MAX, size);
        this.#link.write(whole.subarray(start, MESSAGE_HEADER_BYTES_MAX + size));
      },
      discard: use,
    };
  }
}

class TcpReceiver implements MessageReceiver {
  readonly #link: Link;

  constructor(link: Link) {
    this.#link = link;
  }

  async takeAsync(options: AsyncWaitOptions = {}): Promise<Message> {
    const link = this.#link;
    let bytes: Uint8Array | undefined;
    await link.wait(() => (bytes = link.shift()) !== undefined || link.end !== undefined, options);
    if (bytes === undefined) throw link.end!;
    return makeMessage(bytes);
  }

  [Symbol.asyncIterator](): AsyncGenerator<Message> {
    return untilClosed(() => this.takeAsync());
  }

  close(): void {
    this.#link.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

// The bytes are the taker's own; releasing them keeps the rule that a message is used up to its release and not longer.
function makeMessage(bytes: Uint8Array): Message {
  let isReleased = false;
  const release = (): void => {
    if (isReleased) throw new ChannelUseError("a message was released twice");
    isReleased = true;
  };
  return {
    get bytes() {
      if (isReleased) throw new ChannelUseError("a message was used after it was released");
      return bytes;
    },
    release,
    [Symbol.dispose]: () => {
      if (!isReleased) release();
    },
  };
}
