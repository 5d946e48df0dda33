// The instructions of single loop IR operations: operands are pushed, then the opcode chosen by type. What 128-bit SIMD
// lacks as one instruction is a short fixed sequence here (narrow stores, 4-byte widening loads, integer abs and min).
// Scalars of i8 and i16 live in an i32, sign-extended. Masks are 0 or 1 as scalars and all ones or zeros per lane as
// vectors, of the integer shape with as many lanes.

import { formatLoopType } from "@fidelity/core";
import type { LoopInst, LoopKind, LoopType, LoopValue, MemoryKind } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import type { FunctionBody, ValueType } from "./encoder.ts";
import { VALUE } from "./encoder.ts";
import { BINARY, LANES, OP, SIMD, UNARY } from "./opcodes.ts";
import type { PureInst } from "../uses.ts";

/** A kernel uses a type or an operation that 128-bit WebAssembly SIMD does not have. */
export class WasmTargetError extends FidelityError {}

/** What an operation needs from the function around it. */
export interface OperandStack {
  readonly body: FunctionBody;
  push(value: LoopValue): void;
  /** Pushes the base of an address and gives the constant offset from it. */
  pushAddress(address: LoopValue, offset: number): number;
  temporary(type: ValueType): number;
  /** Pushes 16 bytes. */
  pushBytes(bytes: readonly number[]): void;
}

type StoreInst = Extract<LoopInst, { readonly op: "store" }>;
type Inst<Op extends LoopInst["op"]> = Extract<LoopInst, { readonly op: Op }>;

const LANE_BITS: Readonly<Record<LoopKind, number>> = {
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

/** The SIMD shape of a vector type, such as f32x4; a mask has the integer shape with as many lanes. */
export function vectorShape(type: LoopType): string {
  const bits = type.kind === "mask" ? 128 / type.lanes : LANE_BITS[type.kind];
  const shape = type.kind === "mask" ? `i${bits}x${type.lanes}` : formatLoopType(type);
  if (bits * type.lanes === 128 && shape in LANES) return shape;
  throw new WasmTargetError(`the wasm target has no vectors of ${formatLoopType(type)}`, {
    expected: Object.keys(LANES).join(", "),
    hint: "generate the kernel for 16-byte vectors",
  });
}

/** The WebAssembly type that holds a loop type. */
export function wasmType(type: LoopType): ValueType {
  if (type.lanes > 1) return vectorShape(type) === "" ? VALUE.i32 : VALUE.v128;
  if (type.kind === "f80" || type.kind === "f128") {
    throw new WasmTargetError(`the wasm target has no ${type.kind}`, { hint: "use double-double" });
  }
  return type.kind === "f32" ? VALUE.f32 : type.kind === "f64" ? VALUE.f64 : VALUE.i32;
}

function unsupported(inst: LoopInst, type: LoopType): never {
  throw new WasmTargetError(`the wasm target has no ${inst.op} for ${formatLoopType(type)}`, {
    hint: "convert to a type that has it, or compute it from other operations",
  });
}

/** Emits one operation with its operands; `beforeStore` runs between a store's operands and the store itself. */
export function emitOperation(inst: PureInst | StoreInst, stack: OperandStack, beforeStore?: () => void): void {
  const { body } = stack;
  switch (inst.op) {
    case "const":
      return unsupported(inst, inst.result.type);
    case "neg":
    case "abs":
    case "sqrt":
    case "floor":
    case "nearest":
    case "not":
      return emitUnary(inst, stack);
    case "fma":
      return emitFma(inst, stack);
    case "select":
      return emitSelect(inst, stack);
    case "convert":
      stack.push(inst.a);
      for (const opcode of conversion(inst)) body.op(opcode);
      return;
    case "bitcast":
      return emitBitcast(inst, stack);
    case "splat":
      stack.push(inst.a);
      if (inst.a.type.kind === "mask") emitMaskFill(inst.result.type, body);
      body.op(LANES[vectorShape(inst.result.type)][0]);
      return;
    case "extract":
      return emitExtract(inst, stack);
    case "insert":
      return emitInsert(inst, stack);
    case "shuffle":
      stack.push(inst.a);
      stack.push(inst.b);
      body.op(SIMD.shuffle).immediates(...byteLanes(inst.lanes, 16 / inst.result.type.lanes));
      return;
    case "dot4":
    case "dot2":
      return emitDot(inst, stack);
    case "lookup":
      return emitLookup(inst, stack);
    case "permute":
      return emitPermute(inst, stack);
    case "narrow":
      return emitNarrow(inst, stack);
    case "widen":
      return emitWiden(inst, stack);
    case "load":
      return emitLoad(inst, stack);
    case "load_splat": {
      const offset = stack.pushAddress(inst.address, inst.offset);
      body.memory(LANES[vectorShape(inst.result.type)][3], Math.log2(16 / inst.result.type.lanes), offset);
      return;
    }
    case "store":
      return emitStore(inst, stack, beforeStore);
    default:
      return emitBinary(inst, stack);
  }
}

function emitInsert(inst: Extract<PureInst, { readonly op: "insert" }>, stack: OperandStack): void {
  stack.push(inst.a);
  stack.push(inst.b);
  if (inst.b.type.kind === "mask") emitMaskFill(inst.a.type, stack.body);
  stack.body.op(LANES[vectorShape(inst.a.type)][2]).immediates(inst.lane);
}

/** Sums of products: of four bytes with an addend, of two bytes, or of two i16. */
function emitDot(inst: Extract<PureInst, { readonly op: "dot4" | "dot2" }>, stack: OperandStack): void {
  const shape = vectorShape(inst.a.type);
  if (shape !== "i8x16" && (shape !== "i16x8" || inst.op === "dot4")) unsupported(inst, inst.a.type);
  stack.push(inst.a);
  stack.push(inst.b);
  if (inst.op === "dot4") stack.push(inst.c);
  if (shape === "i16x8") stack.body.op(SIMD.i32x4DotI16x8S);
  else stack.body.op(inst.op === "dot4" ? SIMD.i32x4RelaxedDot : SIMD.i16x8RelaxedDot);
}

/** True as all ones: 0 or 1 becomes 0 or -1, as wide as the lanes of `type`. */
function emitMaskFill(type: LoopType, body: FunctionBody): void {
  body.i32(-1).op(OP.i32Mul);
  if (vectorShape(type) === "i64x2") body.op(OP.i64ExtendI32S);
}

function emitUnary(inst: Inst<"neg" | "abs" | "sqrt" | "floor" | "nearest" | "not">, stack: OperandStack): void {
  const { body } = stack;
  const { type } = inst.result;
  const opcode = UNARY[formatLoopType(type)]?.[inst.op];
  if (opcode !== undefined) {
    stack.push(inst.a);
    body.op(opcode);
    return;
  }
  if (type.lanes > 1 || (type.kind !== "i32" && type.kind !== "index")) unsupported(inst, type);
  if (inst.op === "neg") {
    body.i32(0);
    stack.push(inst.a);
    body.op(OP.i32Sub);
  } else if (inst.op === "not") {
    stack.push(inst.a);
    body.i32(-1).op(OP.i32Xor);
  } else if (inst.op === "abs" && type.kind === "i32") {
    // (x ^ s) - s with s = x >> 31.
    const x = stack.temporary(VALUE.i32);
    stack.push(inst.a);
    body.tee(x).get(x).i32(31).op(OP.i32ShrS).op(OP.i32Xor).get(x).i32(31).op(OP.i32ShrS).op(OP.i32Sub);
  } else {
    unsupported(inst, type);
  }
}

function emitBinary(inst: Extract<PureInst, { readonly b: LoopValue }>, stack: OperandStack): void {
  const { body } = stack;
  const { type } = inst.a;
  const opcode = BINARY[formatLoopType(type)]?.[inst.op];
  if (opcode !== undefined) {
    stack.push(inst.a);
    stack.push(inst.b);
    body.op(opcode);
    return;
  }
  const minimum = inst.op === "min";
  if ((!minimum && inst.op !== "max") || type !== inst.result.type || type.lanes > 1) return unsupported(inst, type);
  if (type.kind !== "i32" && type.kind !== "index") return unsupported(inst, type);
  const less = type.kind === "i32" ? OP.i32LtS : OP.i32LtU;
  const greater = type.kind === "i32" ? OP.i32GtS : OP.i32GtU;
  const a = stack.temporary(VALUE.i32);
  const b = stack.temporary(VALUE.i32);
  stack.push(inst.a);
  body.tee(a);
  stack.push(inst.b);
  body
    .tee(b)
    .get(a)
    .get(b)
    .op(minimum ? less : greater)
    .op(OP.select);
}

function emitFma(inst: Inst<"fma">, stack: OperandStack): void {
  const { type } = inst.result;
  const name = formatLoopType(type);
  stack.push(inst.a);
  stack.push(inst.b);
  if (name === "f32" || name === "f64") {
    stack.body.op(BINARY[name].mul);
    stack.push(inst.c);
    stack.body.op(BINARY[name].add);
    return;
  }
  stack.push(inst.c);
  if (name === "f32x4") stack.body.op(SIMD.f32x4RelaxedMadd);
  else if (name === "f64x2") stack.body.op(SIMD.f64x2RelaxedMadd);
  else unsupported(inst, type);
}

function emitSelect(inst: Inst<"select">, stack: OperandStack): void {
  stack.push(inst.a);
  stack.push(inst.b);
  stack.push(inst.mask);
  const { type } = inst.result;
  if (inst.mask.type.lanes > 1) {
    // Relaxed, and exact all the same: the lanes of a mask are all ones or all zeros. One blend on x86-64.
    stack.body.op(LANES[vectorShape(type)][4]);
  } else if (type.lanes > 1) {
    stack.body.op(OP.selectTyped).immediates(1, wasmType(type));
  } else {
    stack.body.op(OP.select);
  }
}

/** The opcodes of a value conversion, applied one after another. */
function conversion(inst: Inst<"convert">): readonly number[] {
  const from = inst.a.type;
  const to = inst.result.type;
  const integers: readonly LoopKind[] = ["i8", "i16", "i32", "index"];
  if (from.lanes === 1) {
    if (integers.includes(from.kind)) {
      if (to.kind === "f32" && from.kind !== "index") return [OP.f32ConvertI32S];
      if (to.kind === "f64" && from.kind !== "index") return [OP.f64ConvertI32S];
      if (to.kind === "i8") return [OP.i32Extend8S];
      if (to.kind === "i16") return [OP.i32Extend16S];
      if (to.kind === "i32" || to.kind === "index") return [];
    }
    if (from.kind === "f32" && to.kind === "i32") return [OP.i32TruncSatF32S];
    if (from.kind === "f64" && to.kind === "i32") return [OP.i32TruncSatF64S];
    if (from.kind === "f32" && to.kind === "f64") return [OP.f64PromoteF32];
    if (from.kind === "f64" && to.kind === "f32") return [OP.f32DemoteF64];
  } else {
    const pair = `${vectorShape(from)} ${vectorShape(to)}`;
    if (pair === "i32x4 f32x4") return [SIMD.f32x4ConvertI32x4S];
    if (pair === "f32x4 i32x4") return [SIMD.i32x4TruncSatF32x4S];
  }
  return unsupported(inst, to);
}

function emitBitcast(inst: Inst<"bitcast">, stack: OperandStack): void {
  const from = inst.a.type;
  const to = inst.result.type;
  stack.push(inst.a);
  if (from.lanes > 1 && to.lanes > 1) {
    // All vectors are the same 128 bits.
    vectorShape(from);
    vectorShape(to);
  } else if (from.kind === "i32" && to.kind === "f32") {
    stack.body.op(OP.f32ReinterpretI32);
  } else if (from.kind === "f32" && to.kind === "i32") {
    stack.body.op(OP.i32ReinterpretF32);
  } else {
    unsupported(inst, to);
  }
}

function emitExtract(inst: Inst<"extract">, stack: OperandStack): void {
  stack.push(inst.a);
  const shape = vectorShape(inst.a.type);
  stack.body.op(LANES[shape][1]).immediates(inst.lane);
  if (inst.result.type.kind !== "mask") return;
  if (shape === "i64x2") stack.body.op(OP.i32WrapI64);
  stack.body.i32(1).op(OP.i32And);
}

function byteLanes(lanes: readonly number[], laneBytes: number): number[] {
  return lanes.flatMap((lane) => Array.from({ length: laneBytes }, (_, byte) => lane * laneBytes + byte));
}

/**
 * A table of 16 bytes is one instruction, relaxed as no index is above 15. Larger ones are in parts: an index outside a
 * part's 16 entries gives 0 there.
 */
function emitLookup({ a, table }: Inst<"lookup">, stack: OperandStack): void {
  const { body } = stack;
  if (vectorShape(a.type) !== "i8x16") throw new WasmTargetError("tables are looked up by vectors of 16 bytes");
  const pushRepeated = (byte: number): void => stack.pushBytes(Array.from({ length: 16 }, () => byte));
  const index = stack.temporary(VALUE.v128);
  stack.push(a);
  pushRepeated(table.length - 1);
  body.op(SIMD.and).set(index);
  for (let part = 0; part < table.length; part += 16) {
    stack.pushBytes(table.slice(part, part + 16));
    body.get(index);
    if (part > 0) {
      pushRepeated(part);
      body.op(BINARY.i8x16.sub);
    }
    body.op(table.length === 16 ? SIMD.i8x16RelaxedSwizzle : SIMD.swizzle);
    if (part > 0) body.op(SIMD.or);
  }
}

/** A swizzle of bytes: lane n is the bytes 2n and 2n + 1. */
function emitPermute({ a, b }: Inst<"permute">, stack: OperandStack): void {
  const { body } = stack;
  if (vectorShape(a.type) !== "i16x8") throw new WasmTargetError("lanes are permuted in vectors of 8 i16");
  const pushRepeated = (low: number, high: number): void =>
    stack.pushBytes(Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? low : high)));
  stack.push(a);
  stack.push(b);
  pushRepeated(7, 0);
  body.op(SIMD.and);
  pushRepeated(2, 2);
  body.op(BINARY.i16x8.mul);
  pushRepeated(0, 1);
  body.op(BINARY.i16x8.add).op(SIMD.swizzle);
}

function emitNarrow(inst: Inst<"narrow">, stack: OperandStack): void {
  const { body } = stack;
  const shape = vectorShape(inst.a.type);
  stack.push(inst.a);
  if (shape === "f64x2") {
    body.op(SIMD.f32x4DemoteF64x2Zero);
    stack.push(inst.b);
    body
      .op(SIMD.f32x4DemoteF64x2Zero)
      .op(SIMD.shuffle)
      .immediates(...byteLanes([0, 1, 4, 5], 4));
    return;
  }
  stack.push(inst.b);
  if (shape === "i32x4") body.op(SIMD.i16x8NarrowI32x4S);
  else if (shape === "i16x8") body.op(SIMD.i8x16NarrowI16x8S);
  else unsupported(inst, inst.a.type);
}

/** Opcodes of widening by shape: low signed, high signed, low unsigned, high unsigned. */
const WIDEN: Readonly<Record<string, readonly [number, number, number, number]>> = {
  i8x16: [SIMD.i16x8ExtendLowI8x16S, SIMD.i16x8ExtendHighI8x16S, SIMD.i16x8ExtendLowI8x16U, SIMD.i16x8ExtendHighI8x16U],
  i16x8: [SIMD.i32x4ExtendLowI16x8S, SIMD.i32x4ExtendHighI16x8S, SIMD.i32x4ExtendLowI16x8U, SIMD.i32x4ExtendHighI16x8U],
};

function emitWiden(inst: Inst<"widen">, stack: OperandStack): void {
  const { body } = stack;
  const shape = vectorShape(inst.a.type);
  stack.push(inst.a);
  if (shape === "f32x4") {
    if (inst.half === "high") {
      const a = stack.temporary(VALUE.v128);
      body
        .tee(a)
        .get(a)
        .op(SIMD.shuffle)
        .immediates(...byteLanes([2, 3, 2, 3], 4));
    }
    body.op(SIMD.f64x2PromoteLowF32x4);
    return;
  }
  const opcodes = WIDEN[shape] ?? unsupported(inst, inst.a.type);
  body.op(opcodes[(inst.half === "high" ? 1 : 0) + (inst.signed ? 0 : 2)]);
}

const isSigned = (memory: MemoryKind): boolean => memory === "i8" || memory === "i16";
const memoryBytes = (memory: MemoryKind): number => (memory === "i8" || memory === "u8" ? 1 : 2);

const SCALAR_LOADS: Readonly<Record<string, readonly [opcode: number, alignLog2: number]>> = {
  index: [OP.i32Load, 2],
  i32: [OP.i32Load, 2],
  i16: [OP.i32Load16S, 1],
  i8: [OP.i32Load8S, 0],
  f32: [OP.f32Load, 2],
  f64: [OP.f64Load, 3],
};

const NARROW_SCALAR_LOADS: Readonly<Record<Exclude<MemoryKind, "f16">, number>> = {
  i8: OP.i32Load8S,
  u8: OP.i32Load8U,
  i16: OP.i32Load16S,
  u16: OP.i32Load16U,
};

function emitLoad(inst: Inst<"load">, stack: OperandStack): void {
  const { body } = stack;
  const { type } = inst.result;
  const { memory } = inst;
  if (type.kind === "mask" || memory === "f16") return unsupported(inst, type);
  const offset = stack.pushAddress(inst.address, inst.offset);
  if (type.lanes === 1) {
    if (memory === undefined) body.memory(...SCALAR_LOADS[type.kind], offset);
    else if (type.kind === "i32" || type.kind === "index") {
      body.memory(NARROW_SCALAR_LOADS[memory], memoryBytes(memory) - 1, offset);
    } else unsupported(inst, type);
    return;
  }
  const shape = vectorShape(type);
  if (memory === undefined) {
    body.memory(SIMD.load, 4, offset);
  } else if (shape === "i16x8" && memoryBytes(memory) === 1) {
    body.memory(isSigned(memory) ? SIMD.load8x8S : SIMD.load8x8U, 3, offset);
  } else if (shape === "i32x4" && memoryBytes(memory) === 2) {
    body.memory(isSigned(memory) ? SIMD.load16x4S : SIMD.load16x4U, 3, offset);
  } else if (shape === "i32x4") {
    body.memory(SIMD.load32Zero, 2, offset);
    body.op(isSigned(memory) ? SIMD.i16x8ExtendLowI8x16S : SIMD.i16x8ExtendLowI8x16U);
    body.op(isSigned(memory) ? SIMD.i32x4ExtendLowI16x8S : SIMD.i32x4ExtendLowI16x8U);
  } else {
    unsupported(inst, type);
  }
}

const SCALAR_STORES: Readonly<Record<string, readonly [opcode: number, alignLog2: number]>> = {
  index: [OP.i32Store, 2],
  i32: [OP.i32Store, 2],
  i16: [OP.i32Store16, 1],
  i8: [OP.i32Store8, 0],
  f32: [OP.f32Store, 2],
  f64: [OP.f64Store, 3],
};

function emitStore(inst: StoreInst, stack: OperandStack, beforeStore: (() => void) | undefined): void {
  const { body } = stack;
  const { type } = inst.value;
  const { memory } = inst;
  if (type.kind === "mask" || memory === "f16") return unsupported(inst, type);
  const offset = stack.pushAddress(inst.address, inst.offset);
  stack.push(inst.value);
  beforeStore?.();
  if (type.lanes === 1) {
    if (memory === undefined) body.memory(...SCALAR_STORES[type.kind], offset);
    else if (type.kind !== "i32" && type.kind !== "index") unsupported(inst, type);
    else body.memory(memoryBytes(memory) === 1 ? OP.i32Store8 : OP.i32Store16, memoryBytes(memory) - 1, offset);
    return;
  }
  const shape = vectorShape(type);
  if (memory === undefined) {
    body.memory(SIMD.store, 4, offset);
    return;
  }
  // The low bytes of the lanes are brought together, then stored as one lane of 4 or 8 bytes.
  const laneBytes = 16 / type.lanes;
  const cellBytes = memoryBytes(memory);
  if ((shape !== "i32x4" && shape !== "i16x8") || cellBytes >= laneBytes) unsupported(inst, type);
  const low = Array.from({ length: 16 }, (_, byte) => {
    const cell = Math.floor(byte / cellBytes) % type.lanes;
    return cell * laneBytes + (byte % cellBytes);
  });
  const vector = stack.temporary(VALUE.v128);
  body
    .tee(vector)
    .get(vector)
    .op(SIMD.shuffle)
    .immediates(...low);
  const whole = cellBytes * type.lanes === 8;
  body.memory(whole ? SIMD.store64Lane : SIMD.store32Lane, whole ? 3 : 2, offset).immediates(0);
}
