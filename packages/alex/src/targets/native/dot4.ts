// The dot product of four bytes with four bytes in every 32-bit lane, by the instruction that the machine has for it:
// vpdpbusd (AVX-512 VNNI or AVX-VNNI), vpmaddubsw with vpmaddwd before that, sdot on aarch64, dp4a on GPUs, and plain
// arithmetic
// elsewhere. a is signed, b lies in 0..127, which makes b the unsigned operand that x86-64 asks for, and keeps the
// 16-bit sums of vpmaddubsw from saturating: 2 * 127 * 128 < 2^15.

import type { LoopInst } from "@fidelity/core";
import type { CodeMachine } from "./machine.ts";
import type { Printer } from "./print-operation.ts";

type Dot4 = Extract<LoopInst, { readonly op: "dot4" }>;

/** A dot product of vectors of `lanes` sums: names of a, b as bytes and c; gives the name of the result. */
type PrintPiece = (out: Printer, lanes: number, a: string, b: string, c: string) => string;

/** Adds the dot product in pieces of the machine's vectors, and gives the name of the whole. */
export function printDot4(inst: Dot4, out: Printer): string {
  const { lanes } = inst.result.type;
  const [a, b, c] = [out.name(inst.a), out.name(inst.b), out.name(inst.c)];
  const { print, widths } = pieces(out.machine);
  const width = widths.find((candidate) => lanes % candidate === 0);
  if (width === undefined) return printPlain(out, lanes, a, b, c);
  if (width === lanes) return print(out, lanes, a, b, c);
  const part = (value: string, element: string, count: number, all: number, at: number): string =>
    out.define(
      `vector.extract_strided_slice ${value} {offsets = [${at}], sizes = [${count}], strides = [1]} : ` +
        `vector<${all}x${element}> to vector<${count}x${element}>`,
    );
  let whole = c;
  for (let at = 0; at < lanes; at += width) {
    const bytes = [a, b].map((value) => part(value, "i8", 4 * width, 4 * lanes, 4 * at));
    const sum = print(out, width, bytes[0], bytes[1], part(c, "i32", width, lanes, at));
    whole = out.define(
      `vector.insert_strided_slice ${sum}, ${whole} {offsets = [${at}], strides = [1]} : ` +
        `vector<${width}xi32> into vector<${lanes}xi32>`,
    );
  }
  return whole;
}

function pieces({ architecture, features }: CodeMachine): { print: PrintPiece; widths: readonly number[] } {
  if (architecture === "aarch64" && features.has("dotprod")) return { print: printSdot, widths: [4] };
  if (architecture === "nvptx64") return { print: printDp4a, widths: [16, 8, 4, 2, 1] };
  if (features.has("avx512vnni")) return { print: printVnni, widths: [16, 8, 4] };
  if (features.has("avxvnni")) return { print: printVnni, widths: [8, 4] };
  if (features.has("avx512bw")) return { print: printMaddubs, widths: [16, 8, 4] };
  if (features.has("avx2")) return { print: printMaddubs, widths: [8, 4] };
  if (features.has("ssse3")) return { print: printMaddubs, widths: [4] };
  return { print: printPlain, widths: [] };
}

function words(out: Printer, bytes: string, lanes: number): string {
  return out.define(`vector.bitcast ${bytes} : vector<${4 * lanes}xi8> to vector<${lanes}xi32>`);
}

const printVnni: PrintPiece = (out, lanes, a, b, c) => {
  const type = `vector<${lanes}xi32>`;
  const operands = [c, words(out, b, lanes), words(out, a, lanes)].join(", ");
  const name = `llvm.x86.avx512.vpdpbusd.${32 * lanes}`;
  return out.define(`llvm.call_intrinsic "${name}"(${operands}) : (${type}, ${type}, ${type}) -> ${type}`);
};

/** Names of vpmaddubsw and vpmaddwd by the number of sums. */
const MADD: Readonly<Record<number, readonly [bytes: string, words: string]>> = {
  4: ["llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.sse2.pmadd.wd"],
  8: ["llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd"],
  16: ["llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512"],
};

/** Pairs of products by vpmaddubsw, for vectors of `lanes` 32-bit lanes. */
function maddubs(out: Printer, lanes: number, a: string, b: string): string {
  const [bytes, shorts] = [`vector<${4 * lanes}xi8>`, `vector<${2 * lanes}xi16>`];
  return out.define(`llvm.call_intrinsic "${MADD[lanes][0]}"(${b}, ${a}) : (${bytes}, ${bytes}) -> ${shorts}`);
}

const printMaddubs: PrintPiece = (out, lanes, a, b, c) => {
  const [shorts, sums] = [`vector<${2 * lanes}xi16>`, `vector<${lanes}xi32>`];
  const ofWords = MADD[lanes][1];
  const pairs = maddubs(out, lanes, a, b);
  const ones = out.define(`arith.constant dense<1> : ${shorts}`);
  const fours = out.define(`llvm.call_intrinsic "${ofWords}"(${pairs}, ${ones}) : (${shorts}, ${shorts}) -> ${sums}`);
  return out.define(`arith.addi ${fours}, ${c} : ${sums}`);
};

const printSdot: PrintPiece = (out, lanes, a, b, c) => {
  const [bytes, sums] = [`vector<${4 * lanes}xi8>`, `vector<${lanes}xi32>`];
  const name = "llvm.aarch64.neon.sdot.v4i32.v16i8";
  return out.define(`llvm.call_intrinsic "${name}"(${c}, ${a}, ${b}) : (${sums}, ${bytes}, ${bytes}) -> ${sums}`);
};

/** One instruction a lane. */
const printDp4a: PrintPiece = (out, lanes, a, b, c) => {
  const sums = `vector<${lanes}xi32>`;
  const [left, right] = [words(out, a, lanes), words(out, b, lanes)];
  let whole = c;
  for (let lane = 0; lane < lanes; lane++) {
    const parts = [left, right, c].map((value) => out.define(`vector.extract ${value}[${lane}] : i32 from ${sums}`));
    const sum = out.define(
      `llvm.inline_asm "dp4a.s32.s32 $0, $1, $2, $3;", "=r,r,r,r" ${parts.join(", ")} : (i32, i32, i32) -> i32`,
    );
    whole = out.define(`vector.insert ${sum}, ${whole}[${lane}] : i32 into ${sums}`);
  }
  return whole;
};

/** Products in 32 bits, then the four of each lane added. */
const printPlain: PrintPiece = (out, lanes, a, b, c) => {
  const [bytes, wide, sums] = [`vector<${4 * lanes}xi8>`, `vector<${4 * lanes}xi32>`, `vector<${lanes}xi32>`];
  const [x, y] = [a, b].map((value) => out.define(`arith.extsi ${value} : ${bytes} to ${wide}`));
  const products = out.define(`arith.muli ${x}, ${y} : ${wide}`);
  let sum = c;
  for (let j = 0; j < 4; j++) {
    const lane = Array.from({ length: lanes }, (_, i) => 4 * i + j).join(", ");
    const picked = out.define(`vector.shuffle ${products}, ${products} [${lane}] : ${wide}, ${wide}`);
    sum = out.define(`arith.addi ${sum}, ${picked} : ${sums}`);
  }
  return sum;
};

type Dot2 = Extract<LoopInst, { readonly op: "dot2" }>;

/**
 * Adds the dot products of pairs of bytes or of i16, and gives the name of the result. Of i16, LLVM makes vpmaddwd of
 * the plain form.
 */
export function printDot2(inst: Dot2, out: Printer): string {
  const { lanes, kind } = inst.result.type;
  const [a, b] = [out.name(inst.a), out.name(inst.b)];
  const { features } = out.machine;
  const most = features.has("avx512bw") ? 16 : features.has("avx2") ? 8 : features.has("ssse3") ? 4 : 0;
  if (kind === "i16" && lanes / 2 <= most && lanes / 2 in MADD) return maddubs(out, lanes / 2, a, b);
  const from = kind === "i16" ? "i8" : "i16";
  const [bytes, all, sums] = [
    `vector<${2 * lanes}x${from}>`,
    `vector<${2 * lanes}x${kind}>`,
    `vector<${lanes}x${kind}>`,
  ];
  const [x, y] = [a, b].map((value) => out.define(`arith.extsi ${value} : ${bytes} to ${all}`));
  const products = out.define(`arith.muli ${x}, ${y} : ${all}`);
  const [even, odd] = [0, 1].map((first) => {
    const picks = Array.from({ length: lanes }, (_, i) => 2 * i + first).join(", ");
    return out.define(`vector.shuffle ${products}, ${products} [${picks}] : ${all}, ${all}`);
  });
  return out.define(`arith.addi ${even}, ${odd} : ${sums}`);
}
