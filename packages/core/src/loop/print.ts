// Kernels and programs as text in MLIR's generic operation syntax (dialect "loop"), for reading and for tools:
// `mlir-opt --allow-unregistered-dialect` parses it. One line an instruction; regions are indented.
// The syntax is that of the MLIR language reference, "Operations". Left out: reading the text back.

import type { Block, Kernel, LoopInst, LoopType, LoopValue } from "./ir.ts";
import type { BufferArgument, KernelCall, Program, ScheduleItem } from "./program.ts";
import { operandsOf } from "./operands.ts";

/** The text of a kernel as one operation. */
export function printKernel(kernel: Kernel): string {
  return kernelLines(kernel).join("\n") + "\n";
}

/** The text of a program: its kernels, then its buffers and schedule. */
export function printProgram(program: Program): string {
  const buffers = program.buffers.map(({ name, sizeBytes, placement }) => {
    const place =
      placement.kind === "arena" ? `offset_bytes = ${placement.offsetBytes} : i64` : `slot = ${placement.slot} : i64`;
    return `{name = ${quote(name)}, size_bytes = ${sizeBytes} : i64, ${place}}`;
  });
  const constants = program.constants.map(
    ({ buffer, bytes }) => `{buffer = ${buffer} : i64, size_bytes = ${bytes.length} : i64}`,
  );
  const attributes = [
    `sym_name = ${quote(program.name)}`,
    `binding_count = ${program.bindingCount} : i64`,
    `arena_bytes = ${program.arenaBytes} : i64`,
    `scratch_bytes = ${program.scratchBytes} : i64`,
    `buffers = [${buffers.join(", ")}]`,
    `constants = [${constants.join(", ")}]`,
  ];
  const lines = ['"builtin.module"() ({', ...indent(program.kernels.flatMap(kernelLines))];
  lines.push('  "loop.program"() ({', ...indent(indent(itemLines(program, program.schedule))));
  lines.push(`  }) {${attributes.join(", ")}} : () -> ()`, "}) : () -> ()");
  return lines.join("\n") + "\n";
}

function kernelLines(kernel: Kernel): string[] {
  const attributes = `sym_name = ${quote(kernel.name)}, scratch_bytes = ${kernel.scratchBytes} : i64`;
  return ['"loop.kernel"() ({', ...blockLines(kernel.body), `}) {${attributes}} : () -> ()`];
}

function itemLines(program: Program, items: readonly ScheduleItem[]): string[] {
  return items.flatMap((item) => {
    const inner =
      item.kind === "loop" ? itemLines(program, item.items) : item.calls.map((call) => callLine(program, call));
    const attributes = item.kind === "loop" ? ` {${loopAttributes(program, item).join(", ")}}` : "";
    return [`"loop.${item.kind}"() ({`, ...indent(inner), `})${attributes} : () -> ()`];
  });
}

function loopAttributes(program: Program, { count, limit }: ScheduleItem & { readonly kind: "loop" }): string[] {
  const all = [`count = ${count} : i64`];
  if (limit !== undefined) all.push(`keeps = ${quote(limit.keeps)}`, `limit = ${argumentText(program, limit.cell)}`);
  return all;
}

function argumentText(program: Program, { buffer, offsetBytes, strideBytes }: BufferArgument): string {
  const strides =
    strideBytes === undefined ? "" : `, stride_bytes = [${strideBytes.map((s) => `${s} : i64`).join(", ")}]`;
  return `{buffer = ${quote(program.buffers[buffer].name)}, offset_bytes = ${offsetBytes} : i64${strides}}`;
}

function callLine(program: Program, call: KernelCall): string {
  const args = call.args.map((argument) => argumentText(program, argument));
  const attributes = [
    `kernel = ${quote(program.kernels[call.kernel].name)}`,
    `chunks = ${call.chunks} : i64`,
    `args = [${args.join(", ")}]`,
    `label = ${quote(call.label)}`,
  ];
  return `"loop.call"() {${attributes.join(", ")}} : () -> ()`;
}

function blockLines(block: Block): string[] {
  const args = block.args.map((value) => `${name(value)}: ${mlirType(value.type)}`);
  const head = args.length === 0 ? [] : [`^bb0(${args.join(", ")}):`];
  const yields = `"loop.yield"(${block.yields.map(name).join(", ")}) : ${signature(block.yields, [])}`;
  return [...head, ...indent([...block.insts.flatMap(instLines), yields])];
}

function instLines(inst: LoopInst): string[] {
  const results = "result" in inst ? [inst.result] : "results" in inst ? inst.results : [];
  const operands = operandsOf(inst);
  const head = results.length === 0 ? "" : `${results.map(name).join(", ")} = `;
  const open = `${head}"loop.${inst.op}"(${operands.map(name).join(", ")})`;
  const attributes = attributesOf(inst);
  const tail = `${attributes.length === 0 ? "" : ` {${attributes.join(", ")}}`} : ${signature(operands, results)}`;
  const blocks = inst.op === "for" ? [inst.body] : inst.op === "if" ? [inst.then, inst.else] : [];
  if (blocks.length === 0) return [`${open}${tail}`];
  const regions = blocks.flatMap((block, index) => [...(index === 0 ? [] : ["}, {"]), ...blockLines(block)]);
  return [`${open} ({`, ...regions, `})${tail}`];
}

function attributesOf(inst: LoopInst): string[] {
  switch (inst.op) {
    case "const":
      return [`value = ${number(inst.value, inst.result.type)}`];
    case "extract":
    case "insert":
      return [`lane = ${inst.lane} : i64`];
    case "shuffle":
      return [`lanes = [${inst.lanes.map((lane) => `${lane} : i64`).join(", ")}]`];
    case "lookup":
      return [`table = [${inst.table.map((byte) => `${byte} : i64`).join(", ")}]`];
    case "tile_zero":
      return [`tile = ${inst.tile} : i64`];
    case "tile_load":
    case "tile_store":
      return [`tile = ${inst.tile} : i64`, `offset = ${inst.offset} : i64`, `stride = ${inst.stride} : i64`];
    case "tile_multiply":
      return [`sums = ${inst.sums} : i64`, `left = ${inst.left} : i64`, `right = ${inst.right} : i64`];
    case "widen":
      return [`half = ${quote(inst.half)}`, `signed = ${inst.signed}`];
    case "load":
    case "store":
      return [
        `offset = ${inst.offset} : i64`,
        ...(inst.memory === undefined ? [] : [`memory = ${quote(inst.memory)}`]),
        ...(inst.op === "store" && inst.nontemporal === true ? ["nontemporal"] : []),
      ];
    case "prefetch":
      return [`offset = ${inst.offset} : i64`, `cache = ${inst.cache} : i64`];
    case "load_splat":
      return [`offset = ${inst.offset} : i64`];
    case "for":
      return [`step = ${inst.step} : i64`];
    default:
      return [];
  }
}

function signature(operands: readonly LoopValue[], results: readonly LoopValue[]): string {
  const types = (values: readonly LoopValue[]): string => values.map((value) => mlirType(value.type)).join(", ");
  return `(${types(operands)}) -> ${results.length === 1 ? types(results) : `(${types(results)})`}`;
}

function mlirType(type: LoopType): string {
  const kind = type.kind === "mask" ? "i1" : type.kind;
  return type.lanes === 1 ? kind : `vector<${type.lanes}x${kind}>`;
}

/** A number attribute: 64-bit, exact. Infinities and NaN have only their bits as a spelling. */
function number(value: number, type: LoopType): string {
  if (type.kind !== "f32" && type.kind !== "f64") return `${value} : i64`;
  if (Number.isNaN(value)) return "0x7FF8000000000000 : f64";
  if (!Number.isFinite(value)) return `${value > 0 ? "0x7FF" : "0xFFF"}0000000000000 : f64`;
  const [digits, exponent] = (Object.is(value, -0) ? "-0" : String(value)).split("e");
  const mantissa = digits.includes(".") ? digits : `${digits}.0`;
  return `${mantissa}${exponent === undefined ? "" : `e${exponent}`} : f64`;
}

const name = (value: LoopValue): string => `%v${value.id}`;
const quote = (text: string): string => `"${text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n")}"`;
const indent = (lines: readonly string[]): string[] => lines.map((line) => (line.startsWith("^") ? line : `  ${line}`));
