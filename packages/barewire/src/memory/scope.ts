// Scopes of an arena: what is allocated in one is freed with it, so that the temporaries of a step need no bookkeeping
// of their own (regions in the sense of Tofte and Talpin, without the inference). Scopes nest, and end with their
// parents. Left out: moving an allocation from one scope to another, other than `keep`.

import type { Allocation, SharedArena } from "../arena.ts";

/** Allocations that end together. Hold it with `using`. */
export class ArenaScope implements Disposable {
  readonly label: string;
  readonly #arena: SharedArena;
  readonly #owned = new Set<Allocation>();
  readonly #inner = new Set<ArenaScope>();
  #isClosed = false;

  constructor(arena: SharedArena, label: string) {
    this.#arena = arena;
    this.label = label;
  }

  /** The bytes of all regions that are alive in this scope and in those inside of it. */
  get liveBytes(): number {
    let sum = 0;
    for (const allocation of this.#owned) if (allocation.isAlive) sum += allocation.sizeBytes;
    for (const scope of this.#inner) sum += scope.liveBytes;
    return sum;
  }

  /** As `alloc` of the arena, freed with this scope at the latest. */
  alloc(sizeBytes: number, alignBytes?: number, label = this.label): Allocation {
    this.#requireOpen();
    const allocation = this.#arena.alloc(sizeBytes, alignBytes, label);
    this.#owned.add(allocation);
    return allocation;
  }

  /** A scope inside of this one. */
  scope(label = this.label): ArenaScope {
    this.#requireOpen();
    const scope = new ArenaScope(this.#arena, label);
    this.#inner.add(scope);
    return scope;
  }

  /** Takes a region out of the scope: from now on its holder frees it. */
  keep(allocation: Allocation): Allocation {
    this.#owned.delete(allocation);
    return allocation;
  }

  /** Frees what was allocated here and not freed before, last first, and ends the scopes inside. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const scope of this.#inner) scope[Symbol.dispose]();
    for (const allocation of [...this.#owned].toReversed()) allocation[Symbol.dispose]();
    this.#owned.clear();
    this.#inner.clear();
  }

  #requireOpen(): void {
    if (this.#isClosed) this.#arena.refuseScope(this.label);
  }
}
