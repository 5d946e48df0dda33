// The arena: an allocator over one shared `WebAssembly.Memory`, so that compiled wasm and native code, and every
// worker, see the same bytes at the same addresses. Fresh memory comes from a bump pointer; freed ranges are sorted by
// address, merged with their neighbours and given out again by best fit (Knuth, TAOCP 1, 2.5). One thread owns the
// arena and allocates; the others receive addresses. Beyond 4 GiB the memory has 64-bit addresses (memory64), which
// code compiled for 32 bits cannot import: native code reaches all of it.

import { FidelityError } from "@fidelity/units";
import { ArenaScope } from "./memory/scope.ts";
import { Region } from "./region.ts";
import type { BufferSource, Lifetime } from "./region.ts";

/** The page of a `WebAssembly.Memory`, also a multiple of the page size of every system that Node runs on. */
export const WASM_PAGE_BYTES = 65536;

/** Everything is allocated in multiples of a cache line. */
export const ARENA_GRANULE_BYTES = 64;

/** What 32-bit addresses reach. */
export const MEMORY32_BYTES_MAX = 2 ** 32;

/** The most that engines give a memory with 64-bit addresses (WebAssembly JavaScript interface, section 8). */
export const MEMORY64_BYTES_MAX = 2 ** 34;

const GROWTH_STEP_BYTES = 256 * WASM_PAGE_BYTES;

/** The arena cannot give that many bytes. `needBytes` is what was asked for, rounded to the granule. */
export class OutOfMemoryError extends FidelityError {
  readonly needBytes: number;
  readonly haveBytes: number;
  readonly limitBytes: number;

  constructor(needBytes: number, haveBytes: number, limitBytes: number, hint: string, cause?: unknown) {
    super("the arena is out of memory", {
      expected: `${needBytes} free bytes in one piece`,
      got: `${haveBytes} bytes that it could still give, of a limit of ${limitBytes}`,
      hint,
      cause,
    });
    this.needBytes = needBytes;
    this.haveBytes = haveBytes;
    this.limitBytes = limitBytes;
  }
}

/** The arena was misused: impossible sizes or alignment, a region freed twice or that it never gave. */
export class ArenaError extends FidelityError {}

/** An arena was disposed while allocations were alive. */
export class LeakError extends FidelityError {}

/** Limits of an arena, in bytes; both are rounded up to wasm pages. */
export interface ArenaOptions {
  /** Memory that is there from the start; default 1 MiB. */
  readonly initialBytes?: number;
  /** The most it may grow to, at most 16 GiB; address space for this much is reserved at once. Default 1 GiB. */
  readonly maximumBytes?: number;
}

/** A region that its holder owns: give it back with `arena.free` or by `using`. */
export class Allocation extends Region<"shared", "rw"> implements Disposable {
  /** What it is for, shown where it leaks. */
  readonly label: string;
  readonly #arena: SharedArena;

  constructor(
    arena: SharedArena,
    source: BufferSource,
    byteOffset: number,
    sizeBytes: number,
    label: string,
    lifetime: Lifetime,
  ) {
    super(source, "shared", "rw", byteOffset, sizeBytes, lifetime);
    this.#arena = arena;
    this.label = label;
  }

  /** A part of this memory that holds a file's bytes: to be read only. It lives as long as the allocation does. */
  asMapped(offsetBytes: number, sizeBytes: number): Region<"mapped", "r"> {
    const part = this.sub(offsetBytes, sizeBytes);
    return new Region(this.source, "mapped", "r", part.byteOffset, sizeBytes, this.lifetime);
  }

  /** A part that is a file's bytes, mapped so that what is written reaches the file. */
  asWritableMapped(offsetBytes: number, sizeBytes: number): Region<"mapped", "rw"> {
    const part = this.sub(offsetBytes, sizeBytes);
    return new Region(this.source, "mapped", "rw", part.byteOffset, sizeBytes, this.lifetime);
  }

  /** The same memory, known to lie on a far, coherent node. */
  asCoherent(): Region<"coherent", "rw"> {
    return new Region(this.source, "coherent", "rw", this.byteOffset, this.sizeBytes, this.lifetime);
  }

  /** Frees the region unless it was freed before. */
  [Symbol.dispose](): void {
    if (this.isAlive) this.#arena.free(this);
  }
}

interface Block {
  readonly byteOffset: number;
  readonly sizeBytes: number;
}

interface LiveBlock extends Block {
  readonly allocation: Allocation;
  readonly lifetime: Lifetime;
}

/** An allocator over a shared wasm memory. Address 0 is never given out, so that it can mean "nothing". */
export class SharedArena implements Disposable {
  readonly memory: WebAssembly.Memory;
  readonly maximumBytes: number;
  readonly #live = new Map<number, LiveBlock>();
  #free: Block[] = []; // sorted by address; no two of them touch
  #topBytes = ARENA_GRANULE_BYTES; // everything from here on was never given out, or came back
  #freshBytes = ARENA_GRANULE_BYTES; // everything from here on was never given out: zeros that nobody touched
  #liveBytes = 0;
  #isClosed = false;

  private constructor(memory: WebAssembly.Memory, maximumBytes: number) {
    this.memory = memory;
    this.maximumBytes = maximumBytes;
  }

  /** A new arena over a new memory. Throws `ArenaError` on impossible limits, `OutOfMemoryError` when refused. */
  static create(options: ArenaOptions = {}): SharedArena {
    const initialBytes = roundUp(options.initialBytes ?? 2 ** 20, WASM_PAGE_BYTES);
    const maximumBytes = roundUp(options.maximumBytes ?? Math.max(2 ** 30, initialBytes), WASM_PAGE_BYTES);
    const isPossible = initialBytes >= 0 && initialBytes <= maximumBytes && maximumBytes <= MEMORY64_BYTES_MAX;
    if (!isPossible || maximumBytes === 0) {
      throw new ArenaError("an arena cannot have these limits", {
        expected: `0 <= initialBytes <= maximumBytes <= ${MEMORY64_BYTES_MAX}`,
        got: `initialBytes ${options.initialBytes}, maximumBytes ${options.maximumBytes}`,
      });
    }
    try {
      return new SharedArena(reserve(initialBytes / WASM_PAGE_BYTES, maximumBytes / WASM_PAGE_BYTES), maximumBytes);
    } catch (cause) {
      const hint = "the system refused to reserve the memory: lower maximumBytes, or raise the limit (ulimit -v)";
      throw new OutOfMemoryError(maximumBytes, 0, maximumBytes, hint, cause);
    }
  }

  /** The number of allocations that were not freed yet. */
  get liveCount(): number {
    return this.#live.size;
  }

  /** The bytes of the allocations that were not freed yet, each rounded up to the granule. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /**
   * `sizeBytes` bytes at a multiple of `alignBytes` (a power of two, 64 at least). The bytes hold whatever their last
   * owner left. Throws `OutOfMemoryError` when neither a freed range nor growth can give them.
   */
  alloc(sizeBytes: number, alignBytes = ARENA_GRANULE_BYTES, label = "unnamed"): Allocation {
    this.#checkRequest(sizeBytes, alignBytes);
    const needBytes = Math.max(ARENA_GRANULE_BYTES, roundUp(sizeBytes, ARENA_GRANULE_BYTES));
    const stepBytes = Math.max(ARENA_GRANULE_BYTES, alignBytes);
    const byteOffset = this.#takeFreed(needBytes, stepBytes) ?? this.#takeFresh(needBytes, stepBytes);
    const lifetime: Lifetime = { isAlive: true };
    const allocation = new Allocation(this, this.memory, byteOffset, sizeBytes, label, lifetime);
    this.#live.set(byteOffset, { byteOffset, sizeBytes: needBytes, allocation, lifetime });
    this.#liveBytes += needBytes;
    return allocation;
  }

  /**
   * The same, and the bytes are zero. Pages that were never given out are so without being written, and take no memory
   * until somebody writes to them.
   */
  allocZeroed(sizeBytes: number, alignBytes?: number, label?: string): Allocation {
    const freshBytes = this.#freshBytes;
    const allocation = this.alloc(sizeBytes, alignBytes, label);
    allocation.u8().fill(0, 0, Math.max(0, freshBytes - allocation.byteOffset));
    return allocation;
  }

  /** Takes the memory back; views of the region and of its parts must not be used any more. */
  free(allocation: Allocation): void {
    const block = this.#live.get(allocation.byteOffset);
    if (block === undefined || block.allocation !== allocation) {
      throw new ArenaError("a region was freed that this arena does not hold", {
        where: `"${allocation.label}", ${allocation.sizeBytes} bytes at ${allocation.byteOffset}`,
        expected: "an allocation of this arena that was not freed before",
        hint: "free each allocation once, in the arena that gave it",
      });
    }
    this.#live.delete(block.byteOffset);
    block.lifetime.isAlive = false;
    this.#liveBytes -= block.sizeBytes;
    this.#putBack(block.byteOffset, block.sizeBytes);
  }

  /** A scope: what is allocated in it is freed with it. `using step = arena.scope("step")`. */
  scope(label = "scope"): ArenaScope {
    return new ArenaScope(this, label);
  }

  /** Refuses to allocate in a scope that has ended. */
  refuseScope(label: string): never {
    throw new ArenaError("a scope has ended and gives no more memory", {
      where: `scope "${label}"`,
      hint: "allocate while the scope is held, or in the scope around it",
    });
  }

  /** Closes the arena. Throws `LeakError` naming what was never freed. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    if (this.#live.size === 0) return;
    const first = [...this.#live.values()].slice(0, 5);
    const names = first.map(({ allocation: a }) => `"${a.label}" (${a.sizeBytes} bytes)`);
    const rest = first.length < this.#live.size ? ", ..." : "";
    throw new LeakError("an arena was disposed while regions of it were alive", {
      expected: "no live regions",
      got: `${this.#live.size} regions, ${this.#liveBytes} bytes: ${names.join(", ")}${rest}`,
      hint: "free each region, or hold it with `using`",
    });
  }

  #checkRequest(sizeBytes: number, alignBytes: number): void {
    if (this.#isClosed) throw new ArenaError("the arena was disposed and gives no more memory");
    if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && isPowerOfTwo(alignBytes)) return;
    throw new ArenaError("an arena cannot give such a region", {
      expected: "a whole size that is not negative, and an alignment that is a power of two up to 2^30",
      got: `size ${sizeBytes}, alignment ${alignBytes}`,
    });
  }

  // Best fit: the smallest freed range that holds the bytes at the alignment. What is left at both ends stays free.
  #takeFreed(needBytes: number, alignBytes: number): number | undefined {
    let best = -1;
    for (let i = 0; i < this.#free.length; i++) {
      const block = this.#free[i];
      const padBytes = roundUp(block.byteOffset, alignBytes) - block.byteOffset;
      if (padBytes + needBytes > block.sizeBytes) continue;
      if (best < 0 || block.sizeBytes < this.#free[best].sizeBytes) best = i;
    }
    if (best < 0) return undefined;
    const block = this.#free[best];
    const byteOffset = roundUp(block.byteOffset, alignBytes);
    const end = byteOffset + needBytes;
    const left = { byteOffset: block.byteOffset, sizeBytes: byteOffset - block.byteOffset };
    const right = { byteOffset: end, sizeBytes: block.byteOffset + block.sizeBytes - end };
    this.#free.splice(best, 1, ...[left, right].filter((rest) => rest.sizeBytes > 0));
    return byteOffset;
  }

  #takeFresh(needBytes: number, alignBytes: number): number {
    // A freed range never touches the top (it is merged into it), so the top is all there is to extend.
    const byteOffset = roundUp(this.#topBytes, alignBytes);
    const end = byteOffset + needBytes;
    if (end > this.maximumBytes) {
      const hint = "free what is not needed, or create the arena with a larger maximumBytes";
      throw new OutOfMemoryError(needBytes, this.#largestBytes(), this.maximumBytes, hint);
    }
    this.#growTo(end, needBytes);
    if (byteOffset > this.#topBytes) {
      this.#free.push({ byteOffset: this.#topBytes, sizeBytes: byteOffset - this.#topBytes });
    }
    this.#topBytes = end;
    this.#freshBytes = Math.max(this.#freshBytes, end);
    return byteOffset;
  }

  // Growth goes in large steps because each one makes a new buffer object and, in other threads, new views.
  #growTo(endBytes: number, needBytes: number): void {
    const haveBytes = this.memory.buffer.byteLength;
    if (endBytes <= haveBytes) return;
    const stepEnd = Math.min(this.maximumBytes, haveBytes + GROWTH_STEP_BYTES);
    const targetBytes = Math.max(roundUp(endBytes, WASM_PAGE_BYTES), stepEnd);
    try {
      grow(this.memory, (targetBytes - haveBytes) / WASM_PAGE_BYTES, this.maximumBytes);
    } catch (cause) {
      const hint = "the system refused to grow the memory: close other programs, or use a smaller model";
      throw new OutOfMemoryError(needBytes, haveBytes - this.#topBytes, this.maximumBytes, hint, cause);
    }
  }

  #largestBytes(): number {
    return this.#free.reduce((most, block) => Math.max(most, block.sizeBytes), this.maximumBytes - this.#topBytes);
  }

  #putBack(byteOffset: number, sizeBytes: number): void {
    let start = byteOffset;
    let end = byteOffset + sizeBytes;
    let at = this.#firstFreeFrom(byteOffset);
    const next = this.#free[at];
    let removeCount = 0;
    if (next !== undefined && next.byteOffset === end) {
      end = next.byteOffset + next.sizeBytes;
      removeCount++;
    }
    const previous = this.#free[at - 1];
    if (previous !== undefined && previous.byteOffset + previous.sizeBytes === start) {
      start = previous.byteOffset;
      removeCount++;
      at--;
    }
    if (end === this.#topBytes) {
      this.#free.splice(at, removeCount);
      this.#topBytes = start;
    } else {
      this.#free.splice(at, removeCount, { byteOffset: start, sizeBytes: end - start });
    }
  }

  // Index of the first freed range at or after an address, by binary search.
  #firstFreeFrom(byteOffset: number): number {
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#free[middle].byteOffset < byteOffset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

// A memory's address type decides what its page counts are: numbers, or BigInts. TypeScript knows the former only.

function reserve(initialPages: number, maximumPages: number): WebAssembly.Memory {
  if (maximumPages * WASM_PAGE_BYTES <= MEMORY32_BYTES_MAX) {
    return new WebAssembly.Memory({ initial: initialPages, maximum: maximumPages, shared: true });
  }
  const pages = { initial: BigInt(initialPages), maximum: BigInt(maximumPages) };
  const descriptor = { ...pages, address: "i64", shared: true } as unknown as WebAssembly.MemoryDescriptor;
  return new WebAssembly.Memory(descriptor);
}

function grow(memory: WebAssembly.Memory, pages: number, maximumBytes: number): void {
  memory.grow(maximumBytes <= MEMORY32_BYTES_MAX ? pages : (BigInt(pages) as unknown as number));
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 2 ** 30 && (value & (value - 1)) === 0;
}
