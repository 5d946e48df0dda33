// What the processes of the kill test share beside the channel: how far they are, which deaths were noticed, and how
// often each message was seen. It lies in shared memory of its own, so that it outlives whoever is killed.

import { SEGMENT_HEADER_BYTES, SharedSegment } from "@fidelity/barewire/node";

export type Role = "producer" | "consumer";

/** Words of the ledger. Counts of messages seen, by number, come after them. */
export const LEDGER = {
  /** 1 when producers are to end. */
  stop: 0,
  /** The number of the next message. */
  nextNumber: 1,
  /** Processes that are at work, ever. */
  started: 2,
  /** Deaths of each role that someone of the other role was told of. */
  producerDeaths: 3,
  consumerDeaths: 4,
  seenTotal: 5,
  torn: 6,
  repeated: 7,
  /** Messages of a producer that came out of their order. */
  disordered: 8,
  /** The next process's number. */
  nextProcess: 9,
  /** Producers pause at this number, so that the messages do not all go between two kills. */
  limit: 10,
} as const;
const SEEN = 64;

/** The ledger, as one process sees it. */
export class Ledger implements Disposable {
  readonly #segment: SharedSegment;
  readonly #words: Int32Array;
  readonly messagesMax: number;

  constructor(segment: SharedSegment) {
    this.#segment = segment;
    this.#words = new Int32Array(segment.buffer, SEGMENT_HEADER_BYTES);
    this.messagesMax = this.#words.length - SEEN;
  }

  static create(name: string, messagesMax: number): Ledger {
    return new Ledger(SharedSegment.create(name, (SEEN + messagesMax) * 4));
  }

  static open(name: string): Ledger {
    return new Ledger(SharedSegment.open(name));
  }

  get(field: keyof typeof LEDGER): number {
    return Atomics.load(this.#words, LEDGER[field]);
  }

  /** Adds to a field and gives what it was. */
  add(field: keyof typeof LEDGER, count = 1): number {
    return Atomics.add(this.#words, LEDGER[field], count);
  }

  /** Counts a message as seen and says how often it was seen before. */
  see(number: number): number {
    return Atomics.add(this.#words, SEEN + number, 1);
  }

  /** Numbers that were given out and never seen. */
  lost(): number {
    let count = 0;
    for (let number = 0; number < Math.min(this.get("nextNumber"), this.messagesMax); number++) {
      if (Atomics.load(this.#words, SEEN + number) === 0) count++;
    }
    return count;
  }

  [Symbol.dispose](): void {
    this.#segment.close();
  }
}

/** What a message of the test holds: words from its number on, so that one that is torn shows. */
export const HEAD_WORDS = 3;

/** Fills a message: its number, its producer, its place among those of its producer, and a pattern. */
export function fillMessage(words: Int32Array, number: number, producer: number, index: number): void {
  words[0] = number;
  words[1] = producer;
  words[2] = index;
  for (let i = HEAD_WORDS; i < words.length; i++) words[i] = patternOf(number, i);
}

/** Whether all words of a message are those of its number. */
export function isWhole(words: Int32Array): boolean {
  if (words.length < HEAD_WORDS || words[0] < 0) return false;
  for (let i = HEAD_WORDS; i < words.length; i++) if (words[i] !== patternOf(words[0], i)) return false;
  return true;
}

function patternOf(number: number, index: number): number {
  return (Math.imul(number, 0x9e37_79b1) + index) | 0;
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function makeRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
