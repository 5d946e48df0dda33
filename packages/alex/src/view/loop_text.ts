// Kernels of the loop IR for people: one line an instruction, constants written where they are used, operators where
// there are such. core's `printKernel` is the form for tools.

import type { Block, Kernel, LoopInst, LoopValue } from "@fidelity/core";
import { formatLoopType, operandsOf } from "@fidelity/core";
import type { StageLine } from "./lines.ts";
import { numberInstructions } from "./lines.ts";

const OPERATORS: Readonly<Record<string, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  and: "&",
  or: "|",
  xor: "^",
  shl: "<<",
  shr_s: ">>",
  shr_u: ">>>",
  eq: "==",
  ne: "!=",
  lt: "<",
  le: "<=",
  gt: ">",
  ge: ">=",
};

/** The lines of a kernel. */
export function loopLines(kernel: Kernel): StageLine[] {
  return new LoopPrinter(kernel).print();
}

class LoopPrinter {
  readonly #kernel: Kernel;
  readonly #names = new Map<LoopValue, string>();
  readonly #numbers: ReadonlyMap<LoopInst, number>;
  readonly #lines: StageLine[] = [];
  #indent = "";

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#numbers = numberInstructions(kernel);
    const [chunk, scratch, ...buffers] = kernel.body.args;
    this.#names.set(chunk!, "chunk");
    this.#names.set(scratch!, "scratch");
    buffers.forEach((buffer, i) => this.#names.set(buffer, `buffer${i}`));
  }

  print(): StageLine[] {
    const { body, name } = this.#kernel;
    this.#line(`kernel ${name}(${body.args.map((arg) => this.#name(arg)).join(", ")}) {`);
    this.#nested(body);
    this.#line("}");
    return this.#lines;
  }

  #line(text: string, inst?: LoopInst): void {
    const number = inst === undefined ? undefined : this.#numbers.get(inst);
    this.#lines.push({ text: this.#indent + text, ...(number !== undefined && { inst: number }) });
  }

  #name(value: LoopValue): string {
    return this.#names.get(value) ?? `v${value.id}`;
  }

  #list(values: readonly LoopValue[]): string {
    return values.map((value) => this.#name(value)).join(", ");
  }

  #nested(block: Block, owner?: LoopInst): void {
    this.#indent += "  ";
    for (const inst of block.insts) this.#inst(inst);
    if (block.yields.length > 0) this.#line(`yield ${this.#list(block.yields)}`, owner);
    this.#indent = this.#indent.slice(2);
  }

  #inst(inst: LoopInst): void {
    if (inst.op === "const") {
      const { type } = inst.result;
      const text = Object.is(inst.value, -0) ? "-0" : String(inst.value);
      this.#names.set(inst.result, type.lanes === 1 ? text : `<${text}>`);
    } else if (inst.op === "for") {
      const [counter, ...carried] = inst.body.args;
      const carries = carried.map((arg, i) => `${this.#name(arg)} = ${this.#name(inst.inits[i]!)}`);
      const range = `${this.#name(inst.low)} to ${this.#name(inst.high)} step ${inst.step}`;
      const head = `for ${this.#name(counter!)} = ${range}${carries.length > 0 ? ` with ${carries.join(", ")}` : ""} {`;
      this.#line(this.#bound(inst.results) + head, inst);
      this.#nested(inst.body, inst);
      this.#line("}", inst);
    } else if (inst.op === "if") {
      this.#line(`${this.#bound(inst.results)}if ${this.#name(inst.condition)} {`, inst);
      this.#nested(inst.then, inst);
      if (inst.else.insts.length > 0 || inst.else.yields.length > 0) {
        this.#line("} else {", inst);
        this.#nested(inst.else, inst);
      }
      this.#line("}", inst);
    } else if ("result" in inst) {
      const { result } = inst;
      this.#line(`${this.#name(result)}: ${formatLoopType(result.type)} = ${this.#value(inst)}`, inst);
    } else {
      this.#line(this.#effect(inst), inst);
    }
  }

  #bound(results: readonly LoopValue[]): string {
    return results.length === 0 ? "" : `${this.#list(results)} = `;
  }

  #value(inst: Extract<LoopInst, { readonly result: LoopValue }>): string {
    if (inst.op === "load")
      return `load ${this.#address(inst)}${inst.memory === undefined ? "" : ` as ${inst.memory}`}`;
    if (inst.op === "load_splat") return `load ${this.#address(inst)} in all lanes`;
    const operands = operandsOf(inst).map((operand) => this.#name(operand));
    const operator = OPERATORS[inst.op];
    if (operator !== undefined) return operands.join(` ${operator} `);
    const text = `${inst.op} ${operands.join(", ")}`;
    if (inst.op === "extract" || inst.op === "insert") return `${text} lane ${inst.lane}`;
    if (inst.op === "shuffle") return `${text} lanes ${inst.lanes.join(" ")}`;
    if (inst.op === "lookup") return `${text} in ${inst.table.length} bytes`;
    if (inst.op === "widen") return `${text} ${inst.half}${inst.signed ? "" : " unsigned"}`;
    return text;
  }

  #effect(inst: Exclude<LoopInst, { readonly result: LoopValue } | { readonly op: "for" | "if" }>): string {
    switch (inst.op) {
      case "store": {
        const memory = inst.memory === undefined ? "" : ` as ${inst.memory}`;
        return `store ${this.#name(inst.value)} to ${this.#address(inst)}${memory}`;
      }
      case "prefetch":
        return `prefetch ${this.#address(inst)}${inst.cache === 1 ? "" : " into the second cache"}`;
      case "tile_zero":
        return `tile${inst.tile} = zeros`;
      case "tile_load":
        return `tile${inst.tile} = load ${this.#address(inst)} rows ${inst.stride} apart`;
      case "tile_store":
        return `store tile${inst.tile} to ${this.#address(inst)} rows ${inst.stride} apart`;
      case "tile_multiply":
        return `tile${inst.sums} += tile${inst.left} * tile${inst.right}`;
    }
  }

  #address({ address, offset }: { readonly address: LoopValue; readonly offset: number }): string {
    return offset === 0 ? `[${this.#name(address)}]` : `[${this.#name(address)} + ${offset}]`;
  }
}
