// Channels between threads, in Node and in browsers: over a SharedArrayBuffer of its own or a part of a shared wasm
// memory. A thread that is terminated, or that ends by an error, is noticed where the system tells threads apart: in
// Node on Linux. Elsewhere, and in browsers, a participant counts as alive until it leaves or is evicted. The main
// thread of a page may not sleep: there, only the asynchronous side waits.
//
// Left out: Web Locks, which end with their thread. In Node 26 nobody who waits for such a lock is told, and in a
// browser a worker has one only after its event loop has turned, which a worker that waits may never let it do.

import { ChannelUseError } from "./errors.ts";
import { LatestChannel, latestSizeBytes } from "./latest.ts";
import type { LatestOptions } from "./latest.ts";
import type { RingOptions } from "./layout.ts";
import { ChannelMemory } from "./memory.ts";
import { RingChannel, channelSizeBytes } from "./ring.ts";
import { ServiceChannel, serviceSizeBytes } from "./service.ts";
import type { ServiceOptions } from "./service.ts";
import { IDENTITY_MIN, numberOf, readOwnThread, readThread } from "../shm/proc.ts";
import type { ReadText } from "../shm/proc.ts";
import type { Parking } from "./wait.ts";

// Asked for at run time, because browsers run this file as well.
const files = (globalThis as { readonly process?: Partial<NodeJS.Process> }).process?.getBuiltinModule?.("node:fs");
const readText: ReadText | undefined = files && ((path) => files.readFileSync(path, "latin1"));

let ownIdentity: bigint | undefined;

// Where threads cannot be told apart, identities are tickets, and those never die.
function identityOf(ticket: number): bigint {
  ownIdentity ??= (readText && readOwnThread(readText)?.identity) ?? 0n;
  return ownIdentity === 0n ? BigInt(ticket) : ownIdentity;
}

function isThreadAlive(identity: bigint): boolean {
  if (readText === undefined || identity < IDENTITY_MIN || identity === ownIdentity) return true;
  const stat = readThread(readText, numberOf(identity));
  return stat !== undefined && stat.isRunning && stat.identity === identity;
}

/** Sleeping and waking between threads that share memory. */
export const threadParking: Parking = {
  wait(words, index, expected, timeoutMs) {
    try {
      Atomics.wait(words, index, expected, timeoutMs);
    } catch (cause) {
      throw new ChannelUseError("this thread may not sleep", {
        hint: "use the asynchronous side (takeAsync, sendAsync) in the main thread of a page",
        cause,
      });
    }
  },
  async waitAsync(words, index, expected, timeoutMs) {
    const wait = Atomics.waitAsync(words, index, expected, timeoutMs);
    if (!wait.async) return;
    const hold = setTimeout(() => {}, timeoutMs); // such a wait alone would let Node end
    await wait.value;
    clearTimeout(hold);
  },
  wake: (words, index) => void Atomics.notify(words, index),
  identity: identityOf,
  isAlive: isThreadAlive,
  describe: (identity) => (identity < IDENTITY_MIN ? `thread with ticket ${identity}` : `thread ${numberOf(identity)}`),
};

/** Where a channel lies; `postMessage` takes it to another thread. */
export interface ThreadHandle {
  readonly buffer: SharedArrayBuffer;
  readonly byteOffset: number;
  readonly sizeBytes: number;
}

/** Memory for a channel to be made in, all zeros: a SharedArrayBuffer, or an allocation of a shared arena. */
export interface ThreadPlace {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly sizeBytes: number;
}

/** Makes a channel between threads, in memory of its own or in the place given. */
export function createThreadChannel(options?: RingOptions, place?: ThreadPlace): ThreadHandle {
  return create(channelSizeBytes(options), (memory) => RingChannel.format(memory, options), place);
}

/** The channel of a handle, in this thread. Throws `ChannelFormatError`. */
export function attachThreadChannel(handle: ThreadHandle): RingChannel {
  return new RingChannel(memoryOf(handle), threadParking, "channel between threads");
}

/** Makes a channel between threads that holds the latest value only. */
export function createThreadLatest(options: LatestOptions, place?: ThreadPlace): ThreadHandle {
  return create(latestSizeBytes(options), (memory) => LatestChannel.format(memory, options), place);
}

/** The channel of a handle, in this thread. Throws `ChannelFormatError`. */
export function attachThreadLatest(handle: ThreadHandle): LatestChannel {
  return new LatestChannel(memoryOf(handle), threadParking, "latest value between threads");
}

/** Makes a service between threads: requests and responses. */
export function createThreadService(options?: ServiceOptions, place?: ThreadPlace): ThreadHandle {
  return create(serviceSizeBytes(options), (memory) => ServiceChannel.format(memory, options), place);
}

/** The service of a handle, in this thread. Throws `ChannelFormatError`. */
export function attachThreadService(handle: ThreadHandle): ServiceChannel {
  return new ServiceChannel(memoryOf(handle), threadParking, "service between threads");
}

function create(sizeBytes: number, format: (memory: ChannelMemory) => void, place?: ThreadPlace): ThreadHandle {
  if (typeof SharedArrayBuffer === "undefined") {
    throw new ChannelUseError("this page may not share memory with its workers", {
      expected: "a page that is cross-origin isolated",
      hint: "serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp",
    });
  }
  const { buffer, byteOffset } = place ?? { buffer: new SharedArrayBuffer(sizeBytes), byteOffset: 0 };
  if (!(buffer instanceof SharedArrayBuffer) || (place !== undefined && place.sizeBytes < sizeBytes)) {
    throw new ChannelUseError("a channel between threads cannot lie in this memory", {
      expected: `shared memory of at least ${sizeBytes} bytes`,
      got: `${place?.sizeBytes} bytes of ${buffer.constructor.name}`,
    });
  }
  const handle = { buffer, byteOffset, sizeBytes };
  const memory = memoryOf(handle);
  memory.bytes(0, sizeBytes).fill(0);
  format(memory);
  return handle;
}

function memoryOf({ buffer, byteOffset, sizeBytes }: ThreadHandle): ChannelMemory {
  return new ChannelMemory(buffer, byteOffset, sizeBytes);
}
