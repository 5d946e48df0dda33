// Channels between the processes of one host, by name: the rings, latest values and services of this folder in shared
// memory by name, with futexes to sleep on and process numbers to tell who lives.

import { ProcessParking, loadFutex } from "../shm/futex.node.ts";
import type { Futex } from "../shm/futex.node.ts";
import { SharedMemoryMissingError, SharedMemoryUnsupportedError } from "../shm/errors.ts";
import { SEGMENT_HEADER_BYTES, SharedSegment, sleep } from "../shm/segment.node.ts";
import { LatestChannel, latestSizeBytes } from "./latest.ts";
import type { LatestOptions } from "./latest.ts";
import type { RingOptions } from "./layout.ts";
import { ChannelMemory } from "./memory.ts";
import { RingChannel, channelSizeBytes } from "./ring.ts";
import { ServiceChannel, serviceSizeBytes } from "./service.ts";
import type { ServiceOptions } from "./service.ts";
import type { Parking } from "./wait.ts";

/** How to open. */
export interface OpenOptions {
  /** Wait up to this long, holding up the thread, for another process to create it. Default 0. */
  readonly waitMs?: number;
}

const POLL_MS = 5;

/** Makes a channel between processes. Throws `SharedMemoryError`s and `ChannelError`s. */
export function createChannel(name: string, options?: RingOptions): RingChannel {
  return create(name, channelSizeBytes(options), (memory) => RingChannel.format(memory, options), attachRing);
}

/** Opens a channel that another process, or this one, has made. Throws `SharedMemoryError`s, `ChannelFormatError`. */
export function openChannel(name: string, options?: OpenOptions): RingChannel {
  return open(name, options, attachRing);
}

/** Makes a latest value between processes. */
export function createLatest(name: string, options: LatestOptions): LatestChannel {
  return create(name, latestSizeBytes(options), (memory) => LatestChannel.format(memory, options), attachLatest);
}

/** Opens a latest value that another process, or this one, has made. */
export function openLatest(name: string, options?: OpenOptions): LatestChannel {
  return open(name, options, attachLatest);
}

/** Makes a service between processes: requests and responses. */
export function createService(name: string, options?: ServiceOptions): ServiceChannel {
  return create(name, serviceSizeBytes(options), (memory) => ServiceChannel.format(memory, options), attachService);
}

/** Opens a service that another process, or this one, has made. */
export function openService(name: string, options?: OpenOptions): ServiceChannel {
  return open(name, options, attachService);
}

type Attach<T> = (memory: ChannelMemory, parking: Parking, where: string, onClose: () => void) => T;

const attachRing: Attach<RingChannel> = (...parts) => new RingChannel(...parts);
const attachLatest: Attach<LatestChannel> = (...parts) => new LatestChannel(...parts);
const attachService: Attach<ServiceChannel> = (...parts) => new ServiceChannel(...parts);

function create<T>(name: string, sizeBytes: number, format: (memory: ChannelMemory) => void, attach: Attach<T>): T {
  const futex = needFutex(name);
  const segment = SharedSegment.create(name, sizeBytes, (fresh) => format(memoryOf(fresh)));
  return attachTo(segment, futex, attach);
}

function open<T>(name: string, { waitMs = 0 }: OpenOptions = {}, attach: Attach<T>): T {
  const futex = needFutex(name);
  for (let leftMs = waitMs; ; leftMs -= POLL_MS) {
    try {
      return attachTo(SharedSegment.open(name), futex, attach);
    } catch (error) {
      if (!(error instanceof SharedMemoryMissingError) || leftMs <= 0) throw error;
    }
    sleep(POLL_MS);
  }
}

function attachTo<T>(segment: SharedSegment, futex: Futex, attach: Attach<T>): T {
  try {
    const parking = new ProcessParking(futex, segment.address);
    return attach(memoryOf(segment), parking, `channel "${segment.name}"`, () => {
      parking.close();
      segment.close();
    });
  } catch (error) {
    segment.close();
    throw error;
  }
}

function memoryOf(segment: SharedSegment): ChannelMemory {
  return new ChannelMemory(segment.buffer, SEGMENT_HEADER_BYTES, segment.sizeBytes);
}

function needFutex(name: string): Futex {
  const futex = loadFutex();
  if (typeof futex !== "string") return futex;
  throw new SharedMemoryUnsupportedError(name, "processes cannot share a channel here", {
    got: futex,
    hint: "use channels between threads, or over TCP",
  });
}
