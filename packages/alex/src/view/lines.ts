// Texts of a kernel on its stages, with what ties them together: each line may say which instruction of the loop IR it
// was made from, by the instruction's number in order of appearance.

import type { Block, Kernel, LoopInst } from "@fidelity/core";

/** A line of a stage's text. */
export interface StageLine {
  readonly text: string;
  /** The number of the instruction of the loop IR that it belongs to. */
  readonly inst?: number;
}

/** Numbers of a kernel's instructions, those of blocks behind the one that has them. */
export function numberInstructions({ body }: Kernel): ReadonlyMap<LoopInst, number> {
  const numbers = new Map<LoopInst, number>();
  const visit = (block: Block): void => {
    for (const inst of block.insts) {
      numbers.set(inst, numbers.size);
      if (inst.op === "for") visit(inst.body);
      if (inst.op === "if") [inst.then, inst.else].forEach(visit);
    }
  };
  visit(body);
  return numbers;
}

/** What instructions became, as ranges of some positions; the innermost one that holds a position owns it. */
export class Ranges {
  readonly #ranges: { readonly inst: number; readonly from: number; readonly to: number }[] = [];

  add(inst: number, from: number, to: number): void {
    if (to > from) this.#ranges.push({ inst, from, to });
  }

  /** The owner of each position below `count`. */
  owners(count: number): (number | undefined)[] {
    const owners = new Array<number | undefined>(count).fill(undefined);
    // The largest first, so that what lies in it overwrites it.
    for (const { inst, from, to } of this.#ranges.toSorted((a, b) => b.to - b.from - (a.to - a.from))) {
      owners.fill(inst, from, Math.min(to, count));
    }
    return owners;
  }
}
