// Pages of caches, counted by how many hold them. A page has room for the rows of `pageSize` neighbouring tokens of a
// sequence, in every cache of the model; sequences that begin alike hold the same pages. The first page belongs to
// nobody: lanes without a sequence write there.

import type { DeviceTensor } from "@fidelity/core";
import { invariant } from "@fidelity/units";

export class PageStore {
  /** Pages that sequences can have. */
  readonly count: number;
  /** Bytes of a page, in all caches together. */
  readonly pageBytes: number;
  readonly #tensors: readonly DeviceTensor[];
  /** By page, how many hold it. */
  readonly #holders: Int32Array;
  readonly #free: number[];

  /** @param tensors [1 + count, page size, ...], one a cache */
  constructor(tensors: readonly DeviceTensor[], count: number) {
    this.count = count;
    this.#tensors = tensors;
    this.#holders = new Int32Array(1 + count);
    this.#free = Array.from({ length: count }, (_, i) => count - i);
    this.pageBytes = tensors.reduce((sum, tensor) => sum + tensor.bytes().length / (1 + count), 0);
  }

  get freeCount(): number {
    return this.#free.length;
  }

  holdersOf(page: number): number {
    return this.#holders[page];
  }

  /** A page that nobody held. There must be one. */
  take(): number {
    const page = this.#free.pop();
    invariant(page !== undefined, "a page is free");
    this.#holders[page] = 1;
    return page;
  }

  hold(page: number): void {
    invariant(this.#holders[page] > 0, `page ${page} is held`);
    this.#holders[page]++;
  }

  /** Gives up one hold; the last one frees the page. */
  release(page: number): void {
    invariant(this.#holders[page] > 0, `page ${page} is held`);
    if (--this.#holders[page] === 0) this.#free.push(page);
  }

  /** Copies what a page holds to another one. */
  copy(from: number, to: number): void {
    for (const tensor of this.#tensors) {
      const bytes = tensor.bytes();
      const size = bytes.length / (1 + this.count);
      bytes.copyWithin(to * size, from * size, (from + 1) * size);
    }
  }

  /** Copies of the whole pages, one array a cache. */
  read(pages: readonly number[]): Uint8Array[] {
    return this.#tensors.map((tensor) => {
      const bytes = tensor.bytes();
      const size = bytes.length / (1 + this.count);
      const copy = new Uint8Array(pages.length * size);
      pages.forEach((page, i) => copy.set(bytes.subarray(page * size, (page + 1) * size), i * size));
      return copy;
    });
  }

  /** The bytes that `read` gives for so many pages, one number a cache. */
  sizesBytes(pages: number): number[] {
    return this.#tensors.map((tensor) => (pages * tensor.bytes().length) / (1 + this.count));
  }

  /** Writes to pages what `read` gave. */
  write(pages: readonly number[], copies: readonly Uint8Array[]): void {
    this.#tensors.forEach((tensor, i) => {
      const bytes = tensor.bytes();
      const size = bytes.length / (1 + this.count);
      pages.forEach((page, n) => bytes.set(copies[i].subarray(n * size, (n + 1) * size), page * size));
    });
  }
}
