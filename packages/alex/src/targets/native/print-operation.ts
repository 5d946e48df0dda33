// Single operations of the loop IR as text in MLIR's arith, math, vector and llvm dialects. Most are one operation;
// what has no equal there is a short sequence here: dot products of bytes by the machine's instruction, saturating
// narrowing, integer division that cannot trap, rounding where the processor has no instruction for it.
// The contract of each is that of core's loop/ir.ts; the tests compare with its evaluator.

import { formatLoopType, loopType } from "@fidelity/core";
import type { BinaryOp, LoopInst, LoopType, LoopValue, MemoryKind } from "@fidelity/core";
import type { PureInst } from "../uses.ts";
import { printDot2, printDot4 } from "./dot4.ts";
import { NativeTargetError } from "./errors.ts";
import { printLookup, printPermute } from "./print-lookup.ts";
import type { CodeMachine } from "./machine.ts";
import { LANE_BITS, constantAttribute, isFloat, isWide, mlirType, vectorOf } from "./print-type.ts";

/** The text around an operation: lines so far, and names of values. */
export interface Printer {
  readonly machine: CodeMachine;
  /** The type of pointers to what kernels work on. */
  readonly pointerType: string;
  /** Adds `%name = text` under a new name, which it gives. */
  define(text: string): string;
  /** Adds a line that defines nothing. */
  line(text: string): void;
  /** The name of a value, defined before. */
  name(value: LoopValue): string;
  /** The number that a constant value holds, or undefined. */
  constantOf(value: LoopValue): number | undefined;
  /** A pointer to an address plus an offset. */
  pointer(address: LoopValue, offset: number): string;
  /** A number of bytes that an address plus an offset is a multiple of. */
  alignment(address: LoopValue, offset: number): number;
}

type Inst<Op extends LoopInst["op"]> = Extract<LoopInst, { readonly op: Op }>;

/** Adds an operation, and gives the name of its result. */
export function printOperation(inst: PureInst, out: Printer): string {
  const { type } = inst.result;
  const t = mlirType(type);
  switch (inst.op) {
    case "const":
      return out.define(`arith.constant ${constantAttribute(type, inst.value)}`);
    case "neg":
    case "abs":
    case "sqrt":
    case "floor":
    case "nearest":
    case "not":
      return printUnary(inst, out);
    case "fma": {
      const operands = [inst.a, inst.b, inst.c].map((value) => out.name(value)).join(", ");
      return out.define(`llvm.intr.fmuladd(${operands}) : (${t}, ${t}, ${t}) -> ${t}`);
    }
    case "select": {
      const mask = inst.mask.type.lanes === 1 ? "" : `${mlirType(inst.mask.type)}, `;
      return out.define(`arith.select ${out.name(inst.mask)}, ${out.name(inst.a)}, ${out.name(inst.b)} : ${mask}${t}`);
    }
    case "convert":
      return printConvert(inst, out);
    case "bitcast": {
      const dialect = type.lanes === 1 ? "arith" : "vector";
      return out.define(`${dialect}.bitcast ${out.name(inst.a)} : ${mlirType(inst.a.type)} to ${t}`);
    }
    case "splat":
      return out.define(`vector.broadcast ${out.name(inst.a)} : ${mlirType(inst.a.type)} to ${t}`);
    case "extract":
      return out.define(`vector.extract ${out.name(inst.a)}[${inst.lane}] : ${t} from ${mlirType(inst.a.type)}`);
    case "insert": {
      const into = `${out.name(inst.a)}[${inst.lane}] : ${mlirType(inst.b.type)} into ${t}`;
      return out.define(`vector.insert ${out.name(inst.b)}, ${into}`);
    }
    case "shuffle":
      return shuffle(out, inst.a, inst.b, inst.lanes);
    case "dot4":
      return printDot4(inst, out);
    case "dot2":
      return printDot2(inst, out);
    case "lookup":
      return printLookup(inst, out);
    case "permute":
      return printPermute(inst, out);
    case "narrow":
      return printNarrow(inst, out);
    case "widen":
      return printWiden(inst, out);
    case "load":
      return printLoad(inst, out);
    case "load_splat": {
      const scalar = load(out, mlirType(loopType(type.kind)), inst);
      return out.define(`vector.broadcast ${scalar} : ${mlirType(loopType(type.kind))} to ${t}`);
    }
    default:
      return printBinary(inst, out);
  }
}

function shuffle(out: Printer, a: LoopValue, b: LoopValue, lanes: readonly number[]): string {
  const type = mlirType(a.type);
  return out.define(`vector.shuffle ${out.name(a)}, ${out.name(b)} [${lanes.join(", ")}] : ${type}, ${type}`);
}

/** A constant of a type. */
function constant(out: Printer, type: LoopType, value: number): string {
  return out.define(`arith.constant ${constantAttribute(type, value)}`);
}

const FLOAT_BINARY: Readonly<Partial<Record<BinaryOp, string>>> = {
  add: "addf",
  sub: "subf",
  mul: "mulf",
  div: "divf",
  min: "minimumf",
  max: "maximumf",
  eq: "cmpf oeq,",
  ne: "cmpf une,",
  lt: "cmpf olt,",
  le: "cmpf ole,",
  gt: "cmpf ogt,",
  ge: "cmpf oge,",
};

const INTEGER_BINARY: Readonly<Partial<Record<BinaryOp, readonly [signed: string, unsigned: string]>>> = {
  add: ["addi", "addi"],
  sub: ["subi", "subi"],
  mul: ["muli", "muli"],
  min: ["minsi", "minui"],
  max: ["maxsi", "maxui"],
  and: ["andi", "andi"],
  or: ["ori", "ori"],
  xor: ["xori", "xori"],
  eq: ["cmpi eq,", "cmpi eq,"],
  ne: ["cmpi ne,", "cmpi ne,"],
  lt: ["cmpi slt,", "cmpi ult,"],
  le: ["cmpi sle,", "cmpi ule,"],
  gt: ["cmpi sgt,", "cmpi ugt,"],
  ge: ["cmpi sge,", "cmpi uge,"],
};

type BinaryInst = Extract<PureInst, { readonly op: BinaryOp }>;

function printBinary(inst: BinaryInst, out: Printer): string {
  const { type } = inst.a;
  if (inst.op === "shl" || inst.op === "shr_s" || inst.op === "shr_u") return printShift(inst, inst.op, out);
  if (inst.op === "scale") return printScale(inst, out);
  if (inst.op === "add_sat") {
    const t = mlirType(type);
    return out.define(`llvm.intr.sadd.sat(${out.name(inst.a)}, ${out.name(inst.b)}) : (${t}, ${t}) -> ${t}`);
  }
  if (inst.op === "average") return printAverage(inst, out);
  if (!isFloat(type) && (inst.op === "div" || inst.op === "rem")) return printDivision(inst, inst.op, out);
  const unsigned = type.kind === "index" ? 1 : 0;
  const name = isFloat(type) ? FLOAT_BINARY[inst.op] : INTEGER_BINARY[inst.op]?.[unsigned];
  if (name === undefined) throw unsupported(inst.op, type);
  // The order of -0 and 0 is left open by the loop IR, and costs processors more than the maximum itself.
  const flags = isFloat(type) && (inst.op === "min" || inst.op === "max") ? " fastmath<nsz>" : "";
  return out.define(`arith.${name} ${out.name(inst.a)}, ${out.name(inst.b)}${flags} : ${mlirType(type)}`);
}

function unsupported(op: string, type: LoopType): NativeTargetError {
  return new NativeTargetError(`the native target has no ${op} for ${formatLoopType(type)}`);
}

/** In lanes of twice the bits: LLVM finds vpavgb and urhadd in it. */
function printAverage({ a, b, result: { type } }: BinaryInst, out: Printer): string {
  const [t, wide] = [mlirType(type), loopType("i16", type.lanes)];
  const [w, one] = [mlirType(wide), constant(out, wide, 1)];
  const [x, y] = [a, b].map((value) => out.define(`arith.extui ${out.name(value)} : ${t} to ${w}`));
  const sum = out.define(`arith.addi ${out.define(`arith.addi ${x}, ${y} : ${w}`)}, ${one} : ${w}`);
  return out.define(`arith.trunci ${out.define(`arith.shrui ${sum}, ${one} : ${w}`)} : ${w} to ${t}`);
}

/** vscalefps, in all lanes, and rounded as set. */
function printScale({ a, b, result: { type } }: BinaryInst, out: Printer): string {
  const bits = type.lanes * LANE_BITS[type.kind];
  if (!out.machine.features.has("avx512vl") || bits > 512) throw unsupported("scale", type);
  const [t, lanes] = [mlirType(type), loopType(bits === 512 ? "i16" : "i8")];
  const every = constant(out, lanes, -1);
  const [operands, types] = [
    [out.name(a), out.name(b), out.name(a), every],
    [t, t, t, mlirType(lanes)],
  ];
  if (bits === 512) {
    operands.push(constant(out, loopType("i32"), 4));
    types.push("i32");
  }
  const call = `llvm.call_intrinsic "llvm.x86.avx512.mask.scalef.ps.${bits}"(${operands.join(", ")})`;
  return out.define(`${call} : (${types.join(", ")}) -> ${t}`);
}

const SHIFTS = { shl: "shli", shr_s: "shrsi", shr_u: "shrui" } as const;

/** The count is taken modulo the lane's bits, as LLVM's would be undefined beyond. */
function printShift(inst: BinaryInst, op: keyof typeof SHIFTS, out: Printer): string {
  const { type } = inst.a;
  const bits = LANE_BITS[type.kind];
  const known = out.constantOf(inst.b);
  const scalar = loopType(type.kind);
  let count: string;
  if (known !== undefined) {
    count = constant(out, type, known & (bits - 1));
  } else {
    const mask = constant(out, loopType("i32"), bits - 1);
    count = out.define(`arith.andi ${out.name(inst.b)}, ${mask} : i32`);
    const cast = bits === 32 ? undefined : bits < 32 ? "trunci" : "extui";
    if (cast !== undefined) count = out.define(`arith.${cast} ${count} : i32 to ${mlirType(scalar)}`);
    if (type.lanes > 1) count = out.define(`vector.broadcast ${count} : ${mlirType(scalar)} to ${mlirType(type)}`);
  }
  return out.define(`arith.${SHIFTS[op]} ${out.name(inst.a)}, ${count} : ${mlirType(type)}`);
}

/**
 * Integer division of scalars. Processors trap, or disagree, on a divisor of 0 and on the smallest number by -1, and a
 * trap would end the process: the results are 0 (quotient and remainder by 0), and what wraps.
 */
function printDivision(inst: BinaryInst, op: "div" | "rem", out: Printer): string {
  const t = mlirType(inst.a.type);
  const signed = inst.a.type.kind !== "index";
  const [a, b] = [out.name(inst.a), out.name(inst.b)];
  const name = `${op}${signed ? "si" : "ui"}`;
  const known = out.constantOf(inst.b);
  if (known !== undefined && known > 0) return out.define(`arith.${name} ${a}, ${b} : ${t}`);
  const zero = constant(out, inst.a.type, 0);
  const one = constant(out, inst.a.type, 1);
  const byZero = out.define(`arith.cmpi eq, ${b}, ${zero} : ${t}`);
  let unsafe = byZero;
  if (signed) {
    const smallest = constant(out, inst.a.type, -(2 ** (LANE_BITS[inst.a.type.kind] - 1)));
    const minusOne = constant(out, inst.a.type, -1);
    const isSmallest = out.define(`arith.cmpi eq, ${a}, ${smallest} : ${t}`);
    const isMinusOne = out.define(`arith.cmpi eq, ${b}, ${minusOne} : ${t}`);
    const wraps = out.define(`arith.andi ${isSmallest}, ${isMinusOne} : i1`);
    unsafe = out.define(`arith.ori ${byZero}, ${wraps} : i1`);
  }
  const divisor = out.define(`arith.select ${unsafe}, ${one}, ${b} : ${t}`);
  const result = out.define(`arith.${name} ${a}, ${divisor} : ${t}`);
  return op === "rem" ? result : out.define(`arith.select ${byZero}, ${zero}, ${result} : ${t}`);
}

type UnaryInst = Inst<"neg" | "abs" | "sqrt" | "floor" | "nearest" | "not">;

function printUnary(inst: UnaryInst, out: Printer): string {
  const { type } = inst.result;
  const t = mlirType(type);
  const a = out.name(inst.a);
  const float = isFloat(type);
  switch (inst.op) {
    case "neg":
      if (float) return out.define(`arith.negf ${a} : ${t}`);
      return out.define(`arith.subi ${constant(out, type, 0)}, ${a} : ${t}`);
    case "not":
      return out.define(`arith.xori ${a}, ${constant(out, type, type.kind === "mask" ? 1 : -1)} : ${t}`);
    case "abs":
      return float ? printIntrinsic(out, "fabs", a, type) : out.define(`math.absi ${a} : ${t}`);
    case "sqrt":
      return printIntrinsic(out, "sqrt", a, type);
    case "floor":
    case "nearest":
      return printRounding(out, inst.op, a, type);
  }
}

/** A function of floats that LLVM knows. Of the math dialect's, GPU pipelines make calls of a library. */
function printIntrinsic(out: Printer, name: string, a: string, type: LoopType): string {
  const suffix = type.lanes === 1 ? type.kind : `v${type.lanes}${type.kind}`;
  return out.define(`llvm.call_intrinsic "llvm.${name}.${suffix}"(${a}) : (${mlirType(type)}) -> ${mlirType(type)}`);
}

/** SSE2 alone has no rounding, and LLVM would call the C library for it, lane by lane. */
function printRounding(out: Printer, op: "floor" | "nearest", a: string, type: LoopType): string {
  const t = mlirType(type);
  const { architecture, features } = out.machine;
  if (architecture !== "x86-64" || features.has("sse4.1")) {
    return printIntrinsic(out, op === "floor" ? "floor" : "roundeven", a, type);
  }
  // Adding 2^23 (2^52) to a smaller magnitude leaves no bits for a fraction, and rounds halves to even.
  const limit = constant(out, type, type.kind === "f32" ? 2 ** 23 : 2 ** 52);
  const magnitude = out.define(`math.absf ${a} : ${t}`);
  const raised = out.define(`arith.addf ${magnitude}, ${limit} : ${t}`);
  const whole = out.define(`arith.subf ${raised}, ${limit} : ${t}`);
  const isSmall = out.define(`arith.cmpf olt, ${magnitude}, ${limit} : ${t}`);
  const masks = vectorOf("i1", type.lanes);
  const select = (mask: string, x: string, y: string): string =>
    out.define(`arith.select ${mask}, ${x}, ${y} : ${type.lanes === 1 ? "" : `${masks}, `}${t}`);
  let rounded = whole;
  if (op === "floor") {
    const signed = out.define(`math.copysign ${whole}, ${a} : ${t}`);
    const isAbove = out.define(`arith.cmpf ogt, ${signed}, ${a} : ${t}`);
    const less = out.define(`arith.subf ${signed}, ${constant(out, type, 1)} : ${t}`);
    rounded = select(isAbove, less, signed);
  }
  // The sign is the operand's, but of a floor that went below zero, which has that sign already.
  const signed = out.define(`math.copysign ${rounded}, ${a} : ${t}`);
  return select(isSmall, signed, a);
}

function printConvert(inst: Inst<"convert">, out: Printer): string {
  const from = inst.a.type;
  const to = inst.result.type;
  const types = `${mlirType(from)} to ${mlirType(to)}`;
  const cast = (name: string): string => out.define(`arith.${name} ${out.name(inst.a)} : ${types}`);
  if (isWide(from) || isWide(to)) {
    // Not the arith dialect's: its folded constants would be written as decimal text, and read as float64.
    return out.define(`llvm.${isWide(to) ? "fpext" : "fptrunc"} ${out.name(inst.a)} : ${types}`);
  }
  if (isFloat(from) && isFloat(to)) return cast(LANE_BITS[from.kind] < LANE_BITS[to.kind] ? "extf" : "truncf");
  if (isFloat(to)) return cast("sitofp");
  if (isFloat(from)) {
    // x86-64 has no saturating conversion, and LLVM would make vectors' of one lane after the other.
    if (from.lanes > 1 && to.kind === "i32" && out.machine.architecture === "x86-64") {
      return printSaturating(out, out.name(inst.a), from, to);
    }
    const lanes = from.lanes === 1 ? "" : `v${from.lanes}`;
    const name = `llvm.fptosi.sat.${lanes}${to.kind}.${lanes}${from.kind}`;
    return out.define(`llvm.call_intrinsic "${name}"(${out.name(inst.a)}) : (${mlirType(from)}) -> ${mlirType(to)}`);
  }
  const [narrow, wide] = [LANE_BITS[from.kind], LANE_BITS[to.kind]];
  // Signed to `index`, too: a negative distance from an address stays one.
  return narrow === wide ? out.name(inst.a) : cast(narrow < wide ? "extsi" : "trunci");
}

/** Floats to 32-bit integers, cut to their range first; NaN gives 0. */
function printSaturating(out: Printer, a: string, from: LoopType, to: LoopType): string {
  const t = mlirType(from);
  const masks = vectorOf("i1", from.lanes);
  const compare = (how: string, x: string, y: string): string => out.define(`arith.cmpf ${how}, ${x}, ${y} : ${t}`);
  const select = (mask: string, x: string, y: string, type: string): string =>
    out.define(`arith.select ${mask}, ${x}, ${y} : ${masks}, ${type}`);
  const low = constant(out, from, -(2 ** 31));
  const high = constant(out, from, 2 ** 31);
  // What is too high, or not a number, counts as 0 until the results of the former are set.
  const small = select(compare("uge", a, high), constant(out, from, 0), a, t);
  const bounded = select(compare("olt", small, low), low, small, t);
  const whole = out.define(`arith.fptosi ${bounded} : ${t} to ${mlirType(to)}`);
  return select(compare("oge", a, high), constant(out, to, 2 ** 31 - 1), whole, mlirType(to));
}

/** The lanes of a, then of b, as one vector. */
function concatenate(out: Printer, a: LoopValue, b: LoopValue): string {
  return shuffle(
    out,
    a,
    b,
    Array.from({ length: 2 * a.type.lanes }, (_, lane) => lane),
  );
}

function printNarrow(inst: Inst<"narrow">, out: Printer): string {
  const wide = loopType(inst.a.type.kind, 2 * inst.a.type.lanes);
  const types = `${mlirType(wide)} to ${mlirType(inst.result.type)}`;
  const both = concatenate(out, inst.a, inst.b);
  if (isFloat(wide)) return out.define(`arith.truncf ${both} : ${types}`);
  const limit = 2 ** (LANE_BITS[inst.result.type.kind] - 1);
  const high = constant(out, wide, limit - 1);
  const low = constant(out, wide, -limit);
  const above = out.define(`arith.minsi ${both}, ${high} : ${mlirType(wide)}`);
  const within = out.define(`arith.maxsi ${above}, ${low} : ${mlirType(wide)}`);
  return out.define(`arith.trunci ${within} : ${types}`);
}

function printWiden(inst: Inst<"widen">, out: Printer): string {
  const { type } = inst.result;
  const first = inst.half === "low" ? 0 : type.lanes;
  const half = shuffle(
    out,
    inst.a,
    inst.a,
    Array.from({ length: type.lanes }, (_, lane) => first + lane),
  );
  const narrow = loopType(inst.a.type.kind, type.lanes);
  // A shuffle gives a vector, of one lane, too.
  const from = `vector<${type.lanes}x${mlirType(loopType(narrow.kind))}>`;
  const to = `vector<${type.lanes}x${mlirType(loopType(type.kind))}>`;
  const wide = out.define(
    `arith.${isFloat(type) ? "extf" : inst.signed ? "extsi" : "extui"} ${half} : ${from} to ${to}`,
  );
  return type.lanes > 1 ? wide : out.define(`vector.extract ${wide}[0] : ${mlirType(type)} from ${to}`);
}

/** A place in memory, as instructions name it. */
interface Place {
  readonly address: LoopValue;
  readonly offset: number;
}

function load(out: Printer, type: string, { address, offset }: Place): string {
  const alignment = `{alignment = ${out.alignment(address, offset)} : i64}`;
  return out.define(`llvm.load ${out.pointer(address, offset)} ${alignment} : ${out.pointerType} -> ${type}`);
}

const isSigned = (memory: MemoryKind): boolean => memory === "i8" || memory === "i16";
const memoryElement = (memory: MemoryKind): string =>
  memory === "f16" ? "f16" : memory === "i8" || memory === "u8" ? "i8" : "i16";

function printLoad(inst: Inst<"load">, out: Printer): string {
  const { type } = inst.result;
  // An index is 32 bits in memory, as tensors have no 64-bit integers.
  const cell = inst.memory === undefined ? (type.kind === "index" ? "i32" : undefined) : memoryElement(inst.memory);
  if (cell === undefined) return load(out, mlirType(type), inst);
  const narrow = vectorOf(cell, type.lanes);
  const value = load(out, narrow, inst);
  if (narrow === mlirType(type)) return value;
  const extend = cell === "f16" ? "extf" : inst.memory !== undefined && isSigned(inst.memory) ? "extsi" : "extui";
  return out.define(`arith.${extend} ${value} : ${narrow} to ${mlirType(type)}`);
}

/** Adds a store. */
export function printStore(inst: Inst<"store">, out: Printer): void {
  const { type } = inst.value;
  const pointer = out.pointer(inst.address, inst.offset);
  const cell = inst.memory === undefined ? (type.kind === "index" ? "i32" : undefined) : memoryElement(inst.memory);
  const narrow = cell === undefined ? mlirType(type) : vectorOf(cell, type.lanes);
  let value = out.name(inst.value);
  const truncate = cell === "f16" ? "truncf" : "trunci";
  if (narrow !== mlirType(type)) value = out.define(`arith.${truncate} ${value} : ${mlirType(type)} to ${narrow}`);
  const vectorBytes = (LANE_BITS[type.kind] / 8) * type.lanes;
  const alignment = inst.nontemporal === true ? vectorBytes : out.alignment(inst.address, inst.offset);
  const attributes = `{alignment = ${alignment} : i64${inst.nontemporal === true ? ", nontemporal" : ""}}`;
  out.line(`llvm.store ${value}, ${pointer} ${attributes} : ${narrow}, ${out.pointerType}`);
}

/** Adds a request for a cache line: LLVM's locality is 3 for all caches, 2 for the second and those behind it. */
export function printPrefetch(inst: Inst<"prefetch">, out: Printer): void {
  const pointer = out.pointer(inst.address, inst.offset);
  const attributes = `{rw = 0 : i32, hint = ${inst.cache === 1 ? 3 : 2} : i32, cache = 1 : i32}`;
  out.line(`"llvm.intr.prefetch"(${pointer}) ${attributes} : (!llvm.ptr) -> ()`);
}
