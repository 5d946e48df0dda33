// Modules of this target as text: what encoder.ts writes, read back into the WebAssembly text format in its flat form,
// one instruction a line, blocks indented. Assemblers take the text; where each line's instruction begins is kept, so
// that tools can tell what it was made from.
// Only sections and instructions that compiled programs have are known; anything else is refused.

import { FidelityError } from "@fidelity/units";
import { HAS_ADDRESS, MNEMONICS, PREFIX } from "./mnemonics.ts";

/** A module that is not one of this target's. */
export class DisassemblyError extends FidelityError {}

/** One line of a function. */
export interface WatLine {
  readonly text: string;
  /** Where its instruction begins in the function's code, behind the declarations of locals; -1 for none. */
  readonly offset: number;
}

export interface WatFunction {
  readonly name: string;
  /** From `(func` to the closing parenthesis. */
  readonly lines: readonly WatLine[];
}

export interface WatModule {
  /** Lines before the functions: types, the imported memory; and behind them: exports. */
  readonly head: readonly string[];
  readonly functions: readonly WatFunction[];
  readonly tail: readonly string[];
}

export interface DisassembleOptions {
  /** Names of a function's parameters. */
  readonly parameters?: (functionName: string, count: number) => readonly string[];
}

/** The text of a module. Throws `DisassemblyError`. */
export function printWat(module: WatModule): string {
  const functions = module.functions.flatMap(({ lines }) => lines.map(({ text }) => text));
  return ["(module", ...module.head, ...functions, ...module.tail, ")", ""].join("\n");
}

/** Takes a module apart. Throws `DisassemblyError` for what this target does not write. */
export function disassemble(bytes: Uint8Array, options: DisassembleOptions = {}): WatModule {
  return new Disassembler(bytes, options).run();
}

const TYPES: Readonly<Record<number, string>> = { 0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128" };
const HEADER_BYTES = 8;

interface Signature {
  readonly parameters: readonly string[];
  readonly results: readonly string[];
}

/** Reads the numbers of the binary format. */
class Reader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = at;
    this.end = end;
  }

  byte(): number {
    if (this.at >= this.end) throw new DisassemblyError("the module ends too early", { where: `byte ${this.at}` });
    return this.bytes[this.at++]!;
  }

  u32(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 28; scale *= 2 ** 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new DisassemblyError("a number is too long", { where: `byte ${this.at}` });
  }

  /** A signed number of at most 64 bits. */
  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, (byte & 0x40) === 0 ? value : value | (-1n << (shift + 7n)));
    }
    throw new DisassemblyError("a number is too long", { where: `byte ${this.at}` });
  }

  f32(): number {
    const value = this.#view.getFloat32(this.#skip(4), true);
    return value;
  }

  f64(): number {
    return this.#view.getFloat64(this.#skip(8), true);
  }

  name(): string {
    const length = this.u32();
    const from = this.#skip(length);
    return new TextDecoder().decode(this.bytes.subarray(from, from + length));
  }

  /** A part of this, which is passed over. */
  sub(length: number): Reader {
    const from = this.#skip(length);
    return new Reader(this.bytes, from, from + length);
  }

  #skip(length: number): number {
    if (this.at + length > this.end)
      throw new DisassemblyError("the module ends too early", { where: `byte ${this.at}` });
    this.at += length;
    return this.at - length;
  }
}

class Disassembler {
  readonly #bytes: Uint8Array;
  readonly #options: DisassembleOptions;
  readonly #types: Signature[] = [];
  readonly #typeOf: number[] = [];
  readonly #names: string[] = [];
  readonly #bodies: Reader[] = [];
  readonly #head: string[] = [];
  readonly #tail: string[] = [];

  constructor(bytes: Uint8Array, options: DisassembleOptions) {
    this.#bytes = bytes;
    this.#options = options;
  }

  run(): WatModule {
    const magic = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
    if (!magic.every((byte, i) => this.#bytes[i] === byte)) {
      throw new DisassemblyError("this is not a WebAssembly module", { expected: "\\0asm and version 1" });
    }
    const reader = new Reader(this.#bytes, HEADER_BYTES, this.#bytes.length);
    const exports: { readonly name: string; readonly index: number }[] = [];
    while (reader.at < reader.end) {
      const id = reader.byte();
      const section = reader.sub(reader.u32());
      if (id === 0) this.#readNames(section);
      else if (id === 1) this.#readTypes(section);
      else if (id === 2) this.#readImports(section);
      else if (id === 3) repeat(section, () => this.#typeOf.push(section.u32()));
      else if (id === 7) repeat(section, () => exports.push(readExport(section)));
      else if (id === 10) repeat(section, () => this.#bodies.push(section.sub(section.u32())));
      else throw new DisassemblyError("a section that compiled programs do not have", { got: `section ${id}` });
    }
    const functions = this.#bodies.map((body, index) => this.#function(index, body));
    for (const { name, index } of exports) this.#tail.push(`  (export ${quote(name)} (func ${this.#symbol(index)}))`);
    return { head: this.#head, functions, tail: this.#tail };
  }

  #readTypes(section: Reader): void {
    repeat(section, () => {
      section.byte();
      const [parameters, results] = [readTypeList(section), readTypeList(section)];
      this.#types.push({ parameters, results });
    });
  }

  #readImports(section: Reader): void {
    repeat(section, () => {
      const [module, name] = [section.name(), section.name()];
      section.byte();
      const isShared = section.byte() === 3;
      const limits = `${section.u32()} ${section.u32()}${isShared ? " shared" : ""}`;
      this.#head.push(`  (import ${quote(module)} ${quote(name)} (memory ${limits}))`);
    });
  }

  #readNames(section: Reader): void {
    if (section.name() !== "name") return;
    section.byte();
    const names = section.sub(section.u32());
    repeat(names, () => (this.#names[names.u32()] = names.name()));
  }

  /** Names need not be unique, symbols must be. */
  #symbol(index: number): string {
    return `$${(this.#names[index] ?? "function").replaceAll(/[^\w.-]/g, "_")}.${index}`;
  }

  #function(index: number, body: Reader): WatFunction {
    const name = this.#names[index] ?? `function ${index}`;
    const { parameters, results } = this.#types[this.#typeOf[index]!]!;
    const given = this.#options.parameters?.(name, parameters.length) ?? [];
    const locals = parameters.map((_, i) => `$${given[i] ?? i}`);
    const declared = parameters.map((type, i) => `(param ${locals[i]} ${type})`);
    const lines: WatLine[] = [];
    const head = [`(func ${this.#symbol(index)}`, ...declared, ...results.map((type) => `(result ${type})`)];
    lines.push({ text: `  ${head.join(" ")}`, offset: -1 });
    repeat(body, () => {
      const count = body.u32();
      const type = typeName(body.byte());
      for (let i = 0; i < count; i++) locals.push(`$${locals.length}`);
      const named = locals.slice(-count).map((local) => `(local ${local} ${type})`);
      lines.push({ text: `    ${named.join(" ")}`, offset: -1 });
    });
    const code = body.sub(body.end - body.at);
    this.#code(code, locals, lines);
    lines.push({ text: "  )", offset: -1 });
    return { name, lines };
  }

  #code(code: Reader, locals: readonly string[], lines: WatLine[]): void {
    const start = code.at;
    let depth = 0;
    while (code.at < code.end) {
      const offset = code.at - start;
      const text = this.#instruction(code, locals);
      const mnemonic = text.split(" ", 1)[0]!;
      if (mnemonic === "end" && depth === 0) break; // The function's own end is its parenthesis.
      if (mnemonic === "end" || mnemonic === "else") depth--;
      lines.push({ text: `    ${"  ".repeat(Math.max(0, depth))}${text}`, offset });
      if (mnemonic === "block" || mnemonic === "loop" || mnemonic === "if" || mnemonic === "else") depth++;
    }
  }

  #instruction(code: Reader, locals: readonly string[]): string {
    const first = code.byte();
    const isPrefix = first >= PREFIX.numeric;
    const opcode = isPrefix ? (first << 12) | code.u32() : first;
    const name = MNEMONICS.get(opcode);
    if (name === undefined) {
      throw new DisassemblyError("an instruction that compiled programs do not have", { got: opcode.toString(16) });
    }
    return [name, ...this.#immediates(code, name, opcode, locals)].join(" ");
  }

  #immediates(code: Reader, name: string, opcode: number, locals: readonly string[]): readonly string[] {
    if (HAS_ADDRESS.has(name)) {
      const [align, offset] = [code.u32(), code.u32()];
      const lane = name.endsWith("_lane") ? [String(code.byte())] : [];
      return [...(offset === 0 ? [] : [`offset=${offset}`]), `align=${2 ** align}`, ...lane];
    }
    if (name.startsWith("local.")) return [locals[code.u32()] ?? "$undeclared"];
    switch (name) {
      case "block":
      case "loop":
      case "if":
        code.byte();
        return [];
      case "br":
      case "br_if":
        return [String(code.u32())];
      case "br_table":
        return Array.from({ length: code.u32() + 1 }, () => String(code.u32()));
      case "call":
        return [this.#symbol(code.u32())];
      case "select":
        return opcode === 0x1c ? readTypeList(code).map((type) => `(result ${type})`) : [];
      case "i32.const":
      case "i64.const":
        return [String(code.signed())];
      case "f32.const":
        return [floatText(code.f32())];
      case "f64.const":
        return [floatText(code.f64())];
      case "v128.const":
        return vectorText(code);
      case "i8x16.shuffle":
        return Array.from({ length: 16 }, () => String(code.byte()));
      default:
        return /(extract|replace)_lane/.test(name) ? [String(code.byte())] : [];
    }
  }
}

function repeat(reader: Reader, read: () => unknown): void {
  const count = reader.u32();
  for (let i = 0; i < count; i++) read();
}

function readExport(section: Reader): { readonly name: string; readonly index: number } {
  const name = section.name();
  section.byte();
  return { name, index: section.u32() };
}

function readTypeList(reader: Reader): string[] {
  return Array.from({ length: reader.u32() }, () => typeName(reader.byte()));
}

function typeName(code: number): string {
  const name = TYPES[code];
  if (name === undefined) throw new DisassemblyError("a type that compiled programs do not have", { got: `${code}` });
  return name;
}

function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return Object.is(value, -0) ? "-0" : String(value);
}

/** As float32 lanes where all of them are plain numbers, as words otherwise; the bits are the same. */
function vectorText(code: Reader): string[] {
  const words = Array.from({ length: 4 }, () => {
    const bytes = [code.byte(), code.byte(), code.byte(), code.byte()];
    return bytes.reduceRight((word, byte) => word * 256 + byte, 0);
  });
  return ["i32x4", ...words.map((word) => `0x${word.toString(16).padStart(8, "0")}`)];
}

/** Text in quotation marks, everything unusual as its bytes. */
function quote(text: string): string {
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    return isPlain ? String.fromCharCode(byte) : `\\${byte.toString(16).padStart(2, "0")}`;
  });
  return `"${bytes.join("")}"`;
}
