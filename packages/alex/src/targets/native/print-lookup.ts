// Table lookups of bytes by the instruction that the machine has for it: vpermb and vpermi2b (AVX-512 VBMI) for 64 and
// 128 entries, pshufb for 16, tbl on aarch64 for 16, 32 or 64; elsewhere lane by lane through the stack. A larger table
// is a few small ones, of which the high bits of the index choose.

import { loopType } from "@fidelity/core";
import type { LoopInst } from "@fidelity/core";
import type { CodeMachine } from "./machine.ts";
import type { Printer } from "./print-operation.ts";
import { constantAttribute, mlirType } from "./print-type.ts";

type Permute = Extract<LoopInst, { readonly op: "permute" }>;
type Lookup = Extract<LoopInst, { readonly op: "lookup" }>;

/** The bytes of one instruction's table at an index whose high bits do not count; names in, name out. */
type PrintPart = (out: Printer, lanes: number, index: string, table: readonly number[]) => string;

interface Instruction {
  readonly entries: number;
  /** Lanes of bytes that one instruction takes. */
  readonly widths: readonly number[];
  readonly print: PrintPart;
}

/** Adds a lookup, and gives the name of its result. */
export function printLookup(inst: Lookup, out: Printer): string {
  const { lanes } = inst.result.type;
  const { table } = inst;
  const index = out.name(inst.a);
  const instruction = instructionOf(out.machine, table.length);
  const width = instruction?.widths.find((candidate) => lanes % candidate === 0);
  if (instruction === undefined || width === undefined) return printByLane(out, lanes, index, table);
  if (width === lanes) return printParts(out, instruction, lanes, index, table);
  let whole = index;
  for (let at = 0; at < lanes; at += width) {
    const [all, one] = [`vector<${lanes}xi8>`, `vector<${width}xi8>`];
    const slice = `{offsets = [${at}], sizes = [${width}], strides = [1]} : ${all} to ${one}`;
    const part = out.define(`vector.extract_strided_slice ${index} ${slice}`);
    const found = printParts(out, instruction, width, part, table);
    const into = `{offsets = [${at}], strides = [1]} : ${one} into ${all}`;
    whole = out.define(`vector.insert_strided_slice ${found}, ${whole} ${into}`);
  }
  return whole;
}

function instructionOf({ architecture, features }: CodeMachine, entries: number): Instruction | undefined {
  if (architecture === "aarch64") return { entries: Math.min(entries, 64), widths: [16], print: printTbl };
  if (features.has("avx512vbmi") && entries > 64) return { entries: 128, widths: [64], print: printVpermi2b };
  // vpermb reads as many entries as the vector has lanes.
  if (features.has("avx512vbmi") && entries > 16) return { entries: 64, widths: [64], print: printVpermb };
  if (features.has("avx512bw")) return { entries: 16, widths: [64, 32, 16], print: printPshufb };
  if (features.has("avx2")) return { entries: 16, widths: [32, 16], print: printPshufb };
  if (features.has("ssse3")) return { entries: 16, widths: [16], print: printPshufb };
  return undefined;
}

/** The part of the table that each lane's index lies in, chosen from all parts. */
function printParts(
  out: Printer,
  { entries, print }: Instruction,
  lanes: number,
  index: string,
  table: readonly number[],
): string {
  const part = (at: number): string => print(out, lanes, index, table.slice(at, at + entries));
  let found = part(0);
  if (table.length <= entries) return found;
  const type = mlirType(loopType("i8", lanes));
  const splat = (value: number): string =>
    out.define(`arith.constant ${constantAttribute(loopType("i8", lanes), value)}`);
  const high = out.define(`arith.andi ${index}, ${splat(table.length - entries)} : ${type}`);
  for (let at = entries; at < table.length; at += entries) {
    const isHere = out.define(`arith.cmpi eq, ${high}, ${splat(at)} : ${type}`);
    found = out.define(`arith.select ${isHere}, ${part(at)}, ${found} : vector<${lanes}xi1>, ${type}`);
  }
  return found;
}

/** A table as a vector of `lanes`, repeated to fill it. */
function tableConstant(out: Printer, lanes: number, table: readonly number[]): string {
  const bytes = Array.from({ length: lanes }, (_, i) => (table[i % table.length] << 24) >> 24);
  return out.define(`arith.constant dense<[${bytes.join(", ")}]> : vector<${lanes}xi8>`);
}

function masked(out: Printer, lanes: number, index: string, mask: number): string {
  const low = out.define(`arith.constant ${constantAttribute(loopType("i8", lanes), mask)}`);
  return out.define(`arith.andi ${index}, ${low} : vector<${lanes}xi8>`);
}

function intrinsic(out: Printer, name: string, operands: readonly string[], type: string): string {
  const types = operands.map(() => type).join(", ");
  return out.define(`llvm.call_intrinsic "${name}"(${operands.join(", ")}) : (${types}) -> ${type}`);
}

const printVpermb: PrintPart = (out, lanes, index, table) =>
  intrinsic(out, "llvm.x86.avx512.permvar.qi.512", [tableConstant(out, lanes, table), index], `vector<${lanes}xi8>`);

const printVpermi2b: PrintPart = (out, lanes, index, table) => {
  const [low, high] = [table.slice(0, 64), table.slice(64)].map((half) => tableConstant(out, lanes, half));
  return intrinsic(out, "llvm.x86.avx512.vpermi2var.qi.512", [low, index, high], `vector<${lanes}xi8>`);
};

const PSHUFB: Readonly<Record<number, string>> = {
  16: "llvm.x86.ssse3.pshuf.b.128",
  32: "llvm.x86.avx2.pshuf.b",
  64: "llvm.x86.avx512.pshuf.b.512",
};

/** Bit 7 of an index would make pshufb give 0. */
const printPshufb: PrintPart = (out, lanes, index, table) =>
  intrinsic(
    out,
    PSHUFB[lanes],
    [tableConstant(out, lanes, table), masked(out, lanes, index, 15)],
    `vector<${lanes}xi8>`,
  );

const printTbl: PrintPart = (out, lanes, index, table) => {
  const registers = table.length / 16;
  const parts = Array.from({ length: registers }, (_, i) => tableConstant(out, 16, table.slice(16 * i, 16 * i + 16)));
  const low = masked(out, lanes, index, table.length - 1);
  return intrinsic(out, `llvm.aarch64.neon.tbl${registers}.v16i8`, [...parts, low], "vector<16xi8>");
};

function printByLane(out: Printer, lanes: number, index: string, table: readonly number[]): string {
  const bytes = `vector<${table.length}xi8>`;
  const entries = tableConstant(out, table.length, table);
  const low = masked(out, lanes, index, table.length - 1);
  let whole = index;
  for (let lane = 0; lane < lanes; lane++) {
    const at = out.define(`vector.extract ${low}[${lane}] : i8 from vector<${lanes}xi8>`);
    const wide = out.define(`arith.extui ${at} : i8 to i32`);
    const byte = out.define(`vector.extractelement ${entries}[${wide} : i32] : ${bytes}`);
    whole = out.define(`vector.insert ${byte}, ${whole} [${lane}] : i8 into vector<${lanes}xi8>`);
  }
  return whole;
}

/** Names of vpermw by the number of lanes. */
const VPERMW: Readonly<Record<number, string>> = {
  8: "llvm.x86.avx512.permvar.hi.128",
  16: "llvm.x86.avx512.permvar.hi.256",
  32: "llvm.x86.avx512.permvar.hi.512",
};

/** Lanes of one vector that another's lanes name: vpermw (AVX-512), elsewhere lane by lane. */
export function printPermute({ a, b, result }: Permute, out: Printer): string {
  const { lanes } = result.type;
  const [table, indices] = [out.name(a), out.name(b)];
  const type = mlirType(result.type);
  const name = VPERMW[lanes];
  if (out.machine.features.has("avx512bw") && name !== undefined) return intrinsic(out, name, [table, indices], type);
  const mask = out.define(`arith.constant ${constantAttribute(result.type, lanes - 1)}`);
  const low = out.define(`arith.andi ${indices}, ${mask} : ${type}`);
  let whole = table;
  for (let lane = 0; lane < lanes; lane++) {
    const at = out.define(`vector.extract ${low}[${lane}] : i16 from ${type}`);
    const wide = out.define(`arith.extui ${at} : i16 to i32`);
    const value = out.define(`vector.extractelement ${table}[${wide} : i32] : ${type}`);
    whole = out.define(`vector.insert ${value}, ${whole} [${lane}] : i16 into ${type}`);
  }
  return whole;
}
