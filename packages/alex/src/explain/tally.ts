// What a call of a kernel does, counted from its loops: arithmetic, and the bytes that pass between registers and each
// buffer. Straight runs of instructions are added up once; loops multiply them, and only what their bounds depend on
// is evaluated, chunk by chunk. So counts are exact where bounds follow from the chunk's number, and a kernel of a
// million iterations is counted in a millisecond. Bounds that are read from memory (the position in a cache) are taken
// from `assumedIndex`. Left out: what the caches make of the bytes; see account.ts.

import type { Block, Kernel, LoopInst, LoopType, LoopValue } from "@fidelity/core";
import { operandsOf, TILE } from "@fidelity/core";

/** Work of all chunks of a call. A multiply-add is two operations. */
export interface CallWork {
  /** Arithmetic on float32 and float64: sums, products, quotients, roots, minima and maxima. */
  readonly f32: number;
  readonly f64: number;
  /** Products of bytes, and the sums they go to. */
  readonly int8: number;
  /** Instructions of the loop IR, vectors counting once. */
  readonly instructions: number;
  /** Bytes read and written through each buffer of the kernel; those of scratch memory are not among them. */
  readonly loadedBytes: readonly number[];
  readonly storedBytes: readonly number[];
  /** False where a bound is not known before the kernel runs. */
  readonly isExact: boolean;
}

export interface TallyOptions {
  /** The value of integers that kernels read from memory and run loops by; 1 iteration where it is absent. */
  readonly assumedIndex?: number;
}

/** Chunks that are counted one by one; of more, as many are taken at even distances. */
const CHUNKS_MAX = 512;
/** Iterations of a loop with inner bounds that depend on it; likewise. */
const ITERATIONS_MAX = 512;

const FLOAT_ARITHMETIC = new Set([
  "add",
  "sub",
  "mul",
  "div",
  "min",
  "max",
  "scale",
  "sqrt",
  "floor",
  "nearest",
  "neg",
  "abs",
]);
const ELEMENT_BYTES = { index: 4, i8: 1, i16: 2, i32: 4, f32: 4, f64: 8, f80: 10, f128: 16, mask: 4 } as const;

/** Counts the chunks of a call of `kernel`. */
export function tallyCall(kernel: Kernel, chunks: number, options: TallyOptions = {}): CallWork {
  const tally = new Tally(kernel, options);
  const total = tally.chunks(chunks);
  const { bufferCount } = kernel;
  return {
    f32: total[SLOT.f32]!,
    f64: total[SLOT.f64]!,
    int8: total[SLOT.int8]!,
    instructions: total[SLOT.instructions]!,
    loadedBytes: Array.from(total.subarray(SLOT.buffers, SLOT.buffers + bufferCount)),
    storedBytes: Array.from(total.subarray(SLOT.buffers + bufferCount)),
    isExact: tally.isExact,
  };
}

/** Places in a vector of counts: the last ones are bytes loaded through each buffer, then bytes stored. */
const SLOT = { f32: 0, f64: 1, int8: 2, instructions: 3, buffers: 4 } as const;

type ForInst = Extract<LoopInst, { readonly op: "for" }>;
type IfInst = Extract<LoopInst, { readonly op: "if" }>;
type PureInst = Extract<LoopInst, { readonly result: LoopValue }>;

/** A block taken apart: counts of its own instructions, and what must be evaluated. */
interface Plan {
  readonly own: Float64Array;
  readonly steps: readonly (
    | { readonly kind: "value"; readonly inst: PureInst }
    | { readonly kind: "for"; readonly inst: ForInst; readonly body: Plan; readonly varies: boolean }
    | { readonly kind: "if"; readonly inst: IfInst; readonly then: Plan; readonly else: Plan }
  )[];
  readonly yields: readonly LoopValue[];
}

class Tally {
  isExact = true;
  readonly #kernel: Kernel;
  readonly #assumedIndex: number | undefined;
  readonly #slots: number;
  /** Values that bounds and conditions depend on. */
  readonly #relevant = new Set<number>();
  /** The buffer that an address points into, by value id. */
  readonly #bases = new Map<number, number>();
  readonly #values = new Map<number, number | undefined>();
  readonly #plan: Plan;

  constructor(kernel: Kernel, { assumedIndex }: TallyOptions) {
    this.#kernel = kernel;
    this.#assumedIndex = assumedIndex;
    this.#slots = SLOT.buffers + 2 * kernel.bufferCount;
    const users = new Map<number, LoopValue[]>();
    collectSources(kernel.body, users);
    const stack = boundsOf(kernel.body);
    for (let value = stack.pop(); value !== undefined; value = stack.pop()) {
      if (this.#relevant.has(value.id)) continue;
      this.#relevant.add(value.id);
      stack.push(...(users.get(value.id) ?? []));
    }
    kernel.body.args.forEach((argument, i) => {
      if (i >= 2) this.#bases.set(argument.id, i - 2);
    });
    this.#findBases(kernel.body);
    this.#plan = this.#planOf(kernel.body);
  }

  chunks(count: number): Float64Array {
    const [chunk] = this.#kernel.body.args;
    const total = new Float64Array(this.#slots);
    const varies = this.#relevant.has(chunk!.id);
    const samples = varies ? Math.min(count, CHUNKS_MAX) : 1;
    for (let i = 0; i < samples; i++) {
      this.#values.set(chunk!.id, Math.floor((i * count) / samples));
      addScaled(total, this.#run(this.#plan), count / samples);
    }
    if (samples < count && varies) this.isExact = false;
    return total;
  }

  #findBases(block: Block): void {
    for (const inst of block.insts) {
      if (inst.op === "for") {
        inst.inits.forEach((init, i) => {
          const base = this.#bases.get(init.id);
          if (base === undefined) return;
          this.#bases.set(inst.body.args[i + 1]!.id, base);
          this.#bases.set(inst.results[i]!.id, base);
        });
        this.#findBases(inst.body);
      } else if (inst.op === "if") {
        for (const inner of [inst.then, inst.else]) {
          this.#findBases(inner);
          inner.yields.forEach((value, i) => this.#copyBase(inst.results[i]!, value));
        }
      } else if ("result" in inst && inst.result.type.kind === "index" && !isLoad(inst)) {
        for (const operand of operandsOf(inst)) this.#copyBase(inst.result, operand);
      }
    }
  }

  #copyBase(to: LoopValue, from: LoopValue): void {
    const base = this.#bases.get(from.id);
    if (base !== undefined) this.#bases.set(to.id, base);
  }

  #planOf(block: Block): Plan {
    const own = new Float64Array(this.#slots);
    const steps: Plan["steps"][number][] = [];
    for (const inst of block.insts) {
      if (inst.op === "for") {
        const varies = inst.body.args.some(({ id }) => this.#relevant.has(id));
        steps.push({ kind: "for", inst, body: this.#planOf(inst.body), varies });
      } else if (inst.op === "if") {
        steps.push({ kind: "if", inst, then: this.#planOf(inst.then), else: this.#planOf(inst.else) });
      } else {
        this.#countOwn(inst, own);
        if ("result" in inst && this.#relevant.has(inst.result.id)) steps.push({ kind: "value", inst });
      }
    }
    return { own, steps, yields: block.yields };
  }

  #countOwn(inst: Exclude<LoopInst, ForInst | IfInst>, own: Float64Array): void {
    if (inst.op !== "const") own[SLOT.instructions]! += 1;
    const { bufferCount } = this.#kernel;
    if ("address" in inst && inst.op !== "prefetch") {
      const base = this.#bases.get(inst.address.id);
      const isStore = inst.op === "store" || inst.op === "tile_store";
      if (base !== undefined) own[SLOT.buffers + base + (isStore ? bufferCount : 0)]! += accessBytes(inst);
    } else if (inst.op === "dot4") {
      own[SLOT.int8]! += 8 * inst.result.type.lanes;
    } else if (inst.op === "dot2") {
      own[SLOT.int8]! += 4 * inst.result.type.lanes;
    } else if (inst.op === "permute") {
      // Each lane looks up the sum of three products of bytes: ternary_triples.ts of core.
      own[SLOT.int8]! += 6 * inst.result.type.lanes;
    } else if (inst.op === "tile_multiply") {
      own[SLOT.int8]! += 2 * TILE.rows * (TILE.rowBytes / 4) * TILE.rowBytes;
    } else if ("result" in inst) {
      const { kind, lanes } = inst.result.type;
      if (kind !== "f32" && kind !== "f64") return;
      const each = inst.op === "fma" ? 2 : FLOAT_ARITHMETIC.has(inst.op) ? 1 : 0;
      own[SLOT[kind]]! += each * lanes;
    }
  }

  #run(plan: Plan): Float64Array {
    const total = plan.own.slice();
    for (const step of plan.steps) {
      if (step.kind === "value") this.#values.set(step.inst.result.id, this.#evaluate(step.inst));
      else if (step.kind === "if") this.#runIf(step.inst, step.then, step.else, total);
      else this.#runFor(step.inst, step.body, step.varies, total);
    }
    return total;
  }

  #runIf({ condition, results }: IfInst, then: Plan, otherwise: Plan, total: Float64Array): void {
    const known = this.#values.get(condition.id);
    let taken = then;
    let counts: Float64Array;
    if (known !== undefined) {
      taken = known === 0 ? otherwise : then;
      counts = this.#run(taken);
    } else {
      // Nobody knows which: the one with more to do.
      this.isExact = false;
      const [a, b] = [this.#run(otherwise), this.#run(then)];
      const isElse = a[SLOT.instructions]! > b[SLOT.instructions]!;
      [taken, counts] = isElse ? [otherwise, a] : [then, b];
    }
    addScaled(total, counts, 1);
    results.forEach(({ id }, i) => this.#values.set(id, this.#values.get(taken.yields[i]!.id)));
  }

  #runFor({ low, high, step, inits, body, results }: ForInst, plan: Plan, varies: boolean, total: Float64Array): void {
    const from = this.#values.get(low.id) ?? 0;
    const to = this.#values.get(high.id);
    if (to === undefined) this.isExact = false;
    const trips = to === undefined ? 1 : Math.max(0, Math.ceil((to - from) / step));
    let carried = inits.map(({ id }) => this.#values.get(id));
    const samples = varies ? Math.min(trips, ITERATIONS_MAX) : Math.min(trips, 1);
    if (samples < trips && varies) this.isExact = false;
    for (let i = 0; i < samples; i++) {
      this.#values.set(body.args[0]!.id, from + Math.floor((i * trips) / samples) * step);
      carried.forEach((value, j) => this.#values.set(body.args[j + 1]!.id, value));
      addScaled(total, this.#run(plan), trips / samples);
      carried = plan.yields.map(({ id }) => this.#values.get(id));
    }
    results.forEach(({ id }, i) => this.#values.set(id, carried[i]));
  }

  #evaluate(inst: PureInst): number | undefined {
    if (inst.op === "const") return inst.value;
    if (isLoad(inst)) {
      this.isExact = false;
      return inst.result.type.lanes === 1 ? this.#assumedIndex : undefined;
    }
    const [a, b, c] = operandsOf(inst).map(({ id }) => this.#values.get(id));
    if (inst.op === "convert" || inst.op === "splat" || inst.op === "bitcast") return a;
    if (inst.op === "select") return a === undefined ? undefined : a === 0 ? c : b;
    if (a === undefined || b === undefined) {
      // The lesser of what is known and what is not is at most what is known.
      return inst.op === "min" ? (a ?? b) : undefined;
    }
    return BINARY[inst.op]?.(a, b);
  }
}

const BINARY: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => (b === 0 ? 0 : Math.trunc(a / b)),
  rem: (a, b) => (b === 0 ? 0 : a % b),
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr_s: (a, b) => a >> b,
  shr_u: (a, b) => a >>> b,
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  gt: (a, b) => Number(a > b),
  ge: (a, b) => Number(a >= b),
};

function isLoad(inst: LoopInst): boolean {
  return inst.op === "load" || inst.op === "load_splat";
}

function accessBytes(inst: Exclude<LoopInst, ForInst | IfInst>): number {
  if (inst.op === "tile_load" || inst.op === "tile_store") return TILE.rows * TILE.rowBytes;
  if (inst.op === "load_splat") return elementBytes(inst.result.type);
  if (inst.op !== "load" && inst.op !== "store") return 0;
  const { type } = inst.op === "load" ? inst.result : inst.value;
  const { memory } = inst;
  const cell = memory === undefined ? elementBytes(type) : memory === "i8" || memory === "u8" ? 1 : 2;
  return cell * type.lanes;
}

function elementBytes({ kind }: LoopType): number {
  return ELEMENT_BYTES[kind];
}

/** Values that loops and branches are bounded by, in a block and all below it. */
function boundsOf(block: Block): LoopValue[] {
  return block.insts.flatMap((inst) => {
    if (inst.op === "for") return [inst.low, inst.high, ...boundsOf(inst.body)];
    return inst.op === "if" ? [inst.condition, ...boundsOf(inst.then), ...boundsOf(inst.else)] : [];
  });
}

/** What each value is made from, through loops and branches. */
function collectSources(block: Block, sources: Map<number, LoopValue[]>): void {
  const add = (to: LoopValue, from: readonly LoopValue[]): void => {
    sources.set(to.id, [...(sources.get(to.id) ?? []), ...from]);
  };
  for (const inst of block.insts) {
    if (inst.op === "for") {
      inst.results.forEach((result, i) => add(result, [inst.inits[i]!, inst.body.yields[i]!]));
      inst.inits.forEach((init, i) => add(inst.body.args[i + 1]!, [init, inst.body.yields[i]!]));
      collectSources(inst.body, sources);
    } else if (inst.op === "if") {
      inst.results.forEach((result, i) => add(result, [inst.condition, inst.then.yields[i]!, inst.else.yields[i]!]));
      collectSources(inst.then, sources);
      collectSources(inst.else, sources);
    } else if ("result" in inst && !isLoad(inst)) {
      add(inst.result, operandsOf(inst));
    }
  }
}

function addScaled(to: Float64Array, from: Float64Array, scale: number): void {
  for (let i = 0; i < to.length; i++) to[i]! += from[i]! * scale;
}
