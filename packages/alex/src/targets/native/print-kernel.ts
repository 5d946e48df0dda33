// One kernel of the loop IR as one function in MLIR: structured control flow stays structured (scf), values keep their
// order, and what nothing uses is left out. The function takes the chunk, the address of scratch memory and a pointer
// to the buffers' addresses: (i64, i64, !llvm.ptr) -> (), the same for every kernel, so that the walk over a schedule
// (walk.ts) can call any of them through a table.
// Addresses are integers, as in the loop IR; each becomes a pointer next to the first access that uses it.

import type { Block, Kernel, LoopInst, LoopValue } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import { KernelUses } from "../uses.ts";
import type { CodeMachine, NativeMachine } from "./machine.ts";
import { printOperation, printPrefetch, printStore } from "./print-operation.ts";
import type { Printer } from "./print-operation.ts";
import { printTile, printTileBegin, printTileEnd, usesTiles } from "./print-tile.ts";
import { mlirType } from "./print-type.ts";

type ForInst = Extract<LoopInst, { readonly op: "for" }>;
type PrefetchInst = Extract<LoopInst, { readonly op: "prefetch" }>;
type IfInst = Extract<LoopInst, { readonly op: "if" }>;

/** Hears which lines of a kernel's text, from 0, an instruction became, those of its blocks included. */
export type LineListener = (inst: LoopInst, from: number, to: number) => void;

/** Lines of a function before those of its body. */
const HEAD_LINES = 2;

/** The text of a kernel's function, called `symbol`. */
export function printKernelFunction(
  kernel: Kernel,
  symbol: string,
  machine: NativeMachine,
  listener?: LineListener,
): string {
  // Cells lie at any address: on the machines here, an unaligned access costs nothing where it is aligned after all.
  const form: KernelForm = {
    machine,
    pointerType: "!llvm.ptr",
    prefetches: true,
    alignment: () => 1,
    ...(listener !== undefined && {
      listener: (inst, from, to) => listener(inst, HEAD_LINES + from, HEAD_LINES + to),
    }),
  };
  const lines = printKernelBody(kernel, form, "  ", {
    chunk: "%chunk",
    scratch: "%scratch",
    buffer(i, out) {
      const at = out.define(`llvm.getelementptr %buffers[${i}] : (!llvm.ptr) -> !llvm.ptr, i64`);
      return out.define(`llvm.load ${at} : !llvm.ptr -> i64`);
    },
  });
  return [
    `// ${printableName(kernel)}`,
    `llvm.func hidden @${symbol}(%chunk: i64, %scratch: i64, %buffers: !llvm.ptr) {`,
    ...lines,
    "  llvm.return",
    "}",
  ].join("\n");
}

/** What differs between the targets that print kernels as MLIR. */
export interface KernelForm extends Pick<Printer, "machine" | "pointerType"> {
  readonly prefetches: boolean;
  /** A number of bytes that an address is a multiple of. */
  alignment(address: LoopValue): number;
  readonly listener?: LineListener;
}

/** Names of a kernel's arguments, i64 values; `buffer` is asked for those that are used. */
export interface KernelArguments {
  readonly chunk: string;
  readonly scratch: string;
  buffer(index: number, out: Printer): string;
}

/** A kernel's name for comments. */
export function printableName({ name }: Kernel): string {
  return name.replaceAll(/[^\x20-\x7e]/g, "?");
}

/** The lines that do one chunk's work. */
export function printKernelBody(kernel: Kernel, form: KernelForm, indent: string, args: KernelArguments): string[] {
  return new KernelPrinter(kernel, form, indent).print(args);
}

class KernelPrinter implements Printer {
  readonly machine: CodeMachine;
  readonly pointerType: string;
  readonly #form: KernelForm;
  readonly #kernel: Kernel;
  readonly #uses: KernelUses;
  readonly #names: (string | undefined)[];
  readonly #lines: string[] = [];
  /** Pointers made from addresses in each open block, innermost last: a pointer is visible where its block is. */
  readonly #pointers: Map<LoopValue, string>[] = [new Map()];
  #indent: string;
  #nextName = 0;

  constructor(kernel: Kernel, form: KernelForm, indent: string) {
    this.#kernel = kernel;
    this.#form = form;
    this.machine = form.machine;
    this.pointerType = form.pointerType;
    this.#indent = indent;
    this.#uses = new KernelUses(kernel, form.prefetches);
    this.#names = new Array<string | undefined>(kernel.valueCount);
  }

  print(args: KernelArguments): string[] {
    const { body } = this.#kernel;
    const [chunk, scratch, ...buffers] = body.args;
    this.#names[chunk.id] = args.chunk;
    this.#names[scratch.id] = args.scratch;
    buffers.forEach((buffer, i) => {
      if (this.#uses.isUsed(buffer)) this.#names[buffer.id] = args.buffer(i, this);
    });
    const hasTiles = usesTiles(this.#kernel);
    if (hasTiles) printTileBegin(this);
    this.#insts(body);
    if (hasTiles) printTileEnd(this);
    return this.#lines;
  }

  define(text: string): string {
    const name = `%${this.#nextName++}`;
    this.line(`${name} = ${text}`);
    return name;
  }

  line(text: string): void {
    this.#lines.push(this.#indent + text);
  }

  name(value: LoopValue): string {
    const name = this.#names[value.id];
    invariant(name !== undefined, `value ${value.id} of kernel ${this.#kernel.name} is used before it is defined`);
    return name;
  }

  constantOf(value: LoopValue): number | undefined {
    return this.#uses.constant(value);
  }

  pointer(address: LoopValue, offset: number): string {
    const folded = this.#uses.foldAddress(address, offset);
    let pointer = this.#pointers.map((block) => block.get(folded.base)).find((known) => known !== undefined);
    if (pointer === undefined) {
      pointer = this.define(`llvm.inttoptr ${this.name(folded.base)} : i64 to ${this.pointerType}`);
      this.#pointers.at(-1)?.set(folded.base, pointer);
    }
    if (folded.offset === 0) return pointer;
    return this.define(
      `llvm.getelementptr ${pointer}[${folded.offset}] : (${this.pointerType}) -> ${this.pointerType}, i8`,
    );
  }

  alignment(address: LoopValue, offset: number): number {
    const folded = this.#uses.foldAddress(address, offset);
    const alignment = this.#form.alignment(folded.base);
    return folded.offset === 0 ? alignment : Math.min(alignment, folded.offset & -folded.offset);
  }

  #prefetch(inst: PrefetchInst): void {
    if (this.#form.prefetches) printPrefetch(inst, this);
  }

  #insts(block: Block): void {
    for (const [i, inst] of block.insts.entries()) {
      const from = this.#lines.length;
      if (inst.op === "store") printStore(inst, this);
      else if (inst.op === "prefetch") this.#prefetch(inst);
      else if (inst.op === "for") this.#for(inst);
      else if (inst.op === "if") this.#if(inst);
      else if (!("result" in inst)) printTile(inst, this);
      else if (this.#uses.isUsed(inst.result)) this.#names[inst.result.id] = printOperation(inst, this);
      if (inst.op === "permute" && block.insts[i + 1]?.op !== "permute") this.#keepTogether(block.insts, i);
      this.#form.listener?.(inst, from, this.#lines.length);
    }
  }

  /**
   * Keeps permutations in a row, of which `last` is the last: nothing uses one before all are made, which assembly
   * without instructions sees to. LLVM would move what uses them in between, and on Zen 4, whose additions then take
   * units from permutations that wait, look-ups of ternary weights would take a tenth longer.
   */
  #keepTogether(insts: readonly LoopInst[], last: number): void {
    let first = last;
    while (insts[first - 1]?.op === "permute") first--;
    const values = insts.slice(first, last + 1).flatMap((inst) => ("result" in inst ? [inst.result] : []));
    const kept = values.filter((value) => this.#uses.isUsed(value));
    if (kept.length < 2 || !this.machine.features.has("avx512bw")) return;
    const types = kept.map(({ type }) => mlirType(type)).join(", ");
    const constraints = [...kept.map(() => "=v"), ...kept.keys()].join(",");
    const struct = `!llvm.struct<(${types})>`;
    const all = this.define(`llvm.inline_asm "", "${constraints}" ${this.#list(kept)} : (${types}) -> ${struct}`);
    kept.forEach(({ id }, i) => (this.#names[id] = this.define(`llvm.extractvalue ${all}[${i}] : ${struct}`)));
  }

  #nested(block: Block): void {
    this.#pointers.push(new Map());
    this.#indent += "  ";
    this.#insts(block);
    const types = block.yields.map(({ type }) => mlirType(type)).join(", ");
    this.line(block.yields.length === 0 ? "scf.yield" : `scf.yield ${this.#list(block.yields)} : ${types}`);
    this.#indent = this.#indent.slice(2);
    this.#pointers.pop();
  }

  #list(values: readonly LoopValue[]): string {
    return values.map((value) => this.name(value)).join(", ");
  }

  /** Names the results of a loop or a branch; gives `%names = ` and ` -> (types)`, or nothing when there are none. */
  #results(results: readonly LoopValue[]): { readonly head: string; readonly types: string } {
    if (results.length === 0) return { head: "", types: "" };
    const names = results.map((result) => (this.#names[result.id] = `%${this.#nextName++}`));
    return { head: `${names.join(", ")} = `, types: ` -> (${results.map(({ type }) => mlirType(type)).join(", ")})` };
  }

  #for({ low, high, step, inits, body, results }: ForInst): void {
    const stepName = this.define(`arith.constant ${step} : i64`);
    const counter = (this.#names[body.args[0].id] = `%${this.#nextName++}`);
    const bounds = `${counter} = ${this.name(low)} to ${this.name(high)} step ${stepName}`;
    const carried = inits.map((init, i) => {
      const argument = (this.#names[body.args[i + 1].id] = `%${this.#nextName++}`);
      return `${argument} = ${this.name(init)}`;
    });
    const { head, types } = this.#results(results);
    const carries = inits.length === 0 ? "" : ` iter_args(${carried.join(", ")})${types}`;
    this.line(`${head}scf.for ${bounds}${carries} : i64 {`);
    this.#nested(body);
    this.line("}");
  }

  #if({ condition, then, else: otherwise, results }: IfInst): void {
    const { head, types } = this.#results(results);
    this.line(`${head}scf.if ${this.name(condition)}${types} {`);
    this.#nested(then);
    if (otherwise.insts.length > 0 || results.length > 0) {
      this.line("} else {");
      this.#nested(otherwise);
    }
    this.line("}");
  }
}
