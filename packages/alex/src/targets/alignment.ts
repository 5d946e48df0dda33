// What addresses are multiples of: for targets on which an access of many bytes must be aligned to be one access. Only
// scalars that count or address are followed; a loop's carried values are first taken to be as aligned as their inits,
// and the body is walked again until what it yields agrees.

import type { Block, Kernel, LoopInst, LoopValue } from "@fidelity/core";

/** Beyond this nobody asks. */
export const ALIGNMENT_MAX_BYTES = 256;

/** The largest power of two that divides a number, up to the most that is asked for. */
export function alignmentOf(value: number): number {
  // Numbers beyond 2^31 keep their low bits in this conversion.
  const low = value & -value;
  return low <= 0 ? ALIGNMENT_MAX_BYTES : Math.min(low, ALIGNMENT_MAX_BYTES);
}

/**
 * The alignment of every value of a kernel, by its id: a power of two that divides it, in bytes where it is an address.
 * `buffers` are the alignments of the buffers' addresses; scratch memory is 64-byte aligned.
 */
export function alignmentsOf(kernel: Kernel, buffers: readonly number[]): Uint16Array {
  const known = new Uint16Array(kernel.valueCount).fill(1);
  const [, scratch, ...addresses] = kernel.body.args;
  known[scratch.id] = 64;
  addresses.forEach((address, i) => (known[address.id] = buffers[i]));
  walk(kernel.body, known);
  return known;
}

function walk(block: Block, known: Uint16Array): void {
  for (const inst of block.insts) {
    if (inst.op === "for") {
      walkLoop(inst, known);
    } else if (inst.op === "if") {
      walk(inst.then, known);
      walk(inst.else, known);
      inst.results.forEach((result, i) => {
        known[result.id] = Math.min(known[inst.then.yields[i].id], known[inst.else.yields[i].id]);
      });
    } else if ("result" in inst) {
      known[inst.result.id] = alignmentOfResult(inst, known);
    }
  }
}

function walkLoop(inst: Extract<LoopInst, { readonly op: "for" }>, known: Uint16Array): void {
  const [counter, ...carried] = inst.body.args;
  known[counter.id] = Math.min(known[inst.low.id], alignmentOf(inst.step));
  carried.forEach((argument, i) => (known[argument.id] = known[inst.inits[i].id]));
  for (let isStable = false; !isStable;) {
    walk(inst.body, known);
    isStable = true;
    carried.forEach((argument, i) => {
      const yielded = known[inst.body.yields[i].id];
      if (yielded >= known[argument.id]) return;
      known[argument.id] = yielded;
      isStable = false;
    });
  }
  inst.results.forEach((result, i) => (known[result.id] = known[carried[i].id]));
}

function alignmentOfResult(inst: Extract<LoopInst, { readonly result: LoopValue }>, known: Uint16Array): number {
  const { kind, lanes } = inst.result.type;
  if (lanes !== 1 || (kind !== "index" && kind !== "i32")) return 1;
  switch (inst.op) {
    case "const":
      return alignmentOf(inst.value);
    case "add":
    case "sub":
    case "min":
    case "max":
    case "rem":
    case "or":
    case "select":
      return Math.min(known[inst.a.id], known[inst.b.id]);
    case "and":
      return Math.max(known[inst.a.id], known[inst.b.id]);
    case "mul":
      return Math.min(known[inst.a.id] * known[inst.b.id], ALIGNMENT_MAX_BYTES);
    case "convert":
      return inst.a.type.kind === "index" || inst.a.type.kind === "i32" ? known[inst.a.id] : 1;
    default:
      return 1;
  }
}
