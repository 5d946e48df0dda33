// One file of the hub, fetched so that nothing is fetched twice: bytes go to a part file named after the digest that
// the whole must have, another attempt asks for what is missing (HTTP ranges, RFC 9110 section 14), and only what has
// the digest gets the file's name. A server's bytes that do not fit are thrown away once, then refused.

import { createHash } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BlockWriter, makeFolder, toFileError } from "@fidelity/barewire/node";
import { formatBytes } from "@fidelity/units";
import { ChecksumError, HubError, TransientHubError } from "./errors.ts";
import type { Digest, Hub, HubFile, HubListing } from "./hub.node.ts";

export interface RetryOptions {
  /** Attempts in a row that bring less than 1 MiB. Default 6. */
  readonly attempts?: number;
  /** Before the second attempt; each further wait is twice as long, up to 30 s. Default 1000. */
  readonly delayMs?: number;
  /** A connection that brings nothing for so long is given up. Default 30,000. */
  readonly stallMs?: number;
}

export interface DownloadOptions extends RetryOptions {
  readonly signal: AbortSignal;
  /** Called with the bytes of the file that are here. */
  readonly onBytes: (doneBytes: number) => void;
  /** Called before another attempt, with why. */
  readonly onRetry?: (error: HubError, delayMs: number) => void;
}

/** An attempt that brought this much counts as a first one again. */
const PROGRESS_BYTES = 1 << 20;
const DELAY_MS_MAX = 30_000;

/**
 * Fetches a file to `target`, with its part in the folder `parts`, which stays when this ends early. Throws `HubError`
 * and its kinds, `FileError`, and the signal's reason.
 */
export async function downloadFile(
  hub: Hub,
  origin: Omit<HubListing, "files">,
  file: HubFile,
  { target, parts }: { readonly target: string; readonly parts: string },
  options: DownloadOptions,
): Promise<void> {
  const part = join(parts, file.digest.hex);
  let mayStartOver = true;
  try {
    makeFolder(parts);
    makeFolder(dirname(target));
    for (;;) {
      await fetchMissing(hub, origin, file, part, options);
      if ((await digestOf(part, file, options.signal)) === file.digest.hex) break;
      const mismatch = checksumMismatch(origin.repository, file);
      if (!mayStartOver) throw mismatch;
      mayStartOver = false;
      await rm(part, { force: true });
      options.onRetry?.(mismatch, 0);
    }
    await rename(part, target);
  } catch (error) {
    if (error instanceof ChecksumError) await rm(part, { force: true });
    throw toFileError(error, "write", part);
  }
}

/** Attempt after attempt until the part has all of its bytes. */
async function fetchMissing(
  hub: Hub,
  origin: Omit<HubListing, "files">,
  file: HubFile,
  part: string,
  options: DownloadOptions,
): Promise<void> {
  const { attempts = 6, delayMs = 1000, signal, onRetry } = options;
  for (let failures = 0; ;) {
    const before = await sizeOf(part);
    try {
      await fetchRest(hub, origin, file, part, options);
      return;
    } catch (error) {
      if (!(error instanceof TransientHubError)) throw error;
      failures = (await sizeOf(part)) - before >= PROGRESS_BYTES ? 1 : failures + 1;
      if (failures >= attempts) throw error;
      const wait = Math.min(DELAY_MS_MAX, delayMs * 2 ** (failures - 1));
      onRetry?.(error, wait);
      await sleep(wait, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/** One request for what the part lacks, which is written by blocks; what has arrived is in it also when this throws. */
async function fetchRest(
  hub: Hub,
  origin: Omit<HubListing, "files">,
  file: HubFile,
  part: string,
  { signal, onBytes, stallMs = 30_000 }: DownloadOptions,
): Promise<void> {
  await using handle = await open(part, constants.O_RDWR | constants.O_CREAT);
  const hereBytes = (await handle.stat()).size;
  onBytes(hereBytes);
  if (hereBytes === file.sizeBytes) return;
  const stall = new AbortController();
  const timer = setTimeout(
    () => stall.abort(new TransientHubError("the hub sends nothing", { where: file.path })),
    stallMs,
  );
  let blocks = new BlockWriter(handle.fd, hereBytes);
  try {
    const response = await hub.bytes(origin, file.path, hereBytes, AbortSignal.any([signal, stall.signal]));
    if (firstByte(response, hereBytes) !== hereBytes) {
      await handle.truncate(0); // the server does not know ranges
      blocks = new BlockWriter(handle.fd);
    }
    for await (const chunk of response.body ?? []) {
      timer.refresh();
      if (blocks.position + chunk.byteLength > file.sizeBytes) throw tooManyBytes(origin.repository, file);
      blocks.write(chunk);
      onBytes(blocks.position);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (stall.signal.aborted) throw stall.signal.reason;
    const isOfDisk = error instanceof Error && "errno" in error; // those of `fetch` have it in their cause
    if (error instanceof HubError || isOfDisk) throw error;
    throw endedEarly(origin.repository, file, blocks.position, error);
  } finally {
    clearTimeout(timer);
    blocks.flush();
  }
  await handle.sync();
  if (blocks.position < file.sizeBytes) throw endedEarly(origin.repository, file, blocks.position);
}

/** Where the bytes of a response begin. Throws `TransientHubError` for another range than was asked for. */
function firstByte(response: Response, asked: number): number {
  if (response.status === 200) return 0;
  const start = Number(/^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1] ?? Number.NaN);
  if (start === asked) return start;
  throw new TransientHubError("the server gives another range than it was asked for", {
    expected: `bytes from ${asked} on`,
    got: response.headers.get("content-range") ?? "no Content-Range",
  });
}

function tooManyBytes(repository: string, file: HubFile): ChecksumError {
  return new ChecksumError("the server sends more bytes than it announced", {
    where: `${repository}: ${file.path}`,
    expected: `${file.sizeBytes} bytes`,
  });
}

function endedEarly(repository: string, file: HubFile, doneBytes: number, cause?: unknown): TransientHubError {
  return new TransientHubError("the connection ended before the file did", {
    where: `${repository}: ${file.path}`,
    expected: formatBytes(file.sizeBytes),
    got: formatBytes(doneBytes),
    hint: "run the same command again: it goes on where this one stopped",
    cause,
  });
}

/** The digest of a file, of the kind that the hub announced. */
async function digestOf(path: string, { sizeBytes, digest }: HubFile, signal: AbortSignal): Promise<string> {
  const hash = startHash(digest, sizeBytes);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

function startHash({ algorithm }: Digest, sizeBytes: number) {
  return algorithm === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${sizeBytes}\0`);
}

function checksumMismatch(repository: string, { path, digest }: HubFile): ChecksumError {
  return new ChecksumError("what arrived is not the file that the hub announced", {
    where: `${repository}: ${path}`,
    expected: `${digest.algorithm} ${digest.hex}`,
    got: "other bytes of the same number",
    hint: "try again; if it stays so, a proxy or a mirror changes the file",
  });
}
