// Who takes part in a channel. Each participant has an entry with its identity, one 64-bit word that is set by a single
// compare-and-exchange: from 0 (free), or from the identity of one who died. So an entry belongs to no one or to
// someone in full at every moment, whoever is killed when.
//
// A ticket is a number that no other participant of the channel ever has. Messages that a consumer holds bear its
// ticket, so that what a dead consumer held is told from what its successor in the same entry holds.

import { ChannelFullError, ChannelUseError, PeerDeadError } from "./errors.ts";
import { HEADER, PARTICIPANT_BYTES, PARTICIPANTS_BYTE } from "./layout.ts";
import type { RingLayout } from "./layout.ts";
import type { ChannelMemory } from "./memory.ts";
import type { Parking } from "./wait.ts";

export type Role = "producer" | "consumer";

/** A place taken in a channel. For a producer, `slot` is the number of its lane. */
export interface Place {
  readonly slot: number;
  readonly ticket: number;
}

const TICKET_MASK = 0x1fff_ffff;

/** The table of participants of one channel. */
export class Participants {
  readonly #memory: ChannelMemory;
  readonly #layout: RingLayout;
  readonly #parking: Parking;
  readonly #where: string;

  constructor(memory: ChannelMemory, layout: RingLayout, parking: Parking, where: string) {
    this.#memory = memory;
    this.#layout = layout;
    this.#parking = parking;
    this.#where = where;
  }

  /** Takes a place, free or left by one who died. Throws `ChannelFullError`. */
  join(role: Role): Place {
    const { words, longs } = this.#memory;
    const ticket = (Atomics.add(words, HEADER.ticket, 1) + 1) & TICKET_MASK || 1;
    const identity = this.#parking.identity(ticket);
    const count = this.#count(role);
    for (let slot = 0; slot < count; slot++) {
      const at = this.#identityIndex(role, slot);
      const present = Atomics.load(longs, at);
      if (present !== 0n && this.#parking.isAlive(present)) continue;
      if (Atomics.compareExchange(longs, at, present, identity) !== present) {
        slot = -1; // someone was faster: look again from the start, so that a lane left free is not passed over
        continue;
      }
      Atomics.store(words, this.#ticketIndex(role, slot), ticket);
      if (present !== 0n) Atomics.add(words, replacedIndex(role), 1);
      Atomics.add(words, joinedIndex(role), 1);
      return { slot, ticket };
    }
    throw new ChannelFullError(`the channel has no room for another ${role}`, {
      where: this.#where,
      got: `${count} that are alive`,
      hint: `close one, or create the channel with a larger ${role}sMax`,
    });
  }

  /** Gives the place back. */
  leave(role: Role, { slot }: Place): void {
    Atomics.store(this.#memory.words, this.#ticketIndex(role, slot), 0);
    Atomics.store(this.#memory.longs, this.#identityIndex(role, slot), 0n);
  }

  /** False once the consumer with this ticket has left or died: what it held can be taken back. */
  isHolding(ticket: number): boolean {
    for (let slot = 0; slot < this.#layout.consumersMax; slot++) {
      if (Atomics.load(this.#memory.words, this.#ticketIndex("consumer", slot)) !== ticket) continue;
      const identity = Atomics.load(this.#memory.longs, this.#identityIndex("consumer", slot));
      return identity !== 0n && this.#parking.isAlive(identity);
    }
    return false;
  }

  /** How many take part now, the dead whose places nobody took among them. */
  present(role: Role): number {
    let count = 0;
    for (let slot = 0; slot < this.#count(role); slot++) {
      if (Atomics.load(this.#memory.longs, this.#identityIndex(role, slot)) !== 0n) count++;
    }
    return count;
  }

  /** How many ever took part. */
  joined(role: Role): number {
    return Atomics.load(this.#memory.words, joinedIndex(role));
  }

  /** The identities of those who died and whose places nobody has taken yet. */
  dead(role: Role): bigint[] {
    const found: bigint[] = [];
    for (let slot = 0; slot < this.#count(role); slot++) {
      const identity = Atomics.load(this.#memory.longs, this.#identityIndex(role, slot));
      if (identity !== 0n && !this.#parking.isAlive(identity)) found.push(identity);
    }
    return found;
  }

  /** How many died and were replaced. */
  replaced(role: Role): number {
    return Atomics.load(this.#memory.words, replacedIndex(role));
  }

  describe(identity: bigint): string {
    return this.#parking.describe(identity);
  }

  /**
   * Gives up the place of a participant that is known to be gone although its process lives: a terminated thread. A
   * place that it had left is left alone. Throws `ChannelUseError` where there is no such place.
   */
  evict(role: Role, slot: number): void {
    const count = this.#count(role);
    if (!Number.isSafeInteger(slot) || slot < 0 || slot >= count) {
      const expected = `0 to ${count - 1}`;
      throw new ChannelUseError(`the channel has no such ${role}`, { where: this.#where, expected, got: String(slot) });
    }
    if (Atomics.load(this.#memory.longs, this.#identityIndex(role, slot)) === 0n) return;
    this.leave(role, { slot, ticket: 0 });
    Atomics.add(this.#memory.words, replacedIndex(role), 1);
  }

  #count(role: Role): number {
    return role === "producer" ? this.#layout.producersMax : this.#layout.consumersMax;
  }

  #entryByte(role: Role, slot: number): number {
    const index = role === "producer" ? slot : this.#layout.producersMax + slot;
    return PARTICIPANTS_BYTE + index * PARTICIPANT_BYTES;
  }

  #identityIndex(role: Role, slot: number): number {
    return this.#entryByte(role, slot) / 8;
  }

  #ticketIndex(role: Role, slot: number): number {
    return this.#entryByte(role, slot) / 4 + 2;
  }
}

/** Tells one participant of each death on the other side once; those from before it joined and long replaced, never. */
export class DeathWatch {
  readonly #participants: Participants;
  readonly #role: Role;
  readonly #where: string;
  readonly #told = new Set<bigint>();
  #replacedSeen: number;

  constructor(participants: Participants, role: Role, where: string) {
    this.#participants = participants;
    this.#role = role;
    this.#where = where;
    this.#replacedSeen = participants.replaced(role);
  }

  /** Throws `PeerDeadError` where someone died since the last call. */
  check(): void {
    const dead = this.#participants.dead(this.#role);
    const fresh = dead.find((identity) => !this.#told.has(identity));
    if (fresh !== undefined) {
      this.#told.add(fresh);
      throw new PeerDeadError(this.#role, this.#where, { got: this.#participants.describe(fresh) });
    }
    // Who was replaced between two calls was never seen dead. Those told of before are not told again.
    const replaced = this.#participants.replaced(this.#role);
    let unseen = (replaced - this.#replacedSeen) | 0;
    this.#replacedSeen = replaced;
    for (const identity of this.#told) {
      if (unseen <= 0) break;
      if (dead.includes(identity)) continue;
      this.#told.delete(identity);
      unseen--;
    }
    if (unseen > 0) throw new PeerDeadError(this.#role, this.#where, { got: "one that was replaced meanwhile" });
  }
}

function joinedIndex(role: Role): number {
  return role === "producer" ? HEADER.producersJoined : HEADER.consumersJoined;
}

function replacedIndex(role: Role): number {
  return role === "producer" ? HEADER.producersReplaced : HEADER.consumersReplaced;
}
