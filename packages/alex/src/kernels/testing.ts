// Support for this folder's tests.

import type { Block, LoopInst } from "@fidelity/core";

/** Calls `visit` for each instruction of a block and all inside it. */
export function visitBlocks(block: Block, visit: (inst: LoopInst) => void): void {
  for (const inst of block.insts) {
    visit(inst);
    if (inst.op === "for") visitBlocks(inst.body, visit);
    if (inst.op === "if") for (const branch of [inst.then, inst.else]) visitBlocks(branch, visit);
  }
}
