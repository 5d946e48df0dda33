// A hash table from two integers to a third: the merge of two tokens to its rank, or a node of a trie and a character
// to the next node. Open addressing in one flat array (Knuth, The Art of Computer Programming 3, 6.4), because a Map
// with a number for a pair makes an object for each question. The hash has a secret of the process, so that nobody can
// write a file whose pairs all collide. Leaves out: removal.

const secret = crypto.getRandomValues(new Int32Array(1))[0];
const fieldCount = 3;

export class PairTable {
  #slots: Int32Array; // [capacity, 3]: left + 1 (0 where a slot is free), right, value
  #mask: number;
  #size = 0;

  /** @param expected how many pairs it will hold; it grows when there are more */
  constructor(expected: number) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(8, expected * 2)));
    this.#slots = new Int32Array(capacity * fieldCount);
    this.#mask = capacity - 1;
  }

  get size(): number {
    return this.#size;
  }

  /** The value of a pair of integers from 0 to 2^31 - 2; -1 where there is none. */
  get(left: number, right: number): number {
    const slot = this.#slotOf(left, right);
    return this.#slots[slot] === 0 ? -1 : this.#slots[slot + 2];
  }

  /** Adds a pair. One that is there keeps its value. */
  add(left: number, right: number, value: number): void {
    const slot = this.#slotOf(left, right);
    if (this.#slots[slot] !== 0) return;
    this.#slots[slot] = left + 1;
    this.#slots[slot + 1] = right;
    this.#slots[slot + 2] = value;
    this.#size++;
    if (this.#size * 2 > this.#mask) this.#grow();
  }

  #slotOf(left: number, right: number): number {
    let hash = Math.imul(left ^ secret, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    hash ^= hash >>> 13;
    for (let index = hash & this.#mask; ; index = (index + 1) & this.#mask) {
      const slot = index * fieldCount;
      const found = this.#slots[slot];
      if (found === 0 || (found === left + 1 && this.#slots[slot + 1] === right)) return slot;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    this.#mask = this.#mask * 2 + 1;
    for (let from = 0; from < old.length; from += fieldCount) {
      if (old[from] === 0) continue;
      const slot = this.#slotOf(old[from] - 1, old[from + 1]);
      this.#slots.set(old.subarray(from, from + fieldCount), slot);
    }
  }
}
