// Use counts of a kernel's values, seen as targets will emit them: constants are repeated at each use,
// constant additions to an address are folded into the instruction's offset field, and what nothing uses is left out.
// "Single use" is what lets a value stay on the operand stack instead of taking a local.

import { operandsOf } from "@fidelity/core";
import type { Block, Kernel, LoopInst, LoopValue } from "@fidelity/core";

/** An instruction that gives one value and has no effect besides. */
export type PureInst = Extract<LoopInst, { readonly result: LoopValue }>;

/** A base address with the constant part taken out. */
export interface FoldedAddress {
  readonly base: LoopValue;
  readonly offset: number;
}

/** memarg offsets stay below this, so that base + offset cannot pass a valid address by wrapping. */
const OFFSET_MAX = 2 ** 30;

/** Who defines and who uses the values of one kernel. */
export class KernelUses {
  readonly #definitions: (PureInst | undefined)[];
  readonly #counts: Uint32Array;
  readonly #homes: (Block | undefined)[];
  readonly #users: (Block | undefined)[];
  readonly #prefetches: boolean;
  /** Vector constants that are used, in order of first use. */
  readonly vectorConstants: LoopValue[] = [];
  /** Tables of lookups that are used, in that order, too. */
  readonly tables: (readonly number[])[] = [];

  /** `prefetches` says whether the target emits them; if not, what only they need is not used. */
  constructor(kernel: Kernel, prefetches = false) {
    this.#prefetches = prefetches;
    this.#definitions = new Array<PureInst | undefined>(kernel.valueCount);
    this.#homes = new Array<Block | undefined>(kernel.valueCount);
    this.#users = new Array<Block | undefined>(kernel.valueCount);
    this.#counts = new Uint32Array(kernel.valueCount);
    this.#define(kernel.body);
    this.#count(kernel.body);
  }

  /** The pure instruction that defines a value; undefined for arguments and results of loops and branches. */
  definition(value: LoopValue): PureInst | undefined {
    return this.#definitions[value.id];
  }

  isUsed(value: LoopValue): boolean {
    return this.#counts[value.id] > 0;
  }

  /** Whether a value is used once, in the block that defines it. */
  isSingleUse(value: LoopValue): boolean {
    return this.#counts[value.id] === 1 && this.#users[value.id] === this.#homes[value.id];
  }

  /** The number that a constant value holds, or undefined. */
  constant(value: LoopValue): number | undefined {
    const definition = this.#definitions[value.id];
    return definition?.op === "const" ? definition.value : undefined;
  }

  /** Takes constant additions out of an address. */
  foldAddress(address: LoopValue, offset: number): FoldedAddress {
    let base = address;
    let total = offset;
    for (;;) {
      const definition = this.#definitions[base.id];
      if (definition?.op !== "add") return { base, offset: total };
      const a = this.constant(definition.a);
      const b = this.constant(definition.b);
      const addend = b ?? a;
      if (addend === undefined || addend < 0 || total + addend >= OFFSET_MAX) return { base, offset: total };
      base = b === undefined ? definition.b : definition.a;
      total += addend;
    }
  }

  #define(block: Block): void {
    for (const inst of block.insts) {
      if (inst.op === "for") {
        this.#define(inst.body);
      } else if (inst.op === "if") {
        this.#define(inst.then);
        this.#define(inst.else);
      } else if ("result" in inst) {
        this.#definitions[inst.result.id] = inst;
        this.#homes[inst.result.id] = block;
      }
    }
  }

  #count(block: Block): void {
    for (const inst of block.insts) {
      if (inst.op === "store") {
        this.#use(this.foldAddress(inst.address, inst.offset).base, block);
        this.#use(inst.value, block);
      } else if (inst.op === "prefetch") {
        if (this.#prefetches) this.#use(this.foldAddress(inst.address, inst.offset).base, block);
      } else if (inst.op === "tile_load" || inst.op === "tile_store") {
        this.#use(this.foldAddress(inst.address, inst.offset).base, block);
      } else if (inst.op === "for") {
        for (const operand of operandsOf(inst)) this.#use(operand, block);
        this.#count(inst.body);
      } else if (inst.op === "if") {
        this.#use(inst.condition, block);
        this.#count(inst.then);
        this.#count(inst.else);
      }
    }
    for (const value of block.yields) this.#use(value, block);
  }

  /** Counts a use; the first use of a value counts the uses by its definition. */
  #use(value: LoopValue, user: Block): void {
    this.#users[value.id] = user;
    if (this.#counts[value.id]++ > 0) return;
    const definition = this.#definitions[value.id];
    const home = this.#homes[value.id];
    if (definition === undefined || home === undefined) return;
    if (definition.op === "const" && value.type.lanes > 1) this.vectorConstants.push(value);
    if (definition.op === "lookup") this.tables.push(definition.table);
    if (definition.op === "load" || definition.op === "load_splat") {
      this.#use(this.foldAddress(definition.address, definition.offset).base, home);
    } else {
      for (const operand of operandsOf(definition)) this.#use(operand, home);
    }
  }
}
