// A file on a server as a source of bytes, by HTTP range requests (RFC 9110, section 14). The first request brings the
// start of the file and its size; every later one asks for the ranges that are wanted, neighbours together, a few at a
// time, and only as long as the file is the same (If-Range, ETag). A server's answer is believed in nothing: status,
// range, length and validator are compared, and a body that goes on is cut off. Answers that broke are taken up where
// they stopped. Runs in browsers, where servers must allow the page to see `Content-Range` and `ETag`.
// Left out: several ranges in one request, which few servers do well; caching between sources.

import type { ByteRange } from "./container.ts";
import { planRequests, scatter } from "./ranges.ts";
import type { RangeLimits, RangeRequest } from "./ranges.ts";
import {
  ChangedSourceError,
  HttpStatusError,
  NetworkError,
  RangesIgnoredError,
  ShortBodyError,
  SourceError,
  SourceTooLargeError,
  WrongRangeError,
} from "./source-errors.ts";
import { checkInside, memorySource } from "./source.ts";
import type { ByteSource, ReadOptions, ReadTarget } from "./source.ts";

/** How a file is read from a server. */
export interface HttpSourceOptions {
  /** Sends the requests; the platform's own by default. */
  readonly fetch?: typeof globalThis.fetch;
  /** Sent with every request, such as an authorization. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the opening; reading takes a signal of its own. */
  readonly signal?: AbortSignal;
  /** What the first request asks for; most headers lie within. Default 64 KiB. */
  readonly firstBytes?: number;
  /** Requests at a time. Default 4. */
  readonly requestsMax?: number;
  /** Gaps up to this size are fetched along. Default 16 KiB. */
  readonly gapBytesMax?: number;
  /** No request asks for more. Default 8 MiB. */
  readonly requestBytesMax?: number;
  /** How often a request is sent in all before its failure counts. Default 4. */
  readonly attemptsMax?: number;
  /** Wait before the second attempt; it doubles with each. Default 200. */
  readonly retryDelayMs?: number;
  /** A connection that brings nothing for so long is given up. Default 30,000. */
  readonly silenceMsMax?: number;
  /** Larger files are refused. Default 2^40. */
  readonly sizeBytesMax?: number;
  /** A server that ignores ranges may send a file up to this size, which is then kept. Default 64 MiB. */
  readonly wholeBytesMax?: number;
}

const DEFAULTS = {
  firstBytes: 2 ** 16,
  requestsMax: 4,
  gapBytesMax: 2 ** 14,
  requestBytesMax: 2 ** 23,
  attemptsMax: 4,
  retryDelayMs: 200,
  silenceMsMax: 30_000,
  sizeBytesMax: 2 ** 40,
  wholeBytesMax: 2 ** 26,
} as const;

const RETRY_DELAY_MS_MAX = 30_000;

/**
 * Opens a file on a server. Throws a `SourceError` for an address or option that cannot be, or one of its subclasses:
 * `HttpStatusError`, `NetworkError`, `RangesIgnoredError`, `WrongRangeError`, `ShortBodyError`, `SourceTooLargeError`;
 * or the signal's reason.
 */
export async function openHttpSource(address: string | URL, options: HttpSourceOptions = {}): Promise<ByteSource> {
  const connection = new Connection(address, options);
  const first = await connection.open(options.signal);
  if (first.isWhole) return memorySource(first.bytes, connection.name);
  return new HttpSource(connection, first.bytes, first.sizeBytes);
}

class HttpSource implements ByteSource {
  readonly name: string;
  readonly sizeBytes: number;
  readonly #connection: Connection;
  readonly #first: Uint8Array; // the start of the file
  #active = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(connection: Connection, first: Uint8Array, sizeBytes: number) {
    this.name = connection.name;
    this.sizeBytes = sizeBytes;
    this.#connection = connection;
    this.#first = first;
  }

  /** Fills the targets. After it has thrown, nothing is written to them any more. */
  async readInto(targets: readonly ReadTarget[], options: ReadOptions = {}): Promise<void> {
    for (const { offset, into } of targets) checkInside(this, { offset, sizeBytes: into.length });
    options.signal?.throwIfAborted();
    const totalBytes = targets.reduce((sum, { into }) => sum + into.length, 0);
    let doneBytes = 0;
    const note = (sizeBytes: number): void => {
      doneBytes += sizeBytes;
      if (sizeBytes > 0) options.onProgress?.(doneBytes, totalBytes);
    };
    note(scatter(targets, 0, this.#first));
    const rests = targets.map((target) => restBehind(target, this.#first.length));
    const failed = new AbortController();
    const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
    const fetches = planRequests(rests, this.#connection.options).map((request) =>
      this.#inTurn(() => this.#connection.read(request, this.sizeBytes, note, signal)).catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    );
    await Promise.allSettled(fetches);
    options.signal?.throwIfAborted();
    if (failed.signal.aborted) throw failed.signal.reason;
  }

  async #inTurn(action: () => Promise<void>): Promise<void> {
    while (this.#active >= this.#connection.options.requestsMax) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#active++;
    try {
      await action();
    } finally {
      this.#active--;
      this.#waiting.shift()?.();
    }
  }
}

function restBehind({ offset, into }: ReadTarget, haveBytes: number): ReadTarget {
  const skip = Math.min(into.length, Math.max(0, haveBytes - offset));
  return { offset: offset + skip, into: into.subarray(skip) };
}

interface First {
  readonly bytes: Uint8Array;
  readonly sizeBytes: number;
  readonly isWhole: boolean;
}

type Settings = Required<Omit<HttpSourceOptions, "signal">> & RangeLimits;

class Connection {
  /** Without the query, which may hold a secret. */
  readonly name: string;
  readonly options: Settings;
  readonly #address: URL;
  #validator: Validator = {};

  constructor(address: string | URL, options: HttpSourceOptions) {
    this.#address = parseAddress(address);
    this.name = `${this.#address.origin}${this.#address.pathname}`;
    const set = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.options = { fetch: globalThis.fetch.bind(globalThis), headers: {}, ...DEFAULTS, ...set };
    for (const name of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
      const least = name === "gapBytesMax" || name === "retryDelayMs" ? 0 : 1;
      if (Number.isSafeInteger(this.options[name]) && this.options[name] >= least) continue;
      const expected = `a whole number, at least ${least}`;
      throw new SourceError("an option cannot take this value", {
        where: name,
        expected,
        got: `${this.options[name]}`,
      });
    }
  }

  open(signal: AbortSignal | undefined): Promise<First> {
    return this.#retrying(signal, () =>
      this.#request({ offset: 0, sizeBytes: this.options.firstBytes }, {}, signal, async (answer) => {
        const { status } = answer.response;
        this.#validator = validatorOf(answer.response);
        if (status === 200) return { ...(await this.#wholeBody(answer)), isWhole: true };
        if (status === 416 && answer.response.headers.get("content-range") === "bytes */0") {
          return { bytes: new Uint8Array(0), sizeBytes: 0, isWhole: true };
        }
        const range = this.#rangeOf(answer.response);
        const sizeBytes = range.totalBytes;
        if (sizeBytes > this.options.sizeBytesMax) {
          throw new SourceTooLargeError(this.name, this.options.sizeBytesMax, `${sizeBytes}`);
        }
        const wanted = { offset: 0, sizeBytes: Math.min(sizeBytes, this.options.firstBytes) };
        this.#compareRange(range, wanted);
        const bytes = new Uint8Array(wanted.sizeBytes);
        await this.#body(answer, wanted, (piece, at) => bytes.set(piece, at));
        return { bytes, sizeBytes, isWhole: false };
      }),
    );
  }

  /** Fetches one request's range and spreads it over its targets, taking up where an attempt broke off. */
  async read(
    request: RangeRequest,
    totalBytes: number,
    note: (sizeBytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const end = request.offset + request.sizeBytes;
    let at = request.offset;
    await this.#retrying(signal, async () => {
      const wanted = { offset: at, sizeBytes: end - at };
      if (wanted.sizeBytes === 0) return; // the connection broke behind the last byte
      await this.#request(wanted, this.#condition(), signal, async (answer) => {
        this.#compareValidator(answer.response);
        const range = this.#rangeOf(answer.response);
        if (range.totalBytes !== totalBytes) {
          throw new ChangedSourceError(this.name, `${totalBytes} bytes`, `${range.totalBytes} bytes`);
        }
        this.#compareRange(range, wanted);
        await this.#body(answer, wanted, (piece) => {
          note(scatter(request.targets, at, piece));
          at += piece.length;
        });
      });
    });
  }

  // RFC 9110, 13.1.5: only a strong ETag may stand in If-Range; a date may, where there is no ETag.
  #condition(): Record<string, string> {
    const { etag, modified } = this.#validator;
    if (etag !== undefined) return etag.startsWith('"') ? { "If-Range": etag } : {};
    return modified === undefined ? {} : { "If-Range": modified };
  }

  #compareValidator(response: Response): void {
    const { etag, modified } = this.#validator;
    const now = validatorOf(response);
    const [before, after] = etag === undefined ? [modified, now.modified] : [etag, now.etag];
    if (before !== undefined && before !== after && (after !== undefined || response.status === 200)) {
      throw new ChangedSourceError(this.name, before, after ?? "no validator");
    }
    if (response.status === 416) throw new ChangedSourceError(this.name, "a file with this range", "a shorter one");
    if (response.status === 200) throw new RangesIgnoredError(this.name, undefined, 0);
  }

  #rangeOf(response: Response): ContentRange {
    if (response.status !== 206) throw new HttpStatusError(this.name, response.status, response.statusText);
    const text = response.headers.get("content-range");
    const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(text ?? "");
    if (match === null) {
      throw new WrongRangeError(this.name, "Content-Range: bytes FIRST-LAST/SIZE", text ?? "no Content-Range");
    }
    const encoding = response.headers.get("content-encoding");
    if (encoding !== null && encoding !== "identity") {
      throw new WrongRangeError(this.name, "the file's own bytes", `Content-Encoding: ${encoding}`);
    }
    return { first: Number(match[1]), last: Number(match[2]), totalBytes: Number(match[3]) };
  }

  #compareRange({ first, last }: ContentRange, { offset, sizeBytes }: ByteRange): void {
    if (first === offset && last === offset + sizeBytes - 1) return;
    throw new WrongRangeError(this.name, `bytes ${offset} to ${offset + sizeBytes - 1}`, `bytes ${first} to ${last}`);
  }

  async #wholeBody(answer: Answer): Promise<{ readonly bytes: Uint8Array; readonly sizeBytes: number }> {
    const { wholeBytesMax } = this.options;
    const told = /^\d{1,15}$/.exec(answer.response.headers.get("content-length") ?? "")?.[0];
    if (Number(told ?? 0) > wholeBytesMax) throw new RangesIgnoredError(this.name, Number(told), wholeBytesMax);
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const piece of answer.pieces()) {
      sizeBytes += piece.length;
      if (sizeBytes > wholeBytesMax) throw new RangesIgnoredError(this.name, undefined, wholeBytesMax);
      pieces.push(piece);
    }
    const bytes = new Uint8Array(sizeBytes);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return { bytes, sizeBytes };
  }

  async #body(answer: Answer, wanted: ByteRange, take: (piece: Uint8Array, atBytes: number) => void): Promise<void> {
    let gotBytes = 0;
    for await (const piece of answer.pieces()) {
      if (gotBytes + piece.length > wanted.sizeBytes) {
        throw new WrongRangeError(this.name, `a body of ${wanted.sizeBytes} bytes`, "a longer one");
      }
      take(piece, gotBytes);
      gotBytes += piece.length;
    }
    if (gotBytes < wanted.sizeBytes) throw new ShortBodyError(this.name, wanted.sizeBytes, gotBytes);
  }

  // One request. Whatever becomes of it, its connection is free afterwards.
  async #request<T>(
    { offset, sizeBytes }: ByteRange,
    condition: Record<string, string>,
    signal: AbortSignal | undefined,
    use: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    const silence = new Silence(this.options.silenceMsMax);
    const either = signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]);
    const headers = { ...this.options.headers, Range: `bytes=${offset}-${offset + sizeBytes - 1}`, ...condition };
    try {
      const response = await this.options.fetch(this.#address, { headers, signal: either });
      const answer = new Answer(response, silence);
      try {
        return await use(answer);
      } finally {
        await answer.end();
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof SourceError) throw error;
      const got = silence.signal.aborted ? `nothing for ${this.options.silenceMsMax} ms` : reasonOf(error);
      throw new NetworkError(this.name, got, error);
    } finally {
      silence.end();
    }
  }

  async #retrying<T>(signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
    for (let count = 1; ; count++) {
      signal?.throwIfAborted();
      try {
        return await attempt();
      } catch (error) {
        if (!isPassing(error) || count >= this.options.attemptsMax) throw error;
      }
      await pause(this.options.retryDelayMs * 2 ** (count - 1), signal);
    }
  }
}

interface ContentRange {
  readonly first: number;
  readonly last: number;
  readonly totalBytes: number;
}

interface Validator {
  readonly etag?: string;
  readonly modified?: string;
}

function validatorOf({ headers }: Response): Validator {
  return { etag: headers.get("etag") ?? undefined, modified: headers.get("last-modified") ?? undefined };
}

/** A response whose body can be left at any moment. */
class Answer {
  readonly response: Response;
  readonly #silence: Silence;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;

  constructor(response: Response, silence: Silence) {
    this.response = response;
    this.#silence = silence;
    this.#reader = response.body?.getReader();
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      this.#silence.restart();
      const { done, value } = (await this.#reader?.read()) ?? { done: true };
      if (done || value === undefined) return;
      yield value;
    }
  }

  async end(): Promise<void> {
    await this.#reader?.cancel().catch(() => undefined); // it may have failed already
  }
}

/** Aborts its signal when nothing was heard for a time. */
class Silence {
  readonly #controller = new AbortController();
  readonly #ms: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ms: number) {
    this.#ms = ms;
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  restart(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), this.#ms);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

// What may be over when it is tried again: a server under load, a connection that broke.
function isPassing(error: unknown): boolean {
  if (error instanceof HttpStatusError) return error.status === 408 || error.status === 429 || error.status >= 500;
  return error instanceof NetworkError || error instanceof ShortBodyError;
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      Math.min(ms, RETRY_DELAY_MS_MAX),
    );
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function parseAddress(address: string | URL): URL {
  let parsed: URL | undefined;
  try {
    parsed = new URL(address, globalThis.location?.href);
  } catch {
    parsed = undefined;
  }
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol)) return parsed;
  throw new SourceError("this is not the address of a file on a server", {
    expected: "an address that begins with http:// or https://",
    got: String(address),
  });
}

// `fetch` says no more than "fetch failed" itself; what happened is the cause.
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
