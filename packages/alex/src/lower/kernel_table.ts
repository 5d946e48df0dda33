// The kernels of a program, each once: units of the graph that come out as the same loops (layers of a model) share
// one. Kernels are plain data with ids in order of definition, so equal generators give equal data. They are told apart
// by a hash first, since comparing is for those that are equal, or nearly.

import type { Block, Kernel } from "@fidelity/core";

/** Numbers kernels in the order in which they come. */
export class KernelTable {
  readonly kernels: Kernel[] = [];
  readonly #byHash = new Map<number, number[]>();

  /** The number of a kernel; that of an earlier one when one with the same instructions exists. */
  add(kernel: Kernel): number {
    const hash = hashBlock(kernel.valueCount, kernel.body);
    const bucket = this.#byHash.get(hash) ?? [];
    for (const index of bucket) if (isSame(this.kernels[index]!, kernel)) return index;
    const index = this.kernels.push(kernel) - 1;
    bucket.push(index);
    this.#byHash.set(hash, bucket);
    return index;
  }
}

/** One step of FNV-1a over 32-bit words. */
const mix = (hash: number, word: number): number => Math.imul(hash ^ word, 0x01000193);

function hashBlock(seed: number, { insts, yields }: Block): number {
  let hash = mix(seed, insts.length);
  for (const inst of insts) {
    const fields: Readonly<Record<string, unknown>> = inst;
    for (const key in fields) hash = hashField(hash, fields[key]);
  }
  for (const value of yields) hash = mix(hash, value.id);
  return hash;
}

/** Fields of instructions: numbers, words, values, lists of either, and blocks. */
function hashField(hash: number, field: unknown): number {
  if (typeof field === "number") return mix(mix(hash, field), field * 0x10000);
  if (typeof field === "string") return mix(mix(hash, field.length), field.charCodeAt(0) * 256 + field.charCodeAt(1));
  if (typeof field !== "object" || field === null) return hash;
  if ("id" in field) return mix(hash, field.id as number);
  if (Array.isArray(field)) return field.reduce((sum: number, item: unknown) => hashField(sum, item), hash);
  return "insts" in field ? hashBlock(hash, field as Block) : hash;
}

/** Whether two kernels, or parts of them, are equal to the last bit; 0 and -0 are not. */
function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => isSame(item, b[i]));
  const [x, y] = [a, b] as [Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>];
  const keys = Object.keys(x);
  return keys.length === Object.keys(y).length && keys.every((key) => key in y && isSame(x[key], y[key]));
}
