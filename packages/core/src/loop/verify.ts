// Checks that a kernel is well formed before a target prints it: every value is defined once and before its use, in a
// block that encloses the use; operand and result types fit each instruction; blocks yield what their loop or branch
// gives; memory accesses pair a register type with a cell that can hold it. And that a program's calls, buffers and
// schedule fit together. Runs between passes and before every target.
// Left out: whether computed addresses stay inside their buffers, which only a run can tell.

import { FidelityError } from "@fidelity/units";
import { operandsOf } from "./operands.ts";
import { INDEX, TILE, formatLoopType, loopType } from "./ir.ts";
import type { Block, Kernel, LoopInst, LoopKind, LoopType, LoopValue, MemoryKind, TileInst } from "./ir.ts";

/** A kernel or a program is not well formed: a fault of the generator or pass that made it. */
export class LoopVerifyError extends FidelityError {
  readonly kernel: string;
  readonly instruction: string;

  constructor(kernel: string, instruction: string, summary: string, expected?: string, got?: string) {
    super(`${kernel}: ${summary}`, { where: `${instruction} in ${kernel}`, expected, got });
    this.kernel = kernel;
    this.instruction = instruction;
  }
}

/** @throws LoopVerifyError at the first instruction that is not well formed. */
export function verifyKernel(kernel: Kernel): void {
  new KernelVerifier(kernel).verify();
}

const KIND_BITS: Readonly<Record<LoopKind, number>> = {
  index: 32,
  i8: 8,
  i16: 16,
  i32: 32,
  f32: 32,
  f64: 64,
  f80: 80,
  f128: 128,
  mask: 0,
};
const isFloat = (type: LoopType): boolean => type.kind === "f32" || type.kind === "f64";
const isWide = (type: LoopType): boolean => type.kind === "f80" || type.kind === "f128";
const isByteOrShort = (type: LoopType): boolean => type.kind === "i8" || type.kind === "i16";
const isInteger = (type: LoopType): boolean => type.kind === "i32" || type.kind === "index" || isByteOrShort(type);
/** Scalars of i8 and i16 are only moved and converted; arithmetic is on i32. */
const hasArithmetic = (type: LoopType): boolean => type.lanes > 1 || !isByteOrShort(type);

/** What there is of wide floats beside neg, select and conversions. */
const WIDE_OPS: readonly string[] = ["add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge"];

const NARROWED: Readonly<Partial<Record<LoopKind, LoopKind>>> = { i32: "i16", i16: "i8", f64: "f32" };
const WIDENED: Readonly<Partial<Record<LoopKind, LoopKind>>> = { i8: "i16", i16: "i32", f32: "f64" };

class KernelVerifier {
  readonly #kernel: Kernel;
  readonly #types: (LoopType | undefined)[];
  readonly #visible: boolean[];
  #inst = "arguments";

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#types = new Array<LoopType | undefined>(kernel.valueCount);
    this.#visible = new Array<boolean>(kernel.valueCount).fill(false);
  }

  verify(): void {
    const { body, bufferCount, name, scratchBytes } = this.#kernel;
    this.#check(name !== "", "a kernel has a name");
    this.#check(Number.isInteger(scratchBytes) && scratchBytes >= 0, "scratchBytes is a whole number");
    this.#check(body.args.length === bufferCount + 2, "the body takes chunk, scratch and the buffers");
    for (const argument of body.args) this.#checkType(argument, INDEX);
    this.#check(body.yields.length === 0, "a kernel yields nothing");
    this.#block(body, () => {});
  }

  #fail(summary: string, expected?: string, got?: string): never {
    throw new LoopVerifyError(this.#kernel.name, this.#inst, summary, expected, got);
  }

  #check(condition: boolean, rule: string): void {
    if (!condition) this.#fail(rule);
  }

  #checkType(value: LoopValue, expected: LoopType): void {
    if (value.type !== expected) {
      this.#fail(`value %${value.id} has the wrong type`, formatLoopType(expected), formatLoopType(value.type));
    }
  }

  #define(value: LoopValue): void {
    const { id, type } = value;
    if (!Number.isInteger(id) || id < 0 || id >= this.#kernel.valueCount) this.#fail(`value id ${id} is out of range`);
    if (this.#types[id] !== undefined) this.#fail(`value %${id} is defined twice`);
    if (!Number.isInteger(type.lanes) || type.lanes < 1 || loopType(type.kind, type.lanes) !== type) {
      this.#fail(`value %${id} has no interned type`);
    }
    this.#check((type.kind !== "index" && !isWide(type)) || type.lanes === 1, `${type.kind} is scalar`);
    this.#types[id] = type;
    this.#visible[id] = true;
  }

  #use(value: LoopValue): void {
    if (this.#types[value.id] === undefined) this.#fail(`value %${value.id} is used before it is defined`);
    if (!this.#visible[value.id]) this.#fail(`value %${value.id} is used outside the block that defines it`);
    if (this.#types[value.id] !== value.type) this.#fail(`value %${value.id} is used with another type`);
  }

  /** Verifies a block; `atEnd` runs while its values are visible. */
  #block(block: Block, atEnd: () => void): void {
    const defined: LoopValue[] = [...block.args];
    for (const argument of block.args) this.#define(argument);
    for (const inst of block.insts) {
      this.#inst = describe(inst);
      this.#instruction(inst);
      const results = "result" in inst ? [inst.result] : "results" in inst ? inst.results : [];
      for (const result of results) this.#define(result);
      defined.push(...results);
    }
    for (const value of block.yields) this.#use(value);
    atEnd();
    for (const value of defined) this.#visible[value.id] = false;
  }

  #yields(block: Block, results: readonly LoopValue[]): void {
    const owner = this.#inst;
    this.#block(block, () => {
      this.#inst = `the end of a block of ${owner}`;
      this.#check(block.yields.length === results.length, `yields ${block.yields.length} of ${results.length} values`);
      results.forEach((result, index) => this.#checkType(block.yields[index], result.type));
    });
  }

  #instruction(inst: LoopInst): void {
    if (inst.op === "for") return this.#for(inst);
    if (inst.op === "if") {
      this.#use(inst.condition);
      this.#checkType(inst.condition, loopType("mask"));
      this.#check(inst.then.args.length + inst.else.args.length === 0, "branches take no arguments");
      this.#yields(inst.then, inst.results);
      this.#inst = describe(inst);
      return this.#yields(inst.else, inst.results);
    }
    for (const operand of operandsOf(inst)) this.#use(operand);
    if (inst.op === "store") this.#memory(inst, inst.value.type);
    else if (inst.op === "load") this.#memory(inst, inst.result.type);
    else if (inst.op === "prefetch") this.#address(inst);
    else if ("result" in inst) this.#operation(inst);
    else this.#tile(inst);
  }

  #for(inst: Extract<LoopInst, { readonly op: "for" }>): void {
    const { low, high, step, inits, body, results } = inst;
    for (const value of [low, high, ...inits]) this.#use(value);
    this.#checkType(low, INDEX);
    this.#checkType(high, INDEX);
    this.#check(Number.isInteger(step) && step > 0, `the step ${step} of a loop is a positive whole number`);
    this.#check(body.args.length === inits.length + 1, "the body takes the counter and each carried value");
    this.#check(results.length === inits.length, "a loop gives each carried value");
    this.#checkType(body.args[0], INDEX);
    inits.forEach((init, index) => {
      this.#checkType(body.args[index + 1], init.type);
      this.#checkType(results[index], init.type);
    });
    this.#yields(body, results);
  }

  #memory(inst: Extract<LoopInst, { readonly op: "load" | "store" }>, type: LoopType): void {
    this.#address(inst);
    const { memory } = inst;
    this.#check(type.kind !== "mask" && !isWide(type), `${type.kind} is not in memory`);
    if (inst.op === "store" && inst.nontemporal === true) {
      this.#check(type.lanes > 1 && inst.memory === undefined, "stores past the caches are of whole vectors");
    }
    if (memory === undefined || (memory === "f16" && type.kind === "f32")) return;
    this.#check(type.kind !== "index" || memory === "u8" || memory === "u16", "an index is read from unsigned cells");
    const legal: readonly MemoryKind[] =
      type.kind === "i16" && type.lanes > 1 ? ["i8", "u8"] : ["i8", "u8", "i16", "u16"];
    const narrows = type.kind === "i32" || type.kind === "index" || (type.kind === "i16" && type.lanes > 1);
    if (!narrows || !legal.includes(memory)) this.#fail(`${formatLoopType(type)} has no cells of ${memory}`);
  }

  #address(inst: { readonly address: LoopValue; readonly offset: number }): void {
    this.#checkType(inst.address, INDEX);
    this.#check(Number.isInteger(inst.offset) && inst.offset >= 0, `the offset ${inst.offset} is a whole number`);
  }

  #tile(inst: TileInst): void {
    const isTile = (tile: number): boolean => Number.isInteger(tile) && tile >= 0 && tile < TILE.count;
    if (inst.op === "tile_multiply") {
      const { sums, left, right } = inst;
      const distinct = sums !== left && sums !== right && left !== right;
      return this.#check(distinct && [sums, left, right].every(isTile), "a product has three matrix registers");
    }
    this.#check(isTile(inst.tile), `there is no matrix register ${inst.tile}`);
    if (inst.op === "tile_zero") return;
    this.#address(inst);
    this.#check(Number.isInteger(inst.stride) && inst.stride >= TILE.rowBytes, "rows of a tile do not overlap");
  }

  #operation(inst: Exclude<Extract<LoopInst, { readonly result: LoopValue }>, { readonly op: "load" }>): void {
    const { type } = inst.result;
    switch (inst.op) {
      case "const":
        return this.#constant(type, inst.value);
      case "neg":
      case "abs":
      case "sqrt":
      case "floor":
      case "nearest":
      case "not":
        this.#checkType(inst.a, type);
        return this.#unary(inst.op, type);
      case "fma":
        for (const value of [inst.a, inst.b, inst.c]) this.#checkType(value, type);
        return this.#check(isFloat(type), "fma is of floats");
      case "select":
        this.#checkType(inst.a, type);
        this.#checkType(inst.b, type);
        return this.#check(
          inst.mask.type.kind === "mask" && (inst.mask.type.lanes === 1 || inst.mask.type.lanes === type.lanes),
          "select takes a mask of one lane or of as many as its values",
        );
      case "convert":
        return this.#convert(inst.a.type, type);
      case "bitcast":
        return this.#bitcast(inst.a.type, type);
      case "load_splat":
        this.#check(type.kind !== "mask" && type.lanes > 1, "load_splat gives a vector of numbers");
        return this.#address(inst);
      case "dot4":
        this.#check(type.kind === "i32" && type.lanes > 1, "dot4 gives a vector of i32");
        this.#checkType(inst.c, type);
        this.#checkType(inst.a, loopType("i8", type.lanes * 4));
        return this.#checkType(inst.b, loopType("i8", type.lanes * 4));
      case "dot2":
        this.#check(
          (type.kind === "i16" || type.kind === "i32") && type.lanes > 1,
          "dot2 gives a vector of i16 or i32",
        );
        this.#checkType(inst.a, loopType(type.kind === "i16" ? "i8" : "i16", type.lanes * 2));
        return this.#checkType(inst.b, inst.a.type);
      case "permute":
        this.#check(type.kind === "i16" && type.lanes > 1, "permute gives a vector of i16");
        this.#check(Number.isInteger(Math.log2(type.lanes)), "permute is of a power of two of lanes");
        this.#checkType(inst.a, type);
        return this.#checkType(inst.b, type);
      case "lookup":
        this.#checkType(inst.a, type);
        return this.#table(type, inst.table);
      case "splat":
      case "extract":
      case "insert":
      case "shuffle":
      case "narrow":
      case "widen":
        return this.#lanes(inst);
      default:
        return this.#binary(inst);
    }
  }

  #table(type: LoopType, table: readonly number[]): void {
    this.#check(type.kind === "i8" && type.lanes > 1, "lookup gives a vector of bytes");
    this.#check([16, 32, 64, 128, 256].includes(table.length), "a table has a power of two from 16 to 256 entries");
    const isByte = (entry: number): boolean => Number.isInteger(entry) && entry >= -128 && entry <= 255;
    this.#check(table.every(isByte), "the entries of a table are bytes");
  }

  #constant(type: LoopType, value: number): void {
    if (isFloat(type)) return;
    this.#check(!isWide(type), `constants of ${type.kind} are converted from f64`);
    const [low, high] =
      type.kind === "mask" ? [0, 1] : [-(2 ** (KIND_BITS[type.kind] - 1)), 2 ** KIND_BITS[type.kind] - 1];
    if (!Number.isInteger(value) || value < low || value > high) {
      this.#fail(
        `the constant does not fit ${formatLoopType(type)}`,
        `a whole number from ${low} to ${high}`,
        `${value}`,
      );
    }
  }

  #unary(op: "neg" | "abs" | "sqrt" | "floor" | "nearest" | "not", type: LoopType): void {
    if (op === "not") return this.#check(!isFloat(type) && hasArithmetic(type), "not is of masks and integers");
    if (isWide(type)) return this.#check(op === "neg", `${op} is not defined for ${type.kind}`);
    const integersToo = op === "neg" || op === "abs";
    const legal =
      isFloat(type) || (integersToo && type.kind !== "mask" && type.kind !== "index" && hasArithmetic(type));
    this.#check(legal, `${op} is not defined for ${formatLoopType(type)}`);
  }

  #binary(inst: Extract<LoopInst, { readonly a: LoopValue; readonly b: LoopValue; readonly result: LoopValue }>): void {
    const { type } = inst.a;
    const { op } = inst;
    const shift = op === "shl" || op === "shr_s" || op === "shr_u";
    this.#checkType(inst.b, shift ? loopType("i32") : type);
    const compares = op === "eq" || op === "ne" || op === "lt" || op === "le" || op === "gt" || op === "ge";
    this.#checkType(inst.result, compares ? loopType("mask", type.lanes) : type);
    const bits = op === "and" || op === "or" || op === "xor";
    if (isWide(type)) return this.#check(WIDE_OPS.includes(op), `${op} is not defined for ${type.kind}`);
    if (type.kind === "mask") return this.#check(bits, `${op} is not defined for masks`);
    this.#check(hasArithmetic(type), `${op} of ${formatLoopType(type)}: convert to i32 first`);
    if (bits || shift) return this.#check(isInteger(type), `${op} is of integers`);
    if (op === "add_sat") this.#check(type.kind === "i16" && type.lanes > 1, "add_sat is of vectors of i16");
    if (op === "average") this.#check(type.kind === "i8" && type.lanes > 1, "average is of vectors of i8");
    if (op === "scale") this.#check(type.kind === "f32" && type.lanes >= 4, "scale is of vectors of f32");
    if (op === "rem") this.#check(isInteger(type), "rem is of integers");
    if (op === "div" || op === "rem") this.#check(isFloat(type) || type.lanes === 1, "integers divide as scalars");
    if (op === "mul") this.#check(type.kind !== "i8", "bytes are multiplied by dot4 or as i16");
  }

  #convert(from: LoopType, to: LoopType): void {
    const scalarIntegers = isInteger(from) && isInteger(to) && from.lanes === 1;
    const signedInteger = (type: LoopType): boolean => type.kind === "i32" || (type.lanes === 1 && isByteOrShort(type));
    const legal =
      scalarIntegers ||
      (signedInteger(from) && isFloat(to)) ||
      (isFloat(from) && to.kind === "i32") ||
      (isFloat(from) && isFloat(to)) ||
      (from.kind === "f64" && isWide(to)) ||
      (isWide(from) && to.kind === "f64");
    if (!legal || from.lanes !== to.lanes) {
      this.#fail(`no conversion from ${formatLoopType(from)} to ${formatLoopType(to)}`);
    }
  }

  #bitcast(from: LoopType, to: LoopType): void {
    const plain = (type: LoopType): boolean => type.kind !== "mask" && type.kind !== "index" && !isWide(type);
    const same = KIND_BITS[from.kind] * from.lanes === KIND_BITS[to.kind] * to.lanes;
    if (!plain(from) || !plain(to) || !same) {
      this.#fail(`no bitcast from ${formatLoopType(from)} to ${formatLoopType(to)}`);
    }
  }

  #lanes(
    inst: Extract<LoopInst, { readonly op: "splat" | "extract" | "insert" | "shuffle" | "narrow" | "widen" }>,
  ): void {
    const { type } = inst.result;
    const lane = (number: number, count: number): void =>
      this.#check(Number.isInteger(number) && number >= 0 && number < count, `lane ${number} is below ${count}`);
    switch (inst.op) {
      case "splat":
        this.#check(type.lanes > 1, "splat gives a vector");
        return this.#checkType(inst.a, loopType(type.kind));
      case "extract":
        lane(inst.lane, inst.a.type.lanes);
        this.#check(inst.a.type.lanes > 1, "extract is from a vector");
        return this.#checkType(inst.result, loopType(inst.a.type.kind));
      case "insert":
        lane(inst.lane, type.lanes);
        this.#check(type.lanes > 1, "insert is into a vector");
        this.#checkType(inst.a, type);
        return this.#checkType(inst.b, loopType(type.kind));
      case "shuffle":
        this.#checkType(inst.a, type);
        this.#checkType(inst.b, type);
        this.#check(
          inst.lanes.length === type.lanes && type.lanes > 1 && type.kind !== "mask",
          "shuffle names each lane",
        );
        return inst.lanes.forEach((number) => lane(number, type.lanes * 2));
      case "narrow":
        this.#checkType(inst.b, inst.a.type);
        this.#check(inst.a.type.lanes > 1, "narrow is of vectors");
        return this.#changeWidth(inst.result, NARROWED[inst.a.type.kind], inst.a.type.lanes * 2);
      case "widen":
        this.#check(inst.a.type.lanes > 1 && inst.a.type.lanes % 2 === 0, "widen is of vectors");
        return this.#changeWidth(inst.result, WIDENED[inst.a.type.kind], inst.a.type.lanes / 2);
    }
  }

  #changeWidth(result: LoopValue, kind: LoopKind | undefined, lanes: number): void {
    if (kind === undefined) this.#fail("these lanes have no such width");
    this.#checkType(result, loopType(kind, lanes));
  }
}

/** An instruction's name with its result, as errors show it. */
function describe(inst: LoopInst): string {
  const results = "result" in inst ? [inst.result] : "results" in inst ? inst.results : [];
  const names = results.map((value) => `%${value.id}: ${formatLoopType(value.type)}`).join(", ");
  return names === "" ? inst.op : `${names} = ${inst.op}`;
}
