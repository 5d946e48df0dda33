// A series of numbers for curves, in bounded memory however long the run: when it is full, neighbours are merged into
// their mean, and from then on each point stands for twice as many entries.

/** Points of `width` numbers each, such as a step and a loss. */
export class Series {
  readonly #width: number;
  readonly #pointsMax: number;
  #points: number[][] = [];
  #entriesPerPoint = 1;
  #pending: number[];
  #pendingCount = 0;

  /** @param pointsMax an even number: how many points are kept at most */
  constructor(width: number, pointsMax = 2048) {
    this.#width = width;
    this.#pointsMax = pointsMax;
    this.#pending = new Array<number>(width).fill(0);
  }

  add(...entry: readonly number[]): void {
    for (let i = 0; i < this.#width; i++) this.#pending[i] += entry[i];
    this.#pendingCount++;
    if (this.#pendingCount < this.#entriesPerPoint) return;
    this.#points.push(this.#takePending());
    if (this.#points.length < this.#pointsMax) return;
    this.#points = Array.from({ length: this.#pointsMax / 2 }, (_, i) => {
      const [left, right] = [this.#points[2 * i], this.#points[2 * i + 1]];
      return left.map((value, at) => (value + right[at]) / 2);
    });
    this.#entriesPerPoint *= 2;
  }

  /** The points so far, the last of which may stand for fewer entries than the others. */
  points(): readonly (readonly number[])[] {
    if (this.#pendingCount === 0) return this.#points;
    return [...this.#points, this.#pending.map((sum) => sum / this.#pendingCount)];
  }

  #takePending(): number[] {
    const point = this.#pending.map((sum) => sum / this.#pendingCount);
    this.#pending.fill(0);
    this.#pendingCount = 0;
    return point;
  }
}
