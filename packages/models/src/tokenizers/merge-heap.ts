// A binary heap of possible merges for byte-pair encoding, over flat arrays so that a megabyte of text makes no
// objects. The highest score comes first and the leftmost position among equal scores: the order of llama2.c's scan.

const fieldCount = 4;

export class MergeHeap {
  /** The fields of the offer that `pop` took last. */
  position = 0;
  left = 0;
  right = 0;
  merged = 0;
  #size = 0;
  #scores: Float64Array;
  #fields: Int32Array; // [capacity, 4]: position, left token, right token, merged token

  constructor(capacity: number) {
    this.#scores = new Float64Array(capacity);
    this.#fields = new Int32Array(capacity * fieldCount);
  }

  /** Adds an offer: the tokens `left` and `right`, the first of them at `position`, could become `merged`. */
  push(score: number, position: number, left: number, right: number, merged: number): void {
    if (this.#size === this.#scores.length) this.#grow();
    let slot = this.#size++;
    while (slot > 0) {
      const parent = (slot - 1) >> 1;
      if (!this.#beats(score, position, parent)) break;
      this.#move(parent, slot);
      slot = parent;
    }
    this.#place(slot, score, position, left, right, merged);
  }

  /** Takes the best offer into this object's fields; false when none is left. */
  pop(): boolean {
    if (this.#size === 0) return false;
    this.position = this.#fields[0];
    this.left = this.#fields[1];
    this.right = this.#fields[2];
    this.merged = this.#fields[3];
    const last = --this.#size;
    const score = this.#scores[last];
    const position = this.#fields[last * fieldCount];
    let slot = 0;
    for (let child = 1; child < last; child = 2 * slot + 1) {
      const sibling = child + 1;
      const siblingPosition = this.#fields[sibling * fieldCount];
      if (sibling < last && this.#beats(this.#scores[sibling], siblingPosition, child)) child = sibling;
      if (this.#beats(score, position, child)) break;
      this.#move(child, slot);
      slot = child;
    }
    if (slot !== last) this.#move(last, slot);
    return true;
  }

  #beats(score: number, position: number, slot: number): boolean {
    return score > this.#scores[slot] || (score === this.#scores[slot] && position < this.#fields[slot * fieldCount]);
  }

  #move(from: number, to: number): void {
    this.#scores[to] = this.#scores[from];
    const source = from * fieldCount;
    this.#fields.copyWithin(to * fieldCount, source, source + fieldCount);
  }

  #place(slot: number, score: number, position: number, left: number, right: number, merged: number): void {
    const start = slot * fieldCount;
    this.#scores[slot] = score;
    this.#fields[start] = position;
    this.#fields[start + 1] = left;
    this.#fields[start + 2] = right;
    this.#fields[start + 3] = merged;
  }

  #grow(): void {
    const scores = new Float64Array(this.#scores.length * 2 + 1);
    const fields = new Int32Array(scores.length * fieldCount);
    scores.set(this.#scores);
    fields.set(this.#fields);
    this.#scores = scores;
    this.#fields = fields;
  }
}
