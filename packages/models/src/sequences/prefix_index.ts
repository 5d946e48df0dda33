// What is kept of texts that were read, for those that will begin alike (RadixAttention of Zheng et al. 2024, SGLang,
// arXiv 2312.07104): a tree whose edges are page-sized runs of tokens. A node holds the page of its run, and perhaps a
// copy of the recurrent state after it; a new text goes on from the deepest node that has all that the model needs.
// Pages that only the index holds are given up when they are needed, states when they take more than their budget: in
// either case what was used least recently goes first.

import { invariant } from "@fidelity/units";
import type { PageStore } from "./page_store.ts";

/** The state of the text that leads to it. */
export interface PrefixNode {
  readonly parent: PrefixNode | undefined;
  readonly key: string;
  /** Runs of tokens from the start. */
  readonly depth: number;
  /** The page of its run; -1 where the model has no caches. */
  readonly page: number;
  /** A recurrent state that was kept. */
  state: readonly Uint8Array[] | undefined;
  readonly children: Map<string, PrefixNode>;
  usedAt: number;
  /** Whether it is no longer in the tree. */
  isGone: boolean;
}

export interface PrefixIndexOptions {
  /** Tokens of a run. */
  readonly pageSize: number;
  /** Where pages are held; undefined for a model without caches. */
  readonly pages: PageStore | undefined;
  /** Whether a text can go on only where a state was kept. */
  readonly needsState: boolean;
  /** The most bytes of kept states. */
  readonly stateBytesMax: number;
}

export class PrefixIndex {
  readonly root: PrefixNode;
  readonly #options: PrefixIndexOptions;
  readonly #nodes = new Set<PrefixNode>();
  #stateBytes = 0;
  #clock = 0;

  constructor(options: PrefixIndexOptions) {
    this.#options = options;
    this.root = node(undefined, "", -1);
  }

  /** Bytes of the states that are kept. */
  get stateBytes(): number {
    return this.#stateBytes;
  }

  /** Pages that nobody but the index holds. */
  get reclaimableCount(): number {
    const { pages } = this.#options;
    return pages === undefined ? 0 : [...this.#nodes].filter(({ page }) => pages.holdersOf(page) === 1).length;
  }

  /** The deepest node from which a text that begins with at most `most` of these tokens can go on. */
  match(tokens: readonly number[], most: number): PrefixNode {
    const { pageSize, needsState } = this.#options;
    let [at, found] = [this.root, this.root];
    while ((at.depth + 1) * pageSize <= most) {
      const child = at.children.get(runKey(tokens, at.depth, pageSize));
      if (child === undefined) break;
      at = child;
      if (!needsState || at.state !== undefined) found = at;
    }
    this.#use(found);
    return found;
  }

  /** The pages from the root to a node. */
  pagesTo(last: PrefixNode): number[] {
    const pages: number[] = [];
    for (let at: PrefixNode | undefined = last; at?.parent !== undefined; at = at.parent) pages.unshift(at.page);
    return pages;
  }

  /**
   * The node after one more run of `tokens`, whose page is `page`: a new one holds the page. `stateOf` gives the state
   * after the run where it is to be kept. Undefined where `from` is gone, or nothing was kept.
   */
  extend(
    from: PrefixNode,
    tokens: readonly number[],
    page: number,
    stateOf: (() => readonly Uint8Array[] | undefined) | undefined,
  ): PrefixNode | undefined {
    if (from.isGone) return undefined;
    const { pages, pageSize } = this.#options;
    const key = runKey(tokens, from.depth, pageSize);
    let child = from.children.get(key);
    if (child === undefined) {
      child = node(from, key, page);
      from.children.set(key, child);
      this.#nodes.add(child);
      pages?.hold(page);
    }
    this.#use(child);
    if (child.state === undefined) this.#keepState(child, stateOf?.());
    this.#prune(child);
    return child.isGone ? undefined : child;
  }

  /** Gives up pages until `count` are free; false where that many cannot be. */
  reclaim(count: number): boolean {
    const { pages } = this.#options;
    invariant(pages !== undefined, "there are pages");
    while (pages.freeCount < count) {
      const oldest = this.#oldest(({ children, page }) => children.size === 0 && pages.holdersOf(page) === 1);
      if (oldest === undefined) return false;
      this.#remove(oldest);
    }
    return true;
  }

  /** Forgets everything. */
  clear(): void {
    for (const each of [...this.#nodes]) this.#remove(each);
  }

  #keepState(at: PrefixNode, state: readonly Uint8Array[] | undefined): void {
    if (state === undefined) return;
    at.state = state;
    this.#stateBytes += bytesOf(state);
    while (this.#stateBytes > this.#options.stateBytesMax) {
      const oldest = this.#oldest((each) => each.state !== undefined);
      invariant(oldest !== undefined, "there are states as long as they have bytes");
      this.#dropState(oldest);
      if (oldest !== at) this.#prune(oldest);
    }
  }

  #dropState(at: PrefixNode): void {
    this.#stateBytes -= at.state === undefined ? 0 : bytesOf(at.state);
    at.state = undefined;
  }

  /** Removes nodes of which nothing is left, from this one upwards. */
  #prune(from: PrefixNode): void {
    let at: PrefixNode | undefined = from;
    while (at?.parent !== undefined && at.page < 0 && at.state === undefined && at.children.size === 0) {
      this.#remove(at);
      at = at.parent;
    }
  }

  #remove(at: PrefixNode): void {
    this.#dropState(at);
    at.isGone = true;
    at.parent?.children.delete(at.key);
    this.#nodes.delete(at);
    if (at.page >= 0) this.#options.pages?.release(at.page);
  }

  #oldest(fits: (candidate: PrefixNode) => boolean): PrefixNode | undefined {
    let oldest: PrefixNode | undefined;
    for (const each of this.#nodes) {
      if (fits(each) && (oldest === undefined || each.usedAt < oldest.usedAt)) oldest = each;
    }
    return oldest;
  }

  #use(last: PrefixNode): void {
    this.#clock++;
    for (let at: PrefixNode | undefined = last; at !== undefined; at = at.parent) at.usedAt = this.#clock;
  }
}

function node(parent: PrefixNode | undefined, key: string, page: number): PrefixNode {
  const depth = parent === undefined ? 0 : parent.depth + 1;
  return { parent, key, depth, page, state: undefined, children: new Map(), usedAt: 0, isGone: false };
}

/** The tokens of a run as the name of an edge. */
function runKey(tokens: readonly number[], run: number, pageSize: number): string {
  return tokens.slice(run * pageSize, (run + 1) * pageSize).join();
}

function bytesOf(state: readonly Uint8Array[]): number {
  return state.reduce((sum, { length }) => sum + length, 0);
}
