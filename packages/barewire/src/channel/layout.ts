// Where everything of a ring channel lies in its memory. Hot words that different participants write have a cache line
// of 64 bytes each. All sizes and offsets of the payload are counted in granules of 64 bytes.
//
//   byte 0      header: magic, version, limits; counters; the bell that consumers sleep on
//   byte 256    participants: producersMax + consumersMax entries of 16 bytes: identity (i64), ticket (i32), unused
//   byte 4096   lanes, one for each producer: head, tail, bell of the producer, count of dropped messages;
//               then messagesMax descriptors of 64 bytes: state, size, offset, tag; then capacityBytes of payload
//
// Left out: byte order. Both sides are on one machine, and every machine that Node runs on is little-endian.

import { ChannelError, ChannelFormatError } from "./errors.ts";

export const GRANULE_BYTES = 64;
export const PARTICIPANTS_MAX = 64;
export const LANE_BYTES_MAX = 2 ** 32;
export const MESSAGES_MAX = 2 ** 20;

const PAGE_BYTES = 4096;
const MAGIC = 0x48435742; // "BWCH"
const VERSION = 1;

/** Index of each word of the header, in 32-bit words. */
export const HEADER = {
  magic: 0,
  version: 1,
  producersMax: 2,
  consumersMax: 3,
  messagesMax: 4,
  capacityGranules: 5,
  lanesUsed: 16,
  ticket: 17,
  /** Participants of each role that ever joined, and those that died and were replaced. */
  producersJoined: 18,
  consumersJoined: 19,
  producersReplaced: 20,
  consumersReplaced: 21,
  dataBell: 32,
} as const;

export const PARTICIPANTS_BYTE = 256;
export const PARTICIPANT_BYTES = 16;

/** Words of a lane, from its start. `head` and `tail` count messages and wrap at 2^32. */
export const LANE = { head: 0, tail: 1, spaceBell: 16, dropped: 32 } as const;
const LANE_HEADER_BYTES = 256;

/** Words of a descriptor, from its start. */
export const DESCRIPTOR = { state: 0, sizeBytes: 1, offset: 2, tag: 3 } as const;
export const DESCRIPTOR_WORDS = 16;

/** Limits of a channel, fixed when it is made. */
export interface RingOptions {
  /** Bytes of messages under way from each producer, at most 4 GiB; one message may have as many. Default 1 MiB. */
  readonly capacityBytes?: number;
  /** Messages under way from each producer, a power of two of at most 2^20. Default 1024. */
  readonly messagesMax?: number;
  /** Producers at one time, at most 64. Default 1. */
  readonly producersMax?: number;
  /** Consumers at one time, at most 64; each message goes to one of them. Default 1. */
  readonly consumersMax?: number;
}

/** The limits of a channel with the positions that follow from them. */
export interface RingLayout {
  readonly capacityBytes: number;
  readonly messagesMax: number;
  readonly producersMax: number;
  readonly consumersMax: number;
  readonly laneBytes: number;
  readonly sizeBytes: number;
}

/** Checks the options and lays the channel out. Throws `ChannelError` on limits that cannot be. */
export function layOutRing(options: RingOptions = {}): RingLayout {
  const { capacityBytes = 2 ** 20, messagesMax = 1024, producersMax = 1, consumersMax = 1 } = options;
  checkCount("capacityBytes", capacityBytes, LANE_BYTES_MAX - GRANULE_BYTES);
  checkCount("messagesMax", messagesMax, MESSAGES_MAX);
  checkCount("producersMax", producersMax, PARTICIPANTS_MAX);
  checkCount("consumersMax", consumersMax, PARTICIPANTS_MAX);
  if ((messagesMax & (messagesMax - 1)) !== 0) {
    throw new ChannelError("messagesMax of a channel is not a power of two", { got: String(messagesMax) });
  }
  const capacity = roundUp(capacityBytes, GRANULE_BYTES);
  const descriptorsBytes = messagesMax * DESCRIPTOR_WORDS * 4;
  const laneBytes = roundUp(LANE_HEADER_BYTES + descriptorsBytes + capacity, PAGE_BYTES);
  const sizeBytes = PAGE_BYTES + producersMax * laneBytes;
  return { capacityBytes: capacity, messagesMax, producersMax, consumersMax, laneBytes, sizeBytes };
}

/** Writes the header into memory that is all zeros. */
export function formatRing(words: Int32Array, layout: RingLayout): void {
  words[HEADER.version] = VERSION;
  words[HEADER.producersMax] = layout.producersMax;
  words[HEADER.consumersMax] = layout.consumersMax;
  words[HEADER.messagesMax] = layout.messagesMax;
  words[HEADER.capacityGranules] = layout.capacityBytes / GRANULE_BYTES;
  Atomics.store(words, HEADER.magic, MAGIC);
}

/** Reads the header that `formatRing` wrote. Throws `ChannelFormatError` on anything else. */
export function readRingLayout(words: Int32Array, where: string): RingLayout {
  if (words.length * 4 < PAGE_BYTES || Atomics.load(words, HEADER.magic) !== MAGIC) {
    throw new ChannelFormatError("there is no channel in this memory", {
      where,
      hint: "attach to what createChannel or a thread channel's handle gives",
    });
  }
  if (words[HEADER.version] !== VERSION) {
    throw new ChannelFormatError("the channel has another version of the protocol", {
      where,
      expected: `version ${VERSION}`,
      got: `version ${words[HEADER.version]}`,
      hint: "use the same version of the package on both sides",
    });
  }
  const layout = layOutRing({
    capacityBytes: (words[HEADER.capacityGranules] >>> 0) * GRANULE_BYTES,
    messagesMax: words[HEADER.messagesMax],
    producersMax: words[HEADER.producersMax],
    consumersMax: words[HEADER.consumersMax],
  });
  if (layout.sizeBytes > words.length * 4) {
    throw new ChannelFormatError("the memory is smaller than the channel that it says it holds", {
      where,
      expected: `${layout.sizeBytes} bytes`,
      got: `${words.length * 4} bytes`,
    });
  }
  return layout;
}

/** Where the parts of lane `lane` begin, in bytes. */
export function lanePosition(
  layout: RingLayout,
  lane: number,
): { header: number; descriptors: number; payload: number } {
  const header = PAGE_BYTES + lane * layout.laneBytes;
  const descriptors = header + LANE_HEADER_BYTES;
  return { header, descriptors, payload: descriptors + layout.messagesMax * DESCRIPTOR_WORDS * 4 };
}

export function checkCount(what: string, value: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= 1 && value <= most) return;
  throw new ChannelError(`${what} of a channel is out of range`, {
    expected: `a whole number from 1 to ${most}`,
    got: String(value),
  });
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
