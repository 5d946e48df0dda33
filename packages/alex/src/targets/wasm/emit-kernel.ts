// One kernel of the loop IR as one WebAssembly function. Values that are used once, next to where they are defined,
// stay on the operand stack; the others live in typed locals, which are given back at the end of their block.
// Instructions keep their order: the generator chose it with registers in mind, and the engine does not reorder memory
// accesses. Vector constants are set once at the function's start, because engines rebuild them at every use.
// Left out: strength reduction and hoisting, which are passes over the loop IR.

import { formatLoopType } from "@fidelity/core";
import type { Block, Kernel, LoopInst, LoopType, LoopValue } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { FunctionBody, ValueType } from "./encoder.ts";
import { VALUE } from "./encoder.ts";
import { WasmTargetError, emitOperation, vectorShape, wasmType } from "./emit-operation.ts";
import type { OperandStack } from "./emit-operation.ts";
import { OP, SIMD } from "./opcodes.ts";
import { KernelUses } from "../uses.ts";
import type { PureInst } from "../uses.ts";

type ForInst = Extract<LoopInst, { readonly op: "for" }>;
type IfInst = Extract<LoopInst, { readonly op: "if" }>;

/** The parameters of a kernel's function: chunk, scratch, then the buffers' addresses. */
export function kernelParameters(kernel: Kernel): readonly ValueType[] {
  return kernel.body.args.map(() => VALUE.i32);
}

/** Hears which bytes of a function's code an instruction became, those of its operands and of its blocks included. */
export type CodeListener = (inst: LoopInst, from: number, to: number) => void;

/**
 * Emits `kernel` into `body`, whose parameters are `kernelParameters(kernel)`.
 * @throws WasmTargetError for types and operations that 128-bit SIMD does not have.
 */
export function emitKernel(kernel: Kernel, body: FunctionBody, listener?: CodeListener): void {
  new KernelEmitter(kernel, body, listener).emit();
}

class KernelEmitter implements OperandStack {
  readonly body: FunctionBody;
  readonly #kernel: Kernel;
  readonly #uses: KernelUses;
  /** Locals by value id. */
  readonly #locals: (number | undefined)[];
  /** Locals of ended blocks, by value type. */
  readonly #free = new Map<ValueType, number[]>();
  /** Locals taken in each open block, innermost last. */
  readonly #scopes: { readonly type: ValueType; readonly local: number }[][] = [[]];
  /** Locals that hold vectors of bytes from the function's start. */
  readonly #bytes = new Map<string, number>();
  /** Single-use values not yet emitted, in order of definition. */
  #pending = new Map<LoopValue, PureInst>();

  readonly #listener: CodeListener | undefined;

  constructor(kernel: Kernel, body: FunctionBody, listener: CodeListener | undefined) {
    this.#kernel = kernel;
    this.#listener = listener;
    this.#uses = new KernelUses(kernel);
    this.#locals = new Array<number | undefined>(kernel.valueCount);
    this.body = body;
  }

  emit(): void {
    this.#kernel.body.args.forEach((argument, index) => (this.#locals[argument.id] = index));
    this.#emitVectorConstants();
    this.#insts(this.#kernel.body);
    this.#flush();
  }

  /** Pushes a value: from its local, as a constant, or by emitting its pending definition here. */
  push(value: LoopValue): void {
    const local = this.#locals[value.id];
    if (local !== undefined) {
      this.body.get(local);
      return;
    }
    const constant = this.#uses.constant(value);
    if (constant !== undefined) {
      this.#constant(value.type, constant);
      return;
    }
    const inst = this.#pending.get(value);
    invariant(inst !== undefined, `value ${value.id} of kernel ${this.#kernel.name} is not available`);
    this.#pending.delete(value);
    this.#emit(inst);
  }

  /** Pushes an address and gives the constant offset to add in the instruction. */
  pushAddress(address: LoopValue, offset: number): number {
    const folded = this.#uses.foldAddress(address, offset);
    this.push(folded.base);
    return folded.offset;
  }

  /** A temporary of the current block. */
  temporary(type: ValueType): number {
    const local = this.#free.get(type)?.pop() ?? this.body.local(type);
    this.#scopes.at(-1)?.push({ type, local });
    return local;
  }

  pushBytes(bytes: readonly number[]): void {
    const known = this.#bytes.get(bytesKey(bytes));
    if (known === undefined) this.body.op(SIMD.const).immediates(...bytes.map((byte) => byte & 0xff));
    else this.body.get(known);
  }

  #scoped(emit: () => void): void {
    this.#scopes.push([]);
    emit();
    for (const { type, local } of this.#scopes.pop() ?? []) {
      const free = this.#free.get(type);
      if (free === undefined) this.#free.set(type, [local]);
      else free.push(local);
    }
  }

  #localOf(value: LoopValue): number {
    return (this.#locals[value.id] = this.temporary(wasmType(value.type)));
  }

  #constant(type: LoopType, value: number): void {
    if (type.lanes > 1) {
      this.body.op(SIMD.const).immediates(...vectorConstantBytes(type, value));
    } else if (type.kind === "f32") {
      this.body.f32(value);
    } else if (type.kind === "f64") {
      this.body.f64(value);
    } else {
      this.body.i32(value);
    }
  }

  #emitVectorConstants(): void {
    for (const value of this.#uses.vectorConstants) {
      const bytes = vectorConstantBytes(value.type, this.#uses.constant(value) ?? 0);
      if (bytes.some((byte) => byte !== 0)) this.#locals[value.id] = this.#bytesLocal(bytes);
    }
    for (const table of this.#uses.tables) {
      for (let at = 0; at < table.length; at += 16) {
        this.#bytesLocal(table.slice(at, at + 16));
        if (at > 0) this.#bytesLocal(Array.from({ length: 16 }, () => at));
      }
      this.#bytesLocal(Array.from({ length: 16 }, () => table.length - 1));
    }
  }

  /** The local that holds 16 bytes, set here if it is new. */
  #bytesLocal(bytes: ArrayLike<number>): number {
    const list = Array.from(bytes, (byte) => byte & 0xff);
    const key = bytesKey(list);
    let local = this.#bytes.get(key);
    if (local === undefined) {
      this.#bytes.set(key, (local = this.temporary(VALUE.v128)));
      this.body
        .op(SIMD.const)
        .immediates(...list)
        .set(local);
    }
    return local;
  }

  /** Sets the pending values to locals, so that what follows cannot pass them. */
  #flush(): void {
    // Backwards, so that a pending value takes its pending operands with it.
    for (const value of [...this.#pending.keys()].reverse()) {
      const inst = this.#pending.get(value);
      if (inst === undefined) continue;
      this.#pending.delete(value);
      this.#emit(inst);
      this.body.set(this.#localOf(value));
    }
  }

  #insts(block: Block): void {
    for (const inst of block.insts) {
      if (inst.op === "store") {
        this.#heard(inst, () => emitOperation(inst, this, () => this.#flush()));
      } else if (inst.op === "for") {
        this.#heard(inst, () => this.#for(inst));
      } else if (inst.op === "if") {
        this.#heard(inst, () => this.#if(inst));
      } else if ("result" in inst) {
        if (inst.op !== "const" && this.#uses.isUsed(inst.result)) this.#pure(inst);
      } else if (inst.op !== "prefetch") {
        throw new WasmTargetError("WebAssembly has no matrix registers", { got: inst.op });
      }
    }
  }

  #emit(inst: PureInst): void {
    this.#heard(inst, () => emitOperation(inst, this));
  }

  #heard(inst: LoopInst, emit: () => void): void {
    const from = this.body.code.length;
    emit();
    this.#listener?.(inst, from, this.body.code.length);
  }

  #pure(inst: PureInst): void {
    // Sums of products are made in their order: as operands of each other they would keep those of all in registers.
    if (this.#uses.isSingleUse(inst.result) && inst.op !== "dot4") {
      this.#pending.set(inst.result, inst);
      return;
    }
    this.#emit(inst);
    // Below the value on the stack: what was defined before keeps its place before what follows.
    this.#flush();
    this.body.set(this.#localOf(inst.result));
  }

  /** Emits a nested block and leaves what it yields in `targets`, all assigned at once. */
  #nested(block: Block, targets: readonly LoopValue[], after: () => void = () => {}): void {
    this.#scoped(() => {
      this.#insts(block);
      const moved = targets.map((_, index) => index).filter((index) => block.yields[index] !== block.args[index + 1]);
      for (const index of moved) this.push(block.yields[index]);
      this.#flush();
      for (const index of moved.toReversed()) this.body.set(this.#locals[targets[index].id] ?? -1);
      after();
    });
  }

  #for(inst: ForInst): void {
    const low = this.#uses.constant(inst.low);
    const high = this.#uses.constant(inst.high);
    inst.inits.forEach((init, index) => {
      this.push(init);
      const local = this.#localOf(inst.results[index]);
      // The carried argument and the result are one variable: the first is dead when the second begins to live.
      this.#locals[inst.body.args[index + 1].id] = local;
      this.body.set(local);
    });
    const counter = this.#localOf(inst.body.args[0]);
    this.push(inst.low);
    this.body.set(counter);
    if (high === undefined && this.#locals[inst.high.id] === undefined) {
      this.push(inst.high);
      this.body.set(this.#localOf(inst.high));
    }
    this.#flush();
    const guarded = low === undefined || high === undefined || low >= high;
    if (guarded) {
      this.body.get(counter);
      this.push(inst.high);
      this.body.op(OP.i32LtU).if();
    }
    this.body.loop();
    this.#nested(inst.body, inst.results, () => {
      this.body.get(counter).i32(inst.step).op(OP.i32Add).tee(counter);
      this.push(inst.high);
      this.body.op(OP.i32LtU).brIf(0);
    });
    this.body.end();
    if (guarded) this.body.end();
  }

  #if(inst: IfInst): void {
    for (const result of inst.results) this.#localOf(result);
    this.push(inst.condition);
    this.#flush();
    this.body.if();
    this.#nested(inst.then, inst.results);
    if (inst.else.insts.length > 0 || inst.results.length > 0) {
      this.body.else();
      this.#nested(inst.else, inst.results);
    }
    this.body.end();
  }
}

const bytesKey = (bytes: readonly number[]): string => bytes.map((byte) => byte & 0xff).join();

/** The 16 bytes of a vector constant, little-endian; true lanes of a mask are all ones. */
function vectorConstantBytes(type: LoopType, value: number): Uint8Array {
  const shape = vectorShape(type);
  const view = new DataView(new ArrayBuffer(16));
  const laneBytes = 16 / type.lanes;
  for (let at = 0; at < 16; at += laneBytes) {
    if (type.kind === "mask") for (let i = 0; i < laneBytes; i++) view.setUint8(at + i, value === 0 ? 0 : 0xff);
    else if (shape === "f32x4") view.setFloat32(at, value, true);
    else if (shape === "f64x2") view.setFloat64(at, value, true);
    else if (shape === "i32x4") view.setInt32(at, value, true);
    else if (shape === "i16x8") view.setInt16(at, value, true);
    else if (shape === "i8x16") view.setInt8(at, value);
    else invariant(false, `no constants of ${formatLoopType(type)}`);
  }
  return new Uint8Array(view.buffer);
}
